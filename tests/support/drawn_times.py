"""Calls whose times are drawn at random on a simulated clock, with what a real machine adds."""

from __future__ import annotations

import math

import numpy as np


class DrawnMachine:
    """A machine on a simulated clock: its speed drifts and wanders, and calls have a tail.

    Args:
        seed: Seed of all that is drawn.
        speed: Factor on the time of every call.
        wander: Standard deviation of what each call adds to the logarithm of the speed, which
            returns slowly.
    """

    def __init__(self, seed: int, *, speed: float = 1.0, wander: float = 0.01) -> None:
        self.now_s = 0.0
        self._rng = np.random.default_rng(seed)
        self._speed, self._wander_by = speed, wander
        self._wander = 0.0

    def clock(self) -> float:
        return self.now_s

    def side(self, median_ms: float):
        """Return a function that makes one call and returns its milliseconds."""

        def call() -> float:
            self._wander = 0.98 * self._wander + self._rng.normal(0.0, self._wander_by)
            drift = 0.1 * math.sin(self.now_s / 3.0)
            took_ms = median_ms * self._speed * math.exp(drift + self._wander)
            took_ms *= math.exp(self._rng.normal(0.0, 0.05))
            if self._rng.random() < 0.01:
                took_ms += self._rng.exponential(median_ms)
            self.now_s += took_ms / 1e3
            return took_ms

        return call

"""A session on a simulated clock: random arrivals, lanes, batches and cores that lanes share."""

from __future__ import annotations

import numpy as np

from fasdk_tools.profiling.queue_model import queued_latencies


class SimulatedSession:
    """A session whose calls take 4 ms and 3 ms a capture on one core.

    Args:
        rate_per_s: Captures a second that arrive at random.
        cores: Cores that lanes and threads share.
        seed: Seed of arrivals and service times.
    """

    def __init__(self, rate_per_s: float, *, cores: int = 2, seed: int = 0) -> None:
        self.now_s = 0.0
        self.trials = 0
        self._rate_per_s, self._cores = rate_per_s, cores
        self._rng = np.random.default_rng(seed)

    def clock(self) -> float:
        return self.now_s

    def measure(self, candidate, calls):
        """Return latencies of a trial in milliseconds; the clock goes on by its length."""
        self.trials += 1
        due_ms = np.cumsum(self._rng.exponential(1e3 / self._rate_per_s, calls))
        self.now_s += due_ms[-1] / 1e3 + 0.3
        threads = candidate.threads or self._cores
        speed = min(threads, self._cores) ** 0.7
        speed /= max(1.0, candidate.lanes * threads / self._cores)
        served = queued_latencies(
            due_ms,
            lambda batch: (4.0 + 3.0 * batch) / speed * np.exp(self._rng.normal(0.0, 0.1)),
            lanes=candidate.lanes,
            max_batch=candidate.max_batch,
        )
        return served + candidate.max_wait_ms

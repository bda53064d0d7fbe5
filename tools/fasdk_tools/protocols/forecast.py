"""Forecast of how long the trainings of a run take, from its own first steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_MEASURED_S = 10.0  # of steps, before anything is said
_FEWEST = 3  # steps
_SCORING = 1 / 3  # of a training step's time: one pass forward for one there and two back


@dataclass(frozen=True)
class Work:
    """Work of one training and its tests that is still to be done.

    Attributes:
        captures: Training captures of all epochs.
        scored: Captures scored in all: development captures of every epoch, and those of the tests
            with everything that is taken away.
    """

    captures: int
    scored: int

    @property
    def steps(self) -> float:
        """Everything, in training captures."""
        return self.captures + _SCORING * self.scored


class Forecast:
    """Says once what all of it will take, when some steps were timed.

    Args:
        work: Work of every training that is still to be done.
        say: Receiver of the sentence.
    """

    def __init__(self, work: list[Work], say: Callable[[str], None]) -> None:
        self._total = sum(each.steps for each in work)
        self._trainings = len(work)
        self._say = say
        self._begun: float | None = None
        self._captures = self._steps = self._done = 0
        self._is_said = False

    def step(self, done: int) -> None:
        """Count a training step, which has just ended.

        Args:
            done: Captures of this epoch that were trained on so far.
        """
        now = time.monotonic()
        captures, self._done = done - self._done if done > self._done else done, done
        if self._begun is None:  # the first step also warms up
            self._begun = now
            return
        self._captures += captures
        self._steps += 1
        passed = now - self._begun
        if self._is_said or self._steps < _FEWEST or passed < _MEASURED_S:
            return
        self._is_said = True
        seconds = passed / self._captures * self._total
        trainings = "training" if self._trainings == 1 else "trainings"
        self._say(
            f"{self._trainings} {trainings} and their tests will take about {duration(seconds)}, "
            "by the first steps; trainings that stop early take less"
        )


def duration(seconds: float) -> str:
    """Return a time in words, such as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"

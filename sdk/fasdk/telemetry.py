"""Stage timings of one check."""

from __future__ import annotations

import time
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stage(str, Enum):
    """Stages of a check, in order; `OTHER` is the rest of the end-to-end time.

    GATES can refuse a capture before an engine sees it. QUEUE runs from there until a lane takes
    the capture, waiting for room in the queue included. ENGINE is the time of the whole batch,
    because every capture in it waits for that long.
    """

    GATES = "gates"
    QUEUE = "queue"
    PREPROCESS = "preprocess"
    ENGINE = "engine"
    DECISION = "decision"
    OTHER = "other"

    __hash__ = str.__hash__  # Enum's own runs in Python, and every capture needs many


class StageClock:
    """Clock that adds up the stage times of one check; it starts when it is made."""

    __slots__ = ("_spent_ns", "_start_ns")

    def __init__(self) -> None:
        self._start_ns = time.perf_counter_ns()
        self._spent_ns: dict[Stage, int] = {}

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Count the time inside the block towards `stage`, also when it raises."""
        start_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter_ns() - start_ns)

    def add(self, stage: Stage, spent_ns: int) -> None:
        """Count nanoseconds of `time.perf_counter_ns` towards `stage`."""
        self._spent_ns[stage] = self._spent_ns.get(stage, 0) + spent_ns

    def finish(self) -> dict[str, float]:
        """Return milliseconds by stage name, and their sum as `end_to_end`."""
        total_ns = time.perf_counter_ns() - self._start_ns
        spent_ns = self._spent_ns
        other_ns = total_ns - sum(spent_ns.values())
        timings = {name: spent_ns.get(stage, 0) / 1e6 for stage, name in _NAMES}
        timings[Stage.OTHER.value] = other_ns / 1e6
        timings["end_to_end"] = total_ns / 1e6
        return timings


_NAMES = tuple((stage, stage.value) for stage in Stage)

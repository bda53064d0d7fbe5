"""Phases of a build: their reporting and their times."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from fasdk.progress import Progress


class BuildListener(Progress, Protocol):
    """Receiver of a build's progress: its phases, and the progress of the tasks in each."""

    def phase(self, name: str) -> None:
        """Record that the phase called `name` begins."""
        ...


@dataclass
class Phases:
    """Phases of one build, timed and passed on to a listener.

    Attributes:
        listener: Receiver of the build's progress, or None.
        seconds: Duration of every finished phase by its name, in seconds.
    """

    listener: BuildListener | None
    seconds: dict[str, float] = field(default_factory=dict)
    _current: str | None = None
    _since: float = 0.0

    def start(self, name: str) -> None:
        """End the current phase and begin another."""
        self.stop()
        self._current, self._since = name, time.perf_counter()
        if self.listener is not None:
            self.listener.phase(name)

    def stop(self) -> None:
        """End the current phase."""
        if self._current is not None:
            self.seconds[self._current] = round(time.perf_counter() - self._since, 3)
        self._current = None

    def update(self, task: str, done: int, total: int, /) -> None:
        """Report the progress of a task of the current phase; see `Progress.update`."""
        if self.listener is not None:
            self.listener.update(task, done, total)

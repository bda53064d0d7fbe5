"""Progress reporting of long-running tasks."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receiver of progress reports; a task may report from threads other than the caller's.

    An exception raised by `update` stops the task that reports and reaches its caller.
    """

    def update(self, task: str, done: int, total: int, /) -> None:
        """Record that `done` of `total` units of `task` are complete.

        Args:
            task: Name of the task, such as "calibration"; tasks may overlap and repeat.
            done: Completed units, from 0 to `total`.
            total: Units in all; 0 while that is unknown.
        """
        ...

"""A receiver of progress reports that keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RecordedProgress:
    """Reports received so far.

    Attributes:
        reports: (task, done, total) of each report, in order.
    """

    reports: list[tuple[str, int, int]] = field(default_factory=list)

    def update(self, task: str, done: int, total: int, /) -> None:
        """Keep one report."""
        self.reports.append((task, done, total))

"""Progress receiver that records what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RecordedProgress:
    """Records every update as (task, done, total)."""

    updates: list[tuple[str, int, int]] = field(default_factory=list)

    def update(self, task: str, done: int, total: int, /) -> None:
        self.updates.append((task, done, total))

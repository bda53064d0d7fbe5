"""Settings of micro-batching."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fasdk.errors import UsageError
from fasdk.settings import as_choice, require_ms, require_whole

_LONGEST_MS = 86_400_000.0  # a day; a wait too long for a lock would end the watchdog


class WhenFull(str, Enum):
    """Treatment of a capture that finds the queue full."""

    REJECT = "reject"
    BLOCK = "block"


@dataclass(frozen=True)
class BatchingPolicy:
    """Settings by which captures from several threads share an engine.

    Attributes:
        lanes: Number of batches under way at once, each with buffers of its own; at least 1.
        max_batch: Largest number of captures in one engine call; None for the bundle's own, as far
            as the engine takes it.
        max_wait_ms: Longest time the first capture of a batch waits for others, in milliseconds;
            with 0 the queue is split evenly between the lanes.
        queue_limit: Number of captures that may wait for a lane; those in a lane do not count.
        when_full: Treatment of a capture that finds the queue full: REJECT answers ERROR
            (queue-full) at once; BLOCK makes `submit` wait for room, until the capture's deadline
            at most.
        deadline_ms: Longest time from `submit` to the answer, in milliseconds; after it the answer
            is ERROR (deadline). An engine call that takes longer is abandoned.
        spare_lanes: Number of lanes that may hang in such calls at once and be replaced. With more,
            the session goes on with the lanes left; without any it answers ERROR at once.

    Raises:
        UsageError: A number is out of its range.
    """

    lanes: int = 2
    max_batch: int | None = None
    max_wait_ms: float = 0.0
    queue_limit: int = 64
    when_full: WhenFull = WhenFull.BLOCK
    deadline_ms: float = 10_000.0
    spare_lanes: int = 2

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        require_whole("batching lanes", self.lanes)
        if self.max_batch is not None:
            require_whole("batching max_batch", self.max_batch)
        require_whole("batching queue_limit", self.queue_limit)
        require_whole("batching spare_lanes", self.spare_lanes, least=0)
        require_ms("batching max_wait_ms", self.max_wait_ms, least=0.0, most=_LONGEST_MS)
        require_ms("batching deadline_ms", self.deadline_ms, least=0.0, most=_LONGEST_MS)
        if not self.max_wait_ms < self.deadline_ms:
            raise UsageError(
                f"batching deadline_ms is {self.deadline_ms}, expected more than max_wait_ms, "
                f"{self.max_wait_ms}: no capture would be answered in time"
            )
        when_full = as_choice("batching when_full", self.when_full, WhenFull)
        object.__setattr__(self, "when_full", when_full)

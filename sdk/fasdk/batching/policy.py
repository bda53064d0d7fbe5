"""How captures from several threads share an engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fasdk.errors import UsageError

_LONGEST_MS = 86_400_000.0  # a day; what no lock can wait for would end the watchdog


class WhenFull(str, Enum):
    """What happens to a capture that finds the queue full."""

    REJECT = "reject"
    BLOCK = "block"


@dataclass(frozen=True)
class BatchingPolicy:
    """How captures from several threads share an engine.

    Attributes:
        lanes: Batches under way at once, each with buffers of its own; at least 1.
        max_batch: Captures in one engine call; None for the bundle's own, as far as the engine
            takes it.
        max_wait_ms: How long the first capture of a batch waits for others, in milliseconds; with 0
            the free lanes share what is there.
        queue_limit: Captures that may wait for a lane; those in a lane do not count.
        when_full: REJECT answers ERROR (queue-full) at once; BLOCK makes `submit` wait for room,
            until the capture's deadline at most.
        deadline_ms: A capture has its answer this long after it was submitted, in milliseconds:
            an ERROR (deadline) if need be. An engine call that takes longer is given up.
        spare_lanes: Lanes that may hang in such calls at once and be replaced. With more, the
            session goes on with those that are left; without any it answers ERROR at once.

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
        """Check every number once, where the mistake was made."""
        for name, least in (("lanes", 1), ("max_batch", 1), ("queue_limit", 1), ("spare_lanes", 0)):
            value = getattr(self, name)
            if name == "max_batch" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(
                    f"batching {name} is {value!r}, expected a whole number of at least {least}"
                )
        for name in ("max_wait_ms", "deadline_ms"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= _LONGEST_MS:  # false for NaN
                raise UsageError(
                    f"batching {name} is {value!r}, expected milliseconds, 0 or more and at most a "
                    "day"
                )
        if not self.max_wait_ms < self.deadline_ms:
            raise UsageError(
                f"batching deadline_ms is {self.deadline_ms}, expected more than max_wait_ms, "
                f"{self.max_wait_ms}: no capture would be answered in time"
            )
        try:
            object.__setattr__(self, "when_full", WhenFull(self.when_full))
        except ValueError:
            raise UsageError(
                f"batching when_full is {self.when_full!r}, expected "
                f"{' or '.join(w.value for w in WhenFull)}"
            ) from None

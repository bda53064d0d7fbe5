"""In-order delivery of results that become available in any order."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Place:
    """Position in an `InOrder` sequence.

    Attributes:
        is_settled: Whether its delivery is decided, though an earlier place may still hold it back.
    """

    __slots__ = ("_deliver", "is_settled")

    def __init__(self) -> None:
        self.is_settled = False
        self._deliver: Callable[[], None] | None = None

    def settle(self, deliver: Callable[[], None]) -> bool:
        """Decide the delivery; False where it was decided before. `InOrder` calls it locked."""
        if self.is_settled:
            return False
        self.is_settled = True
        self._deliver = deliver
        return True

    def take_delivery(self) -> Callable[[], None]:
        """Return the delivery and drop the reference to it, and to all it holds."""
        deliver, self._deliver = self._deliver, None
        assert deliver is not None, "only settled places are delivered"  # noqa: S101
        return deliver


class InOrder:
    """Runs deliveries one at a time, in the order in which their places were taken.

    Every place must be settled some day: an unsettled one holds back all places behind it. A
    delivery runs without a lock held, in the thread whose `settle` made it possible, which is not
    always the thread that settled its place. It may take and settle further places.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: deque[Place] = deque()
        self._is_delivering = False  # whether a thread is running deliveries

    @property
    def is_empty(self) -> bool:
        """Whether no place waits for its delivery to start."""
        return not self._places

    def take_place(self) -> Place:
        """Return a new place behind all others."""
        place = Place()
        with self._lock:
            self._places.append(place)
        return place

    def settle(self, place: Place, deliver: Callable[[], None]) -> None:
        """Decide the delivery of a place, and run every delivery that is due.

        Args:
            place: Place of this sequence; settling it again has no effect.
            deliver: Delivery, called once. What it raises is discarded, SystemExit included: it
                must not keep the places behind it from being delivered.
        """
        with self._lock:
            if not place.settle(deliver) or self._is_delivering:
                return
            self._is_delivering = True
        while (due := self._next()) is not None:
            with suppress(BaseException):
                due()

    def _next(self) -> Callable[[], None] | None:
        """Take the first place's delivery if it is settled; else note that no thread delivers."""
        with self._lock:
            if self._places and self._places[0].is_settled:
                return self._places.popleft().take_delivery()
            self._is_delivering = False
            return None

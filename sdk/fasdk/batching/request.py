"""Queued captures and the per-caller order of their answers."""

from __future__ import annotations

import _thread
import threading
import time
from concurrent.futures import InvalidStateError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from fasdk.answer_future import AnswerFuture
from fasdk.ordering import InOrder
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from fasdk.capture import Capture
    from fasdk.decision import Decision
    from fasdk.ordering import Place

    # For type checking alone: sessions are built on batching, and only hand their scorer in.
    from fasdk.scorer import Scorer
    from fasdk.telemetry import StageClock


class Request:
    """One capture from `submit` to its answer.

    Attributes:
        capture: Capture to be scored; read until the future resolves, never after.
        scorer: Scorer whose gates it passed when it was submitted.
        clock: Time spent in each stage so far.
        queued_ns: Time at which it was queued, in nanoseconds of `time.perf_counter_ns`.
        deadline_ns: Time by which it must have an answer, on the same clock.
        future: Future of its answer.
        caller: Identifier of the submitting thread.
    """

    __slots__ = (
        "_is_abandoned",
        "_place",
        "_queue",
        "_room",
        "caller",
        "capture",
        "clock",
        "deadline_ns",
        "future",
        "queued_ns",
        "scorer",
    )

    def __init__(
        self, capture: Capture, scorer: Scorer, clock: StageClock, queued_ns: int, deadline_ns: int
    ) -> None:
        self.capture = capture
        self.scorer = scorer
        self.clock = clock
        self.queued_ns = queued_ns
        self.deadline_ns = deadline_ns
        self.future: AnswerFuture[Decision] = AnswerFuture()
        self.caller = threading.get_ident()
        self._queue: InOrder | None = None  # the caller's
        self._place: Place | None = None
        self._is_abandoned = False
        self._room: _thread.LockType | None = None

    def need_room(self) -> None:
        """Note that its caller waits for room in the queue; before it is queued."""
        self._room = _thread.allocate_lock()
        self._room.acquire()

    def wait_for_room(self) -> None:
        """Wait until it has room in the queue or an answer; once, in its caller's thread."""
        room = self._room
        if room is not None:
            room.acquire()

    @property
    def needs_room(self) -> bool:
        """Whether its caller waits for room in the queue."""
        return self._room is not None

    def give_room(self) -> None:
        """Let its caller go on, if it waits; a thread of the batcher calls it."""
        room, self._room = self._room, None
        if room is not None:
            self.clock.room_ns = time.perf_counter_ns()
            with suppress(RuntimeError):  # another thread has just done so
                room.release()

    @property
    def is_open(self) -> bool:
        """Whether it has no answer and is not about to get one from the watchdog."""
        is_settled = self._place is not None and self._place.is_settled
        return not (is_settled or self._is_abandoned)

    def join(self, queue: InOrder) -> None:
        """Take the next place in the queue of its caller."""
        self._queue, self._place = queue, queue.take_place()

    def settle(self, resolve: partial[None]) -> None:
        """Have its future resolved in its caller's order; only the first call counts."""
        if self._queue is not None and self._place is not None:
            self._queue.settle(self._place, resolve)

    def abandon(self) -> bool:
        """Reserve its answer for the watchdog; False where it is answered or reserved already."""
        is_open = self.is_open
        self._is_abandoned = True
        return is_open

    def claim(self) -> bool:
        """Take the request up for scoring; False when nobody waits for its answer any more."""
        try:
            return not self.future.is_withdrawn and self.future.set_running_or_notify_cancel()
        except (InvalidStateError, RuntimeError):  # its owner resolved it and needs no answer
            return False


class CallerOrder:
    """Resolves the futures of each caller in the order in which that caller submitted.

    A caller is a thread; the batcher's threads alone call this. An answer that is ready before an
    earlier one of the same caller waits for it; callers never wait for one another. A cancelled
    request holds back the ones behind it only until it is taken from the queue. Callbacks of a
    future run in the thread that resolves it, with no lock held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the queues by caller and of the count
        self._empty = threading.Condition(self._lock)
        self._queues: dict[int, InOrder] = {}
        self._count = 0
        self._here = threading.local()

    @property
    def in_callback(self) -> bool:
        """Whether the current thread is inside a callback of a future this order resolves."""
        return getattr(self._here, "depth", 0) > 0

    @property
    def count(self) -> int:
        """Number of requests without an answer."""
        return self._count

    def join(self, request: Request) -> None:
        """Append a request to its caller's queue; it must be settled some day."""
        with self._lock:
            queue = self._queues.get(request.caller)
            if queue is None:
                queue = self._queues[request.caller] = InOrder()
            request.join(queue)
            self._count += 1

    def settle(self, request: Request, answer: Decision | None) -> None:
        """Give a request its answer, None for a cancelled one; only the first answer counts.

        The future is resolved now, or when every earlier one of the same caller has been.

        Args:
            request: Request that has joined; one that has not is ignored.
            answer: Decision of this request alone: its timings are filled in here.
        """
        request.settle(partial(self._resolve, request, answer))
        request.give_room()

    def wait_until_empty(self) -> None:
        """Return once every request that joined has its answer."""
        with self._lock:
            self._empty.wait_for(lambda: not self._count)

    def _resolve(self, request: Request, answer: Decision | None) -> None:
        here = self._here
        here.depth = getattr(here, "depth", 0) + 1
        try:
            if answer is not None:
                answer = request.scorer.in_time(request.capture, answer)
                answer.timings_ms.update(request.clock.finish())
                request.future.set_result(answer)
        except BaseException:  # noqa: BLE001, S110 - resolved by its owner, or a callback's SystemExit
            pass
        finally:
            here.depth -= 1
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._empty.notify_all()
                # Empty means that this delivery is its last: whatever joins next gets a new queue.
                if self._queues[request.caller].is_empty:
                    del self._queues[request.caller]


def overdue(scorer: Scorer, cause: str) -> Decision:
    """Return the ERROR of a request whose deadline has passed.

    Args:
        scorer: Scorer of the bundle that answers.
        cause: Clause that names the step that took too long.
    """
    message = (
        f"no answer within deadline_ms: {cause}; try another capture, or give batching a longer "
        "deadline_ms or more lanes"
    )
    return scorer.refused(Finding(Reason.DEADLINE, message))

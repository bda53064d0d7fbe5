"""Captures that wait for an answer, and the order in which each caller hears of its own."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk.capture import Capture
    from fasdk.decision import Decision
    from fasdk.session.scorer import Judge
    from fasdk.telemetry import StageClock


class Ticket:
    """One capture under way, from the queue to its answer.

    Attributes:
        capture: What is to be judged; read until the future resolves, never after.
        judge: Whose rules it passed when it came in.
        clock: Adds up its stages.
        queued_ns: When it began to wait, in nanoseconds of `time.perf_counter_ns`.
        deadline_ns: When it must have an answer, on the same clock.
        future: Where the answer goes.
        line: Its caller's, once it has joined.
        settled: Whether it has its answer, though an earlier one may hold that back.
        given_up: Whether the watchdog is about to settle it.
    """

    __slots__ = (
        "answer",
        "capture",
        "clock",
        "deadline_ns",
        "future",
        "given_up",
        "judge",
        "line",
        "queued_ns",
        "settled",
    )

    def __init__(
        self, capture: Capture, judge: Judge, clock: StageClock, queued_ns: int, deadline_ns: int
    ) -> None:
        self.capture = capture
        self.judge = judge
        self.clock = clock
        self.queued_ns = queued_ns
        self.deadline_ns = deadline_ns
        self.future: Future[Decision] = Future()
        self.line: Line | None = None
        self.settled = False
        self.given_up = False
        self.answer: Decision | None = None

    def claim(self) -> bool:
        """Take the capture up for judging; False when its future was cancelled before."""
        try:
            return self.future.set_running_or_notify_cancel()
        except (InvalidStateError, RuntimeError):  # resolved by its owner, who asks for no answer
            return False


class Line:
    """One caller's captures in the order of submission."""

    __slots__ = ("caller", "moving", "tickets")

    def __init__(self, caller: int) -> None:
        self.caller = caller
        self.tickets: deque[Ticket] = deque()
        self.moving = False  # whether a thread is handing answers out at the head

    def head(self) -> Ticket | None:
        """Take the first ticket if it is settled, else say that nobody hands out any more."""
        if self.tickets and self.tickets[0].settled:
            return self.tickets.popleft()
        self.moving = False
        return None


class CallerOrder:
    """Resolves the futures of each caller in the order in which that caller submitted.

    A caller is a thread. An answer that is ready before an earlier one of the same caller waits for
    it; callers never wait for one another. A cancelled capture holds nobody up once it is met in
    the queue. Callbacks of a future run in the thread that resolves it, with no lock held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._lines: dict[int, Line] = {}
        self._count = 0
        self._here = threading.local()

    @property
    def in_callback(self) -> bool:
        """Whether the current thread is inside a callback of a future this order resolves."""
        return getattr(self._here, "depth", 0) > 0

    @property
    def count(self) -> int:
        """How many captures have no answer yet."""
        return self._count

    def join(self, ticket: Ticket) -> None:
        """Append a ticket to the current thread's line; it must be settled some day."""
        caller = threading.get_ident()
        with self._lock:
            line = self._lines.get(caller)
            if line is None:
                line = self._lines[caller] = Line(caller)
            ticket.line = line
            line.tickets.append(ticket)
            self._count += 1

    def settle(self, ticket: Ticket, answer: Decision | None) -> None:
        """Give a ticket its answer, None for a cancelled one; only the first one counts.

        The answer must be this ticket's alone: its timings are filled in here.
        Resolves the future now, or when every earlier one of the same caller has been.
        """
        line = ticket.line
        with self._lock:
            if line is None or ticket.settled:
                return
            ticket.settled = True
            ticket.answer = answer
            if line.moving:
                return
            line.moving = True
            head = line.head()
        while head is not None:
            self._resolve(head)
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._empty.notify_all()
                head = line.head()
                if head is None and not line.tickets:
                    del self._lines[line.caller]

    def wait_until_empty(self) -> None:
        """Return once every ticket that joined has its answer."""
        with self._lock:
            self._empty.wait_for(lambda: not self._count)

    def _resolve(self, ticket: Ticket) -> None:
        answer = ticket.answer
        if answer is None:
            return
        answer.timings_ms.update(ticket.clock.finish())
        here = self._here
        here.depth = getattr(here, "depth", 0) + 1
        try:
            ticket.future.set_result(answer)
        except BaseException:  # noqa: BLE001, S110 - resolved by its owner, or a callback's SystemExit
            pass
        finally:
            here.depth -= 1

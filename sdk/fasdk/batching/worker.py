"""The threads that judge: each fills its lane's rows, runs them, and answers."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import BackendError, UsageError
from fasdk.reasons import Reason
from fasdk.telemetry import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.backends.engine import Engine, Lane
    from fasdk.batching.request import CallerOrder, Ticket
    from fasdk.bundle.bundle import Bundle
    from fasdk.decision import Decision
    from fasdk.session.scorer import Judge


class Served:
    """An engine with the rules of its bundle; it closes the engine when its last user has left.

    Attributes:
        bundle: The verified bundle.
        engine: What runs its graph.
        judge: Its rules.
    """

    def __init__(self, bundle: Bundle, engine: Engine, judge: Judge) -> None:
        self.bundle = bundle
        self.engine = engine
        self.judge = judge
        self.turn = threading.Lock()  # Engine.run may be called from one thread at a time
        self._lock = threading.Lock()
        self._users = 1

    def enter(self) -> bool:
        """Keep the engine open until `leave`; False when it is closed already."""
        with self._lock:
            if not self._users:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        """Stop using the engine; the last to leave closes it."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self.engine.close()


@dataclass(frozen=True, eq=False)
class Call:
    """An engine call under way, and the answering after it.

    Attributes:
        started_ns: When it began, in nanoseconds of `time.perf_counter_ns`.
        tickets: The captures in it, row by row.
    """

    started_ns: int
    tickets: tuple[Ticket, ...]


class LaneGroup:
    """The lanes of one engine.

    Attributes:
        served: The engine and its rules; the group is one of its users until it has no worker.
        max_batch: Captures a lane takes in one call.
        workers: Threads that hold a lane, hung ones included.
        lost: Why the last lane was lost, in words; empty while there is one.
    """

    def __init__(self, served: Served, max_batch: int) -> None:
        self.served = served
        self.max_batch = max_batch
        self.workers: set[LaneWorker] = set()
        self.lost = ""

    @property
    def active(self) -> int:
        """Workers that do not hang in the engine."""
        return sum(not worker.hung for worker in self.workers)

    @property
    def hung(self) -> int:
        """Workers given up, whose engine call has not returned."""
        return sum(worker.hung for worker in self.workers)


def open_lanes(served: Served, lanes: int, max_batch: int | None) -> tuple[LaneGroup, list[Lane]]:
    """Open the lanes of a new group; none stays open when one cannot be opened.

    Args:
        served: The engine and its rules.
        lanes: How many.
        max_batch: Captures a call; None for the bundle's own, as far as the engine takes it.

    Raises:
        UsageError: The engine takes no batch as large as asked for.
        BackendError: The engine is closed or the device has no memory left.
    """
    limit = served.engine.max_batch
    if max_batch is None:
        own = served.bundle.manifest.max_batch
        max_batch = own if limit is None else min(own, limit)
    elif limit is not None and max_batch > limit:
        raise UsageError(
            f"batching asks for max_batch {max_batch}, this engine takes {limit}: "
            f"ask for at most {limit}, or build the bundle with a larger --max-batch"
        )
    if not served.enter():
        raise BackendError("the engine is closed")
    opened: list[Lane] = []
    try:
        while len(opened) < lanes:
            opened.append(served.engine.open_lane(max_batch))
    except BaseException:
        for lane in opened:
            lane.close()
        served.leave()
        raise
    return LaneGroup(served, max_batch), opened


class LaneWorker:
    """A thread with a lane; it judges the batches it takes until there is none left to take.

    Attributes:
        group: Whose lane it is.
        batch: What it took last; set under the queue's lock, read by the watchdog.
        call: The engine call under way, or None. No capture in it is read any more, so the watchdog
            may answer it. Replaced as a whole, so that it is read without a lock.
        hung: Whether the watchdog has given up its call; set and cleared under the queue's lock.

    Args:
        group: Whose lane it is.
        lane: An open lane, or None to open one first, in the thread.
        order: Where answers go.
        take: Returns the next batch, or None when the worker is to leave.
        left: Hears that the worker has left, with what kept it from opening its lane, if anything.
    """

    def __init__(
        self,
        group: LaneGroup,
        lane: Lane | None,
        order: CallerOrder,
        *,
        take: Callable[[LaneWorker], Sequence[Ticket] | None],
        left: Callable[[LaneWorker, BaseException | None], None],
    ) -> None:
        self.group = group
        self.hung = False
        self.batch: Sequence[Ticket] = ()
        self.call: Call | None = None
        self._lane = lane
        self._order = order
        self._take = take
        self._left = left
        # A daemon, so that a call that never returns does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="fasdk-lane", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _work(self) -> None:
        fault: BaseException | None = None
        try:
            if self._lane is None:
                self._lane = self.group.served.engine.open_lane(self.group.max_batch)
            while self._serve(self._lane):
                pass
        except BaseException as error:  # noqa: BLE001 - whatever ended it, its leaving is heard of
            fault = error
            for ticket in self.batch:
                self._order.settle(ticket, self.group.served.judge.error(error))
        if self._lane is not None:
            with suppress(Exception):
                self._lane.close()
        self._left(self, fault)

    def _serve(self, lane: Lane) -> bool:
        """Judge one batch; False when there is none to take. It keeps nothing of it."""
        batch = self._take(self)
        if batch is None:
            return False
        tickets = self._fill(lane, batch)
        if tickets:
            self._judge(lane, tickets)
        return True

    def _judge(self, lane: Lane, tickets: tuple[Ticket, ...]) -> None:
        judge = self.group.served.judge
        fault: BaseException | None = None
        call = Call(time.perf_counter_ns(), tickets)
        self.call = call
        try:
            outputs = judge.require_outputs(lane.run(len(tickets)), len(tickets))
            logits = outputs.logits.tolist()
            certainty = [()] * len(tickets)
            if outputs.reliability is not None:
                certainty = outputs.reliability.tolist()
        except BaseException as error:  # noqa: BLE001 - one answer a capture, whatever it was
            outputs, fault = None, error
        ended_ns = time.perf_counter_ns()
        for row, ticket in enumerate(tickets):
            ticket.clock.add(Stage.ENGINE, ended_ns - call.started_ns)
            if ended_ns >= ticket.deadline_ns:
                self._order.settle(ticket, overdue(judge, "its engine call took too long"))
                continue
            start_ns = time.perf_counter_ns()
            try:
                decision = (
                    judge.error(fault or BackendError("the engine returned nothing"))
                    if outputs is None
                    else judge.score_row(ticket.capture, logits[row], certainty[row])
                )
            except Exception as error:  # noqa: BLE001 - one capture's, and no other's
                decision = judge.error(error)
            ticket.clock.add(Stage.DECISION, time.perf_counter_ns() - start_ns)
            self._order.settle(ticket, decision)
        self.call = None

    def _fill(self, lane: Lane, batch: Sequence[Ticket]) -> tuple[Ticket, ...]:
        """Write captures into the lane's first rows and return those that fill them, in order."""
        judge = self.group.served.judge
        tickets: list[Ticket] = []
        inputs = lane.inputs
        for ticket in batch:
            start_ns = time.perf_counter_ns()
            # Another bundle may have taken over since it was let in; its rules may be others.
            answer = None if ticket.judge is judge else judge.refuse_after_swap(ticket.capture)
            if answer is None:
                try:
                    judge.fill(ticket.capture, inputs, len(tickets))
                except Exception as error:  # noqa: BLE001 - one capture's, and no other's
                    answer = judge.error(error)
            end_ns = time.perf_counter_ns()
            ticket.clock.add(Stage.PREPROCESS, end_ns - start_ns)
            if answer is None and end_ns >= ticket.deadline_ns:
                answer = overdue(judge, "it waited too long for a lane")
            if answer is None:
                tickets.append(ticket)
            else:
                self._order.settle(ticket, answer)
        return tuple(tickets)


def overdue(judge: Judge, what: str) -> Decision:
    """Return the ERROR of a capture whose deadline has passed."""
    return judge.failed(
        Reason.DEADLINE,
        f"no answer within deadline_ms: {what}; give it another capture, or batching a longer "
        "deadline_ms or more lanes",
    )

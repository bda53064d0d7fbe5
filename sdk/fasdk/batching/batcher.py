"""Captures from any thread, judged together: a bounded queue in front of an engine's lanes."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from fasdk.batching.policy import BatchingPolicy, WhenFull
from fasdk.batching.request import CallerOrder, Ticket
from fasdk.batching.worker import LaneGroup, LaneWorker, open_lanes, overdue
from fasdk.errors import ClosedError
from fasdk.reasons import Reason
from fasdk.telemetry import Stage, StageClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.backends.engine import Lane
    from fasdk.batching.worker import Served
    from fasdk.capture import Capture
    from fasdk.decision import Decision
    from fasdk.session.scorer import Judge

_NS_PER_MS = 1_000_000
CLOSED = "this session is closed: open the bundle again"


class MicroBatcher:
    """Judges captures on an engine's lanes, and answers every one, whatever happens.

    What holds whatever the engine does:

    - A future resolves to a Decision, never to an exception, and does so by the capture's deadline.
    - Of the captures one thread submits, those that are queued resolve in the order of submission.
      One that is refused (it cannot be judged, the queue is full, the session is closed) never
      joins that order: its future is resolved when `submit` returns.
    - A capture whose future is cancelled, or whose deadline passes, while it waits is not run.
    - A capture's arrays are read until its future resolves, never after; leave them alone so long.
    - An engine that raises fails the batch it was called with; a lane that hangs is given up and
      replaced. The next capture is judged as if nothing had happened.

    Callbacks of a future run in a lane's thread: a slow one holds that lane up.

    Args:
        served: The engine and its rules; kept open until the last lane has left it.
        policy: How captures share it.

    Raises:
        UsageError: The engine takes no batch as large as the policy asks for.
        BackendError: A lane cannot be opened.
    """

    def __init__(self, served: Served, policy: BatchingPolicy) -> None:
        self.policy = policy
        self._deadline_ns = round(policy.deadline_ms * _NS_PER_MS)
        self._max_wait_ns = round(policy.max_wait_ms * _NS_PER_MS)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # something to take, or a reason to leave
        self._room = threading.Condition(self._lock)  # a place in the queue, or none to come
        self._alarm = threading.Condition(self._lock)  # wakes the watchdog early
        self._left = threading.Condition(self._lock)  # a worker has gone
        self._queue: deque[Ticket] = deque()
        self._order = CallerOrder()
        self._closing = False
        self._abandoned = False
        self._look_ns = 0  # when the watchdog looks next
        self._groups: list[LaneGroup] = []
        group, lanes = open_lanes(served, policy.lanes, policy.max_batch)
        self._group = group
        with self._lock:
            self._staff(group, lanes)
        threading.Thread(target=self._watch, name="fasdk-watchdog", daemon=True).start()

    def submit(self, capture: Capture) -> Future[Decision]:
        """Queue a capture and return where its Decision will be; never raises.

        What can be refused without an engine is refused here, in the caller's thread.
        """
        clock = StageClock()
        arrived_ns = time.perf_counter_ns()
        judge = self._group.served.judge
        refusal = judge.gate(capture)
        gated_ns = time.perf_counter_ns()
        clock.add(Stage.GATES, gated_ns - arrived_ns)
        ticket = Ticket(capture, judge, clock, gated_ns, arrived_ns + self._deadline_ns)
        if refusal is None:
            with self._lock:
                refusal = self._refusal(ticket)
                if refusal is None:
                    self._order.join(ticket)
                    self._queue.append(ticket)
                    self._work.notify()
                    if ticket.deadline_ns < self._look_ns:  # it waited long to be queued
                        self._alarm.notify()
                    return ticket.future
        clock.add(Stage.QUEUE, time.perf_counter_ns() - gated_ns)
        refusal.timings_ms.update(clock.finish())
        ticket.future.set_result(refusal)
        return ticket.future

    def swap(self, served: Served) -> None:
        """Open lanes on another engine, then let them take over the queue.

        Captures in the old lanes are finished there; the old engine is left when they are.

        Raises:
            ClosedError: The batcher is closed; nothing changed.
            UsageError: The engine takes no batch as large as the policy asks for.
            BackendError: A lane cannot be opened; the old ones go on.
        """
        group, lanes = open_lanes(served, self.policy.lanes, self.policy.max_batch)
        with self._lock:
            if not self._closing:
                self._group = group
                self._staff(group, lanes)
                self._work.notify_all()
                self._room.notify_all()
                return
        for lane in lanes:
            lane.close()
        served.leave()
        raise ClosedError(CLOSED)

    def close(self, *, drain: bool = True) -> None:
        """Answer every capture and let the lanes go; a second call waits as well.

        Returns once every future is resolved and no lane runs, within `deadline_ms`; a lane that
        hangs in the engine keeps that open until its call returns. Called from a future's callback
        it does not wait.

        Args:
            drain: Judge what is queued; else answer it ERROR (closed). What is in a lane is
                finished either way.
        """
        dropped: list[Ticket] = []
        with self._lock:
            self._begin_closing()
            if not drain:
                dropped = list(self._queue)
                self._queue.clear()
        for ticket in dropped:
            self._order.settle(ticket, ticket.judge.failed(Reason.CLOSED, CLOSED))
        if self._order.in_callback:
            return
        self._order.wait_until_empty()
        with self._lock:
            self._left.wait_for(lambda: not any(group.active for group in self._groups))

    def abandon(self) -> None:
        """Close some time soon, without waiting and without a lock: for a garbage collector."""
        self._abandoned = True

    def _begin_closing(self) -> None:
        self._closing = True
        self._work.notify_all()
        self._room.notify_all()
        self._alarm.notify_all()

    def _refusal(self, ticket: Ticket) -> Decision | None:
        """Wait for room if the policy says so; return why the ticket cannot be queued, or None."""
        while True:
            if self._closing:
                return ticket.judge.failed(Reason.CLOSED, CLOSED)
            if self._group.lost:
                return _no_lane(ticket.judge, self._group)
            if len(self._queue) < self.policy.queue_limit:
                return None
            if self.policy.when_full is WhenFull.REJECT:
                return ticket.judge.failed(
                    Reason.QUEUE_FULL,
                    f"{len(self._queue)} captures wait already, queue_limit allows no more: "
                    "submit fewer at once, or give batching more lanes",
                )
            left_ns = ticket.deadline_ns - time.perf_counter_ns()
            if left_ns <= 0:
                return overdue(ticket.judge, "the queue stayed full")
            self._room.wait(left_ns / 1e9)

    def _take(self, worker: LaneWorker) -> Sequence[Ticket] | None:
        """Return the next batch for a worker, or None when it is to leave."""
        group = worker.group
        while True:
            with self._lock:
                if not self._wait_for_batch(worker):
                    return None
                popped = worker.batch = [self._queue.popleft() for _ in range(self._share(group))]
                self._room.notify(len(popped))
                if self._queue:
                    self._work.notify()
            now_ns = time.perf_counter_ns()
            batch: list[Ticket] = []
            for ticket in popped:
                if not ticket.claim():
                    self._order.settle(ticket, None)
                    continue
                ticket.clock.add(Stage.QUEUE, now_ns - ticket.queued_ns)
                if now_ns >= ticket.deadline_ns:
                    self._order.settle(ticket, _waited(ticket))
                else:
                    batch.append(ticket)
            if batch:
                return batch

    def _wait_for_batch(self, worker: LaneWorker) -> bool:
        """Wait until a worker should take from the queue; False when it is to leave."""
        group = worker.group
        worker.batch = ()
        if worker.hung:  # its call has returned after all
            if group.active >= self.policy.lanes:
                return False
            worker.hung = False
            group.lost = ""
        while group is self._group:
            if not self._queue:
                if self._closing:
                    return False
                self._work.wait()
                continue
            wait_ns = self._queue[0].queued_ns + self._max_wait_ns - time.perf_counter_ns()
            if wait_ns <= 0 or len(self._queue) >= group.max_batch or self._closing:
                return True
            self._work.wait(wait_ns / 1e9)
        return False

    def _share(self, group: LaneGroup) -> int:
        """Return how much of the queue a worker takes.

        Whoever asks not to wait is served soonest when lanes have equal shares of all that has no
        answer yet. Were one to take whatever is there, it would go on with large batches, and the
        other with the few that come back meanwhile, one by one, which costs most a capture.
        Whoever waits for others wants large batches.
        """
        there = len(self._queue)
        if self._max_wait_ns or not group.active:
            return min(there, group.max_batch)
        open_ = there + sum(len(worker.batch) for worker in group.workers if not worker.hung)
        return min(there, -(-open_ // group.active), group.max_batch)

    def _staff(self, group: LaneGroup, lanes: Sequence[Lane | None]) -> None:
        """Start a worker for each lane; None is one that its worker opens."""
        if group not in self._groups:
            self._groups.append(group)
        for lane in lanes:
            worker = LaneWorker(group, lane, self._order, take=self._take, left=self._leave)
            worker.start()
            group.workers.add(worker)

    def _leave(self, worker: LaneWorker, fault: BaseException | None) -> None:
        group = worker.group
        with self._lock:
            group.workers.discard(worker)
            empty = not group.workers
            if empty:
                self._groups.remove(group)
            dropped = self._check_lost(group, "" if fault is None else f": {fault}")
            self._left.notify_all()
            self._alarm.notify_all()
        for ticket in dropped:
            self._order.settle(ticket, _no_lane(ticket.judge, group))
        if empty:
            group.served.leave()

    def _check_lost(self, group: LaneGroup, why: str) -> list[Ticket]:
        """Return the queue's captures when the group that should judge them has no lane left."""
        done = self._closing and not self._queue
        if group.active or group is not self._group or done:
            return []
        group.lost = (
            f"no lane is left, {group.hung} hang in the engine{why}: "
            "restart the process, or swap the bundle"
        )
        dropped = list(self._queue)
        self._queue.clear()
        self._room.notify_all()
        return dropped

    def _watch(self) -> None:
        """Answer what is overdue and replace lanes that hang, until the last one has gone."""
        while True:
            with self._lock:
                if self._abandoned:
                    self._begin_closing()
                now_ns = time.perf_counter_ns()
                answers = self._overdue(now_ns) + self._give_up(now_ns)
                if not answers:
                    if self._closing and not any(group.active for group in self._groups):
                        return
                    self._look_ns = self._next_look_ns(now_ns)
                    self._alarm.wait((self._look_ns - now_ns) / 1e9)
                    continue
            self._settle_apart(answers)

    def _settle_apart(self, answers: Sequence[tuple[Ticket, Decision]]) -> None:
        """Settle in a thread for each caller: a callback that hangs holds up that caller alone."""
        by_caller: dict[int, list[tuple[Ticket, Decision]]] = {}
        for ticket, answer in answers:
            by_caller.setdefault(id(ticket.line), []).append((ticket, answer))
        for own in by_caller.values():
            thread = threading.Thread(
                target=self._settle, args=(own,), name="fasdk-overdue", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the process may start no more threads
                self._settle(own)

    def _settle(self, answers: Sequence[tuple[Ticket, Decision]]) -> None:
        for ticket, answer in answers:
            self._order.settle(ticket, answer)

    def _overdue(self, now_ns: int) -> list[tuple[Ticket, Decision]]:
        """Take what is overdue out of the queue and return it, and what is overdue in a call."""
        answers: list[tuple[Ticket, Decision]] = []
        late = [ticket for ticket in self._queue if now_ns >= ticket.deadline_ns]
        for ticket in late:
            self._queue.remove(ticket)
            ticket.clock.add(Stage.QUEUE, now_ns - ticket.queued_ns)
            answers.append((ticket, _waited(ticket)))
        self._room.notify(len(late))
        for worker in self._workers():
            call = worker.call
            for ticket in () if call is None else call.tickets:
                if now_ns >= ticket.deadline_ns and not (ticket.settled or ticket.given_up):
                    ticket.given_up = True
                    judge = worker.group.served.judge
                    answers.append((ticket, overdue(judge, "its engine call has not returned")))
        return answers

    def _give_up(self, now_ns: int) -> list[tuple[Ticket, Decision]]:
        """Replace workers whose call takes longer than a capture may; return what that fails."""
        dropped: list[Ticket] = []
        for worker in self._workers():
            call, group = worker.call, worker.group
            if worker.hung or call is None or now_ns < call.started_ns + self._deadline_ns:
                continue
            worker.hung = True
            self._left.notify_all()
            if group is self._group and group.hung <= self.policy.spare_lanes:
                with suppress(RuntimeError):  # the process may start no more threads
                    self._staff(group, [None])
            dropped += self._check_lost(group, "")
        return [(ticket, _no_lane(ticket.judge, self._group)) for ticket in dropped]

    def _next_look_ns(self, now_ns: int) -> int:
        """Return when to look again.

        What arrives from now on is due later than `now_ns` plus one deadline, so looking then at
        the latest misses nothing, and no `submit` need wake the watchdog.
        """
        due = [now_ns + self._deadline_ns, *(ticket.deadline_ns for ticket in self._queue)]
        for worker in self._workers():
            call = worker.call
            if call is not None and not worker.hung:
                due.append(call.started_ns + self._deadline_ns)
            due += [t.deadline_ns for t in worker.batch if not (t.settled or t.given_up)]
        return max(min(due), now_ns + _NS_PER_MS)

    def _workers(self) -> list[LaneWorker]:
        return [worker for group in self._groups for worker in group.workers]


def _waited(ticket: Ticket) -> Decision:
    return overdue(ticket.judge, "it waited too long for a lane")


def _no_lane(judge: Judge, group: LaneGroup) -> Decision:
    return judge.failed(Reason.ENGINE_FAULT, group.lost)

"""Micro-batching: a bounded queue of captures in front of an engine's lanes."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from itertools import count, islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from fasdk.batching.group import LaneGroup
from fasdk.batching.policy import BatchingPolicy, WhenFull
from fasdk.batching.request import CallerOrder, Request, overdue
from fasdk.errors import ClosedError
from fasdk.nvtx_ranges import nvtx_ranges
from fasdk.own_thread import in_own_thread
from fasdk.reasons import Finding, Reason
from fasdk.telemetry import Stage, StageClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.answer_future import AnswerFuture
    from fasdk.batching.loaded_bundle import LoadedBundle
    from fasdk.batching.worker import LaneWorker
    from fasdk.capture import Capture
    from fasdk.decision import Decision

    # For type checking alone: sessions are built on batching, and only hand their scorer in.
    from fasdk.scorer import Scorer
    from fasdk.telemetry import SessionRecording

_NS_PER_MS = 1_000_000
CLOSED = "this session is closed: open the bundle again"


class MicroBatcher:
    """Scores captures in batches on an engine's lanes, and answers every one of them.

    Guarantees, whatever the engine does:

    - A future resolves to a Decision, never to an exception, and does so by the capture's deadline.
    - Of the captures one thread submits, those that are queued resolve in the order of submission.
      One that is refused (it cannot be scored, the queue is full, the session is closed) never
      joins that order: its future is resolved when `submit` returns, unless the queue fills or the
      session closes at that very moment.
    - An exception that ends `submit` at any instruction, as a signal handler's does, holds up
      nobody: the capture was queued whole or not at all.
    - A capture whose future is cancelled, or whose deadline passes, while it waits is not run.
    - A capture's arrays are read until its future resolves, never after; do not change them before.
    - An engine that raises fails the batch it was called with; a lane that hangs is abandoned and
      replaced. The next capture is scored as if nothing had happened.

    Callbacks of a future run in a lane's thread: a slow one delays that lane.

    Callers put captures into a `SimpleQueue`, one call into C, and ring a bell; every lock below is
    taken by threads of the session alone. One idle worker, the leader, waits for the bell, the
    others at a condition. Whoever holds the lock moves what has arrived into the queue.

    Calls go one way, from the batcher to its lane groups and from those to their workers; each of
    them has a lock of its own, taken in that order. Workers call back without holding one.

    Attributes:
        policy: Lanes, batch size, queue and deadline.
        recording: Recording that is filled from now on, or None.

    Args:
        loaded: Loaded bundle to score on; kept open until the last lane has left it.
        policy: Lanes, batch size, queue and deadline.

    Raises:
        UsageError: The engine takes no batch as large as the policy's.
        BackendError: A lane cannot be opened.
    """

    def __init__(self, loaded: LoadedBundle, policy: BatchingPolicy) -> None:
        self.policy = policy
        self.recording: SessionRecording | None = None
        self._deadline_ns = round(policy.deadline_ms * _NS_PER_MS)
        self._max_wait_ns = round(policy.max_wait_ms * _NS_PER_MS)
        self._arrivals: SimpleQueue[Request] = SimpleQueue()
        self._bell: SimpleQueue[None] = SimpleQueue()  # wakes the leader
        self._alarm: SimpleQueue[None] = SimpleQueue()  # wakes the watchdog early
        self._lock = threading.Lock()  # of the queue, the groups and the fields below
        self._work = threading.Condition(self._lock)  # something to take, or a reason to leave
        self._left = threading.Condition(self._lock)  # a worker has left or hangs
        self._has_leader = False
        self._queue: deque[Request] = deque()
        self._refused: list[tuple[Request, Decision]] = []  # for the watchdog to settle
        self._order = CallerOrder()
        self._closing = False
        self._abandoned = False
        self._ended = False  # whether no thread is left that looks at what arrives
        self._look_ns = 0  # when the watchdog looks next
        self._ranges = nvtx_ranges()
        self._lane_numbers = count()
        self._group = LaneGroup.open(loaded, policy, self._order, self, self._lane_numbers)
        self._groups = [self._group]  # those with a worker left
        with self._lock:
            self._group.start()
        threading.Thread(target=self._watch, name="fasdk-watchdog", daemon=True).start()

    @property
    def in_callback(self) -> bool:
        """Whether the current thread is inside a callback of one of its futures."""
        return self._order.in_callback

    def submit(self, capture: Capture) -> AnswerFuture[Decision]:
        """Queue a capture and return the future of its Decision.

        What can be refused without an engine is refused here, in the caller's thread. It raises
        nothing of its own.
        """
        clock = StageClock()
        recording = self.recording
        if recording is not None:
            recording.clocks.append(clock)
        scorer = self._group.loaded.scorer
        with self._ranges[Stage.GATES]:
            refusal = scorer.gate(capture)
        gated_ns = time.perf_counter_ns()
        clock.add(Stage.GATES, clock.start_ns, gated_ns)
        request = Request(capture, scorer, clock, gated_ns, clock.start_ns + self._deadline_ns)
        if refusal is None:
            is_full = self._waiting >= self.policy.queue_limit
            refusal = self._refusal(request, is_full=is_full)
        if refusal is not None:
            clock.add(Stage.QUEUE, gated_ns, time.perf_counter_ns())
            refusal.timings_ms.update(clock.finish())
            request.future.set_result(refusal)
            return request.future
        if is_full:
            request.need_room()
        self._arrivals.put(request)
        self._bell.put(None)
        if request.deadline_ns < self._look_ns or self._group.lost:  # it waited long to be queued
            self._alarm.put(None)
        if self._ended:
            in_own_thread(self._refuse_arrivals)
        request.wait_for_room()
        return request.future

    def swap(self, loaded: LoadedBundle) -> None:
        """Open lanes on another loaded bundle, then let them take over the queue.

        Captures in the old lanes are finished there; the old bundle is left when they are.

        Raises:
            ClosedError: The batcher is closed; nothing changed.
            UsageError: The engine takes no batch as large as the policy's.
            BackendError: A lane cannot be opened; the old ones go on.
        """
        group = LaneGroup.open(loaded, self.policy, self._order, self, self._lane_numbers)
        with self._lock:
            if not self._closing:
                self._group = group
                self._groups.append(group)
                group.start()
                self._wake_workers()
                return
        group.release()
        raise ClosedError(CLOSED)

    def close(self, *, drain: bool = True, wait: bool = True) -> None:
        """Answer every capture and let the lanes go; a second call waits as well.

        Returns once every future is resolved and no lane runs, within `deadline_ms`; a lane that
        hangs in the engine keeps that open until its call returns.

        Args:
            drain: Whether queued captures are scored; else they are answered ERROR (closed). Those
                in a lane are finished either way.
            wait: Whether to wait; a callback of one of the futures must not.
        """
        with self._lock:
            self._begin_closing()
            if not drain:
                self._refused += [(r, _closed(r.scorer)) for r in self._queue]
                self._queue.clear()
            dropped, self._refused = self._refused, []
        self._settle(dropped)
        if not wait:
            return
        self._order.wait_until_empty()
        with self._lock:
            self._left.wait_for(lambda: not self._is_active)

    def abandon(self) -> None:
        """Close soon, without waiting and without a lock: for a garbage collector."""
        self._abandoned = True
        self._alarm.put(None)

    def next_batch(self, group: LaneGroup, worker: LaneWorker) -> Sequence[Request] | None:
        """Return the next batch for a worker, or None when it is to leave; see `BatchSource`."""
        recording = self.recording
        if recording is not None:
            recording.lane_returns.append((worker.number, time.perf_counter_ns()))
        while True:
            with self._lock:
                group.assign(worker, ())
                if not self._wait_for_batch(group, worker):
                    self._work.notify()  # it may have been woken for what others are to take
                    return None
                popped = [self._queue.popleft() for _ in range(self._share(group))]
                group.assign(worker, popped)
                self._give_room()
                if self._queue:
                    self._work.notify()
            now_ns = time.perf_counter_ns()
            batch: list[Request] = []
            for request in popped:
                if not request.claim():
                    self._order.settle(request, None)
                    continue
                request.clock.add(Stage.QUEUE, request.queued_ns, now_ns)
                if now_ns >= request.deadline_ns:
                    self._order.settle(request, _waited(request))
                else:
                    batch.append(request)
            if batch:
                return batch

    def worker_left(
        self, group: LaneGroup, worker: LaneWorker, fault: BaseException | None
    ) -> None:
        """Answer the queue if no lane is left to take from it; see `BatchSource`."""
        with self._lock:
            is_empty = group.remove(worker)
            if is_empty:
                self._groups.remove(group)
            dropped = self._check_lost(group, "" if fault is None else f": {fault}")
            self._left.notify_all()
        self._alarm.put(None)
        for request in dropped:
            self._order.settle(request, _no_lane(request.scorer, group))
        if is_empty:
            with suppress(Exception):  # an engine that cannot be closed concerns nobody any more
                group.release()

    @property
    def _is_active(self) -> bool:
        """Whether a worker is left that does not hang."""
        return any(group.active for group in self._groups)

    @property
    def _waiting(self) -> int:
        """Number of captures that wait for a lane; approximate without the lock."""
        return self._arrivals.qsize() + len(self._queue)

    def _begin_closing(self) -> None:
        """Take no more captures; those that wait for room get none."""
        self._admit_arrivals()
        self._closing = True
        for request in [r for r in self._queue if r.needs_room]:
            self._queue.remove(request)
            self._refused.append((request, _closed(request.scorer)))
        self._wake_workers()
        self._alarm.put(None)

    def _wake_workers(self) -> None:
        self._work.notify_all()
        self._bell.put(None)

    def _refusal(self, request: Request, *, is_full: bool) -> Decision | None:
        """Return why a request cannot be queued, or None."""
        if self._closing:
            return _closed(request.scorer)
        if self._group.lost:
            return _no_lane(request.scorer, self._group)
        if is_full and self.policy.when_full is WhenFull.REJECT:
            message = (
                f"{self.policy.queue_limit} captures wait already, queue_limit allows no more: "
                "submit fewer at once, or give batching more lanes"
            )
            return request.scorer.refused(Finding(Reason.QUEUE_FULL, message))
        return None

    def _admit_arrivals(self) -> None:
        """Move what has arrived into the queue."""
        is_rung = _empty(self._bell)  # before the queue: what comes after this rings again
        with suppress(Empty):
            while True:
                self._admit(self._arrivals.get_nowait())
        if is_rung and self._has_leader:
            self._bell.put(None)  # it was for the leader, who has not heard it

    def _admit(self, request: Request) -> None:
        """Put a request into the queue; others may have filled it since it was submitted."""
        self._order.join(request)
        is_full = len(self._queue) >= self.policy.queue_limit
        refusal = self._refusal(request, is_full=is_full)
        if refusal is not None:
            self._refused.append((request, refusal))
            self._alarm.put(None)
            return
        self._queue.append(request)
        if not is_full:
            request.give_room()

    def _give_room(self) -> None:
        for request in islice(self._queue, self.policy.queue_limit):
            request.give_room()

    def _refuse_arrivals(self) -> None:
        """Refuse what has arrived after the last thread has left."""
        with self._lock:
            self._admit_arrivals()
            refused, self._refused = self._refused, []
        self._settle(refused)

    def _wait_for_batch(self, group: LaneGroup, worker: LaneWorker) -> bool:
        """Wait until a worker should take from the queue; False when it is to leave."""
        if not group.resume(worker, self.policy.lanes):
            return False
        while group is self._group:
            self._admit_arrivals()
            if not self._queue:
                if self._closing:
                    return False
                self._wait_for_work(None)
                continue
            wait_ns = self._queue[0].queued_ns + self._max_wait_ns - time.perf_counter_ns()
            if wait_ns <= 0 or len(self._queue) >= group.max_batch or self._closing:
                return True
            self._wait_for_work(wait_ns / 1e9)
        return False

    def _wait_for_work(self, timeout_s: float | None) -> None:
        """Wait for a capture or another reason to look, without the lock; at most for a time."""
        if self._has_leader:
            self._work.wait(timeout_s)
            return
        self._has_leader = True
        self._lock.release()
        try:
            with suppress(Empty):
                self._bell.get(timeout=timeout_s)
        finally:
            self._lock.acquire()
            self._has_leader = False
        self._work.notify()  # the next leader

    def _share(self, group: LaneGroup) -> int:
        """Return how many queued requests a worker takes.

        With max_wait_ms=0 the requests without an answer are split evenly between active lanes. A
        lane that took the whole queue would go on with large batches and leave the other lanes the
        few requests that come in meanwhile, one by one, which costs most per capture. With
        max_wait_ms above 0, a worker takes as large a batch as it can.
        """
        queued = len(self._queue)
        active = 0 if self._max_wait_ns else group.active
        if not active:
            return min(queued, group.max_batch)
        unanswered = queued + group.held
        return min(queued, -(-unanswered // active), group.max_batch)

    def _check_lost(self, group: LaneGroup, why: str) -> list[Request]:
        """Take the queue, to be answered, when the current group has no active worker left."""
        is_done = self._closing and not self._queue
        if group.active or group is not self._group or is_done:
            return []
        group.lose(
            f"no lane is left, {group.hung} hang in the engine{why}: "
            "restart the process, or swap the bundle"
        )
        dropped = list(self._queue)
        self._queue.clear()
        return dropped

    def _watch(self) -> None:
        """Answer overdue requests and replace lanes that hang, until the last lane has left."""
        while True:
            with self._lock:
                if self._abandoned and not self._closing:
                    self._begin_closing()
                self._admit_arrivals()
                now_ns = time.perf_counter_ns()
                answers = self._overdue(now_ns) + self._abandon(now_ns) + self._refused
                self._refused = []
                if not answers:
                    if self._ended:
                        return
                    if self._closing and not self._is_active:
                        self._ended = True  # what arrives after this is refused by its caller
                        continue
                    self._look_ns = self._next_look_ns(now_ns)
            if answers:
                self._settle_apart(answers)
                continue
            with suppress(Empty):
                self._alarm.get(timeout=(self._look_ns - now_ns) / 1e9)
            _empty(self._alarm)

    def _settle_apart(self, answers: Sequence[tuple[Request, Decision]]) -> None:
        """Settle in one thread per caller: a callback that hangs delays that caller alone."""
        by_caller: dict[int, list[tuple[Request, Decision]]] = {}
        for request, answer in answers:
            by_caller.setdefault(request.caller, []).append((request, answer))
        for own in by_caller.values():
            thread = threading.Thread(
                target=self._settle, args=(own,), name="fasdk-overdue", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the process may start no more threads
                self._settle(own)

    def _settle(self, answers: Sequence[tuple[Request, Decision]]) -> None:
        for request, answer in answers:
            self._order.settle(request, answer)

    def _overdue(self, now_ns: int) -> list[tuple[Request, Decision]]:
        """Take overdue requests out of the queue, and return them with those in engine calls."""
        answers: list[tuple[Request, Decision]] = []
        late = [request for request in self._queue if now_ns >= request.deadline_ns]
        for request in late:
            self._queue.remove(request)
            request.clock.add(Stage.QUEUE, request.queued_ns, now_ns)
            answers.append((request, _waited(request)))
        self._give_room()
        for group in self._groups:
            scorer = group.loaded.scorer
            answers += [
                (request, overdue(scorer, "its engine call has not returned"))
                for request in group.abandon_overdue(now_ns)
            ]
        return answers

    def _abandon(self, now_ns: int) -> list[tuple[Request, Decision]]:
        """Replace workers whose engine call exceeds a deadline; return what that fails."""
        dropped: list[Request] = []
        for group in tuple(self._groups):
            while group.abandon_call(now_ns - self._deadline_ns):
                self._left.notify_all()
                if group is self._group and group.hung <= self.policy.spare_lanes:
                    with suppress(RuntimeError):  # the process may start no more threads
                        group.start_spare()
                dropped += self._check_lost(group, "")
        return [(request, _no_lane(request.scorer, self._group)) for request in dropped]

    def _next_look_ns(self, now_ns: int) -> int:
        """Return when the watchdog is to look again.

        A request that arrives from now on is due later than `now_ns` plus one deadline, so looking
        then at the latest misses none, and no `submit` need wake the watchdog.
        """
        due = [now_ns + self._deadline_ns, *(request.deadline_ns for request in self._queue)]
        for group in self._groups:
            due += group.due_ns(self._deadline_ns)
        return max(min(due), now_ns + _NS_PER_MS)


def _empty(signals: SimpleQueue[None]) -> bool:
    """Take every signal that waits; False where none does."""
    found = False
    with suppress(Empty):
        while True:
            signals.get_nowait()
            found = True
    return found


def _closed(scorer: Scorer) -> Decision:
    return scorer.refused(Finding(Reason.CLOSED, CLOSED))


def _waited(request: Request) -> Decision:
    missed = "the queue stayed full" if request.needs_room else "it waited too long for a lane"
    return overdue(request.scorer, missed)


def _no_lane(scorer: Scorer, group: LaneGroup) -> Decision:
    return scorer.refused(Finding(Reason.ENGINE_FAULT, group.lost))

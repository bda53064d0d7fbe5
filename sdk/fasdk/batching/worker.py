"""Worker threads, each running batches on one engine lane."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fasdk.backends.engine import CaptureLane
from fasdk.batching.request import overdue
from fasdk.errors import BackendError
from fasdk.nvtx_ranges import nvtx_ranges
from fasdk.telemetry import Stage, split_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.backends.engine import Lane
    from fasdk.batching.loaded_bundle import LoadedBundle
    from fasdk.batching.request import CallerOrder, Request


class WorkerEvents(Protocol):
    """Calls of a worker to its owner, made in the worker's thread with no lock held."""

    def next_batch(self, worker: LaneWorker) -> Sequence[Request] | None:
        """Return the next batch, or None when the worker is to leave; it may wait for one."""
        ...

    def worker_left(self, worker: LaneWorker, fault: BaseException | None) -> None:
        """Note that the worker has left.

        Args:
            worker: Worker whose lane is closed.
            fault: Exception that ended it, such as one of opening its lane, or None.
        """
        ...


@dataclass(frozen=True, eq=False)
class InFlightCall:
    """Engine call under way, and the answering of its requests after it.

    Attributes:
        started_ns: Time at which it began, in nanoseconds of `time.perf_counter_ns`.
        requests: Requests in it, row by row.
    """

    started_ns: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, eq=False)
class _Filled:
    """Rows of a lane before its call.

    Attributes:
        requests: Requests in them, row by row.
        started_ns: Time at which the first was begun, in nanoseconds of `time.perf_counter_ns`.
        ended_ns: Time at which the last was filled.
    """

    requests: tuple[Request, ...]
    started_ns: int
    ended_ns: int


class LaneWorker:
    """Thread with a lane of its own; it runs the batches it is given until there are no more.

    No capture of a call under way is read any more, so its requests may be answered by others.

    Attributes:
        number: Number of the lane in its session, from 0.

    Args:
        loaded: Loaded bundle; its scorer fills the lane's inputs and reads its outputs.
        max_batch: Largest batch of a lane it opens itself.
        lane: Open lane, or None to open one first, in the thread.
        order: Order in which answers reach each caller.
        events: Owner of the worker, which gives it batches.
        number: Number of the lane in its session, from 0.
    """

    def __init__(
        self,
        loaded: LoadedBundle,
        max_batch: int,
        lane: Lane | None,
        order: CallerOrder,
        events: WorkerEvents,
        number: int,
    ) -> None:
        self._loaded = loaded
        self._max_batch = max_batch
        self._lane = lane
        self._takes_captures: CaptureLane | None = None  # the lane, if it does
        self._order = order
        self._events = events
        self.number = number
        self._ranges = nvtx_ranges()
        self._lock = threading.Lock()  # of the three fields below
        self._batch: Sequence[Request] = ()
        self._call: InFlightCall | None = None
        self._is_hung = False
        # A daemon, so that a call that never returns does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="fasdk-lane", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The process may start no more threads.
        """
        self._thread.start()

    @property
    def is_hung(self) -> bool:
        """Whether its engine call was abandoned and has not returned since."""
        return self._is_hung

    @property
    def batch_size(self) -> int:
        """Number of requests it was assigned last."""
        return len(self._batch)

    def assign(self, batch: Sequence[Request]) -> None:
        """Note the requests that are its own from now on; none while it waits for a batch."""
        with self._lock:
            self._batch = batch

    def abandon_call(self, started_by_ns: int) -> bool:
        """Note that its engine call hangs; False where none has run for so long, or did before.

        Args:
            started_by_ns: A call that began by then hangs; of `time.perf_counter_ns`.
        """
        with self._lock:
            call = self._call
            if self._is_hung or call is None or call.started_ns > started_by_ns:
                return False
            self._is_hung = True
            return True

    def resume(self) -> None:
        """Note that its engine call, which was abandoned, has returned."""
        with self._lock:
            self._is_hung = False

    def abandon_overdue(self, now_ns: int) -> list[Request]:
        """Return the open requests in its engine call that are overdue, each of them once."""
        with self._lock:
            requests = () if self._call is None else self._call.requests
        return [r for r in requests if now_ns >= r.deadline_ns and r.abandon()]

    def due_ns(self, deadline_ns: int) -> list[int]:
        """Return when its engine call will be abandoned and when its open requests are overdue.

        Args:
            deadline_ns: Longest engine call, in nanoseconds.
        """
        with self._lock:
            call = None if self._is_hung else self._call
            batch = self._batch
        due = [] if call is None else [call.started_ns + deadline_ns]
        return due + [request.deadline_ns for request in batch if request.is_open]

    def _work(self) -> None:
        fault: BaseException | None = None
        try:
            if self._lane is None:
                self._lane = self._loaded.engine.open_lane(self._max_batch)
            if isinstance(self._lane, CaptureLane):  # a check too slow for every batch
                self._takes_captures = self._lane
            while self._serve(self._lane):
                pass
        except BaseException as error:  # noqa: BLE001 - whatever ended it, its owner receives it
            fault = error
            for request in self._batch:
                self._order.settle(request, self._loaded.scorer.error(error))
        if self._lane is not None:
            with suppress(Exception):
                self._lane.close()
        self._events.worker_left(self, fault)

    def _serve(self, lane: Lane) -> bool:
        """Run one batch; False when there is none to take. It keeps no reference to it."""
        batch = self._events.next_batch(self)
        if batch is None:
            return False
        with self._ranges[Stage.PREPROCESS]:
            filled = self._fill(lane, batch)
        if filled.requests:
            self._run(lane, filled)
        if self._takes_captures is not None:
            self._takes_captures.tend()
        return True

    def _fill(self, lane: Lane, batch: Sequence[Request]) -> _Filled:
        """Give captures to the lane, whose first rows they fill in order."""
        scorer = self._loaded.scorer
        requests: list[Request] = []
        device = self._takes_captures
        inputs = {} if device is not None else lane.inputs
        start_ns = time.perf_counter_ns()
        for request in batch:
            request.clock.lane = self.number
            # Another bundle may have been swapped in since it was submitted; its gates may differ.
            same = request.scorer is scorer
            answer = None if same else scorer.refuse_after_swap(request.capture)
            if answer is None:
                try:
                    if device is not None:
                        device.put(request.capture, len(requests))
                    else:
                        scorer.fill(request.capture, inputs, len(requests))
                except Exception as error:  # noqa: BLE001 - it fails this capture and no other
                    answer = scorer.error(error)
            end_ns = time.perf_counter_ns()
            if answer is None and end_ns >= request.deadline_ns:
                answer = overdue(scorer, "it waited too long for a lane")
            if answer is None:
                requests.append(request)
            else:
                request.clock.add(Stage.PREPROCESS, start_ns, end_ns)
                self._order.settle(request, answer)
        return _Filled(tuple(requests), start_ns, time.perf_counter_ns())

    def _run(self, lane: Lane, filled: _Filled) -> None:
        scorer, requests = self._loaded.scorer, filled.requests
        device = self._takes_captures
        run = lane.run if device is None else device.run_captures
        fault: BaseException | None = None
        started_ns = time.perf_counter_ns()
        self._set_call(InFlightCall(started_ns, requests))
        try:
            with self._ranges[Stage.ENGINE]:
                outputs = run(len(requests))
            outputs = scorer.require_outputs(outputs, len(requests))
            logits = outputs.logits.tolist()
            reliability = _rows(outputs.reliability, len(requests))
            certainty = _rows(outputs.certainty, len(requests))
        except BaseException as error:  # noqa: BLE001 - every capture gets an answer
            outputs, fault = None, error
        ended_ns = time.perf_counter_ns()
        times = None if outputs is None else outputs.device
        spans = split_call(started_ns, ended_ns, times)
        if device is None or times is None:  # else PREPROCESS is what the device took
            spans = ((Stage.PREPROCESS, filled.started_ns, filled.ended_ns), *spans)
        for row, request in enumerate(requests):
            request.clock.add_all(spans)
            if ended_ns >= request.deadline_ns:
                self._order.settle(request, overdue(scorer, "its engine call took too long"))
                continue
            start_ns = time.perf_counter_ns()
            try:
                with self._ranges[Stage.DECISION]:
                    decision = (
                        scorer.error(fault or BackendError("the engine returned nothing"))
                        if outputs is None
                        else scorer.answer(
                            request.capture, logits[row], reliability[row], certainty[row]
                        )
                    )
            except Exception as error:  # noqa: BLE001 - it fails this capture and no other
                decision = scorer.error(error)
            request.clock.add(Stage.DECISION, start_ns, time.perf_counter_ns())
            self._order.settle(request, decision)
        self._set_call(None)

    def _set_call(self, call: InFlightCall | None) -> None:
        with self._lock:
            self._call = call


def _rows(values: NDArray[np.float32] | None, count: int) -> Sequence[Sequence[float]]:
    """Return an output's rows as plain numbers; empty ones where there is no such output."""
    rows: Sequence[Sequence[float]] = [()] * count if values is None else values.tolist()
    return rows

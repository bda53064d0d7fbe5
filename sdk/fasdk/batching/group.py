"""Lane groups: the workers that share one loaded bundle."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from fasdk.batching.worker import LaneWorker
from fasdk.errors import BackendError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fasdk.backends.engine import Lane
    from fasdk.batching.loaded_bundle import LoadedBundle
    from fasdk.batching.policy import BatchingPolicy
    from fasdk.batching.request import CallerOrder, Request


class BatchSource(Protocol):
    """Calls of a group to its owner, made in a worker's thread with no lock held."""

    def next_batch(self, group: LaneGroup, worker: LaneWorker) -> Sequence[Request] | None:
        """Return the next batch for a worker, or None when it is to leave."""
        ...

    def worker_left(
        self, group: LaneGroup, worker: LaneWorker, fault: BaseException | None
    ) -> None:
        """Note that a worker has left; see `WorkerEvents.worker_left`."""
        ...


class LaneGroup:
    """Workers that share one loaded bundle, hung ones included.

    It is one user of the loaded bundle until `release`.

    Attributes:
        loaded: Loaded bundle that the lanes run.
        max_batch: Largest batch of a lane.
    """

    def __init__(
        self,
        loaded: LoadedBundle,
        max_batch: int,
        lanes: Sequence[Lane],
        order: CallerOrder,
        source: BatchSource,
        numbers: Iterator[int],
    ) -> None:
        self.loaded = loaded
        self.max_batch = max_batch
        self._lanes = list(lanes)  # opened, without a worker yet
        self._order = order
        self._source = source
        self._numbers = numbers
        self._lock = threading.Lock()  # of the two fields below
        self._workers: set[LaneWorker] = set()
        self._lost = ""

    @classmethod
    def open(
        cls,
        loaded: LoadedBundle,
        policy: BatchingPolicy,
        order: CallerOrder,
        source: BatchSource,
        numbers: Iterator[int],
    ) -> LaneGroup:
        """Open a policy's lanes; none stays open when one cannot be opened.

        Args:
            loaded: Loaded bundle to open them on.
            policy: Number of lanes and largest batch.
            order: Order in which answers reach each caller.
            source: Owner of the group, which gives its workers batches.
            numbers: Numbers for its lanes, which no lane of another group has.

        Raises:
            UsageError: The engine takes no batch as large as the policy's.
            BackendError: The engine is closed or the device has no memory left.
        """
        max_batch = _largest_batch(loaded, policy.max_batch)
        if not loaded.enter():
            raise BackendError("the engine is closed")
        opened: list[Lane] = []
        try:
            while len(opened) < policy.lanes:
                opened.append(loaded.engine.open_lane(max_batch))
        except BaseException:
            for lane in opened:
                with suppress(Exception):  # the engine is at fault already
                    lane.close()
            loaded.leave()
            raise
        return cls(loaded, max_batch, opened, order, source, numbers)

    def start(self) -> None:
        """Start a worker for each lane that was opened.

        Raises:
            RuntimeError: The process may start no more threads.
        """
        while self._lanes:
            self._start(self._lanes.pop(0))

    def start_spare(self) -> None:
        """Start a worker that opens a lane of its own.

        Raises:
            RuntimeError: The process may start no more threads.
        """
        self._start(None)

    def release(self) -> None:
        """Close the lanes without a worker and leave the loaded bundle, once no worker is left."""
        for lane in self._lanes:
            with suppress(Exception):  # the engine is left all the same
                lane.close()
        self._lanes.clear()
        self.loaded.leave()

    @property
    def active(self) -> int:
        """Number of workers that do not hang in the engine."""
        with self._lock:
            return sum(not worker.is_hung for worker in self._workers)

    @property
    def hung(self) -> int:
        """Number of abandoned workers, whose engine call has not returned."""
        with self._lock:
            return sum(worker.is_hung for worker in self._workers)

    @property
    def held(self) -> int:
        """Number of requests assigned to workers that do not hang."""
        with self._lock:
            return sum(worker.batch_size for worker in self._workers if not worker.is_hung)

    @property
    def lost(self) -> str:
        """Why it has no active worker left, as a message; empty while it has one."""
        return self._lost

    def lose(self, message: str) -> None:
        """Note why it has no active worker left."""
        with self._lock:
            self._lost = message

    def assign(self, worker: LaneWorker, batch: Sequence[Request]) -> None:
        """Note the requests that are a worker's own from now on; see `LaneWorker.assign`."""
        worker.assign(batch)

    def resume(self, worker: LaneWorker, lanes: int) -> bool:
        """Take a worker back whose engine call has returned after it was abandoned.

        Args:
            worker: Worker of this group; one that does not hang changes nothing.
            lanes: Active workers the group should have.

        Returns:
            False where others have taken its place, so that it is to leave.
        """
        if not worker.is_hung:
            return True
        if self.active >= lanes:
            return False
        worker.resume()
        self.lose("")
        return True

    def remove(self, worker: LaneWorker) -> bool:
        """Forget a worker that has left; True when it was the last one."""
        with self._lock:
            self._workers.discard(worker)
            return not self._workers

    def abandon_call(self, started_by_ns: int) -> bool:
        """Note one engine call that hangs; False when no other does, see `LaneWorker`."""
        return any(worker.abandon_call(started_by_ns) for worker in self._snapshot())

    def abandon_overdue(self, now_ns: int) -> list[Request]:
        """Return the open requests in engine calls that are overdue, each of them once."""
        return [r for worker in self._snapshot() for r in worker.abandon_overdue(now_ns)]

    def due_ns(self, deadline_ns: int) -> list[int]:
        """Return when engine calls or open requests of its workers are overdue; see `LaneWorker`.

        Args:
            deadline_ns: Longest engine call, in nanoseconds.
        """
        return [due for worker in self._snapshot() for due in worker.due_ns(deadline_ns)]

    def next_batch(self, worker: LaneWorker) -> Sequence[Request] | None:
        """Forward a worker's request for a batch to the owner; see `WorkerEvents`."""
        return self._source.next_batch(self, worker)

    def worker_left(self, worker: LaneWorker, fault: BaseException | None) -> None:
        """Forward to the owner that a worker has left; see `WorkerEvents`."""
        self._source.worker_left(self, worker, fault)

    def _start(self, lane: Lane | None) -> None:
        worker = LaneWorker(
            self.loaded, self.max_batch, lane, self._order, self, next(self._numbers)
        )
        with self._lock:
            self._workers.add(worker)
        try:
            worker.start()
        except BaseException:
            self.remove(worker)
            raise

    def _snapshot(self) -> list[LaneWorker]:
        with self._lock:
            return list(self._workers)


def _largest_batch(loaded: LoadedBundle, asked: int | None) -> int:
    """Return the batch size asked for, or the bundle's own as far as the engine takes it."""
    limit = loaded.engine.max_batch
    if asked is None:
        own = loaded.bundle.manifest.max_batch
        return own if limit is None else min(own, limit)
    if limit is not None and asked > limit:
        raise UsageError(
            f"batching asks for max_batch {asked}, this engine takes {limit}: "
            f"ask for at most {limit}, or build the bundle with a larger --max-batch"
        )
    return asked

"""Liveness: a bundle, a backend and the rules between them, answering on captures."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends.engine import Backend, Engine, EngineOutputs
from fasdk.backends.registry import open_engine
from fasdk.batching import CLOSED, BatchingPolicy, MicroBatcher
from fasdk.batching.lanes import Served
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.bundle.trust import TrustPolicy, key_id
from fasdk.decision import Decision, MissingModalities
from fasdk.errors import (
    BackendError,
    ClosedError,
    OperatingPointError,
    RollbackError,
    TrustError,
)
from fasdk.quality import QualityLimits
from fasdk.session.scorer import Judge
from fasdk.settings import as_choice
from fasdk.telemetry import Stage, StageClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk.progress import Progress
    from fasdk.tracking.policy import TrackPolicy
    from fasdk.tracking.track import Track
    from fasdk.tracking.tracks import Tracks

__all__ = ["Decision", "Liveness", "open"]


class Liveness:
    """A session on one bundle; made by `fasdk.open`, used as a context manager.

    Every method may be called from any thread. Captures that are submitted or checked share the
    engine's lanes as the batching policy says; see `fasdk.batching.MicroBatcher` for what holds
    whatever the engine does. A process that forks leaves its child no thread of the session: there
    it is closed.

    Attributes:
        level: The security level asked for.
        batching: How captures share the engine.

    Args:
        bundle: The verified bundle.
        engine: The backend that runs it; the session closes it.
        level: Security level whose thresholds to use.
        batching: How captures share the engine; None for the defaults.
        limits: What a capture must be like before the engine sees it: `check` and `submit` answer
            RETRY or ERROR for one that is not. None for `QualityLimits.faults()`.
        missing: What becomes of a capture that lacks one of the model's modalities.
        trust: Which signatures a bundle must carry that is swapped in; None asks for none.
        loader: Loads a bundle that is swapped in; None takes the engine's backend.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        level: str = "standard",
        *,
        batching: BatchingPolicy | None = None,
        limits: QualityLimits | None = None,
        missing: MissingModalities = MissingModalities.DEGRADE,
        trust: TrustPolicy | None = None,
        loader: Callable[[Bundle], Engine] | None = None,
    ) -> None:
        self.level = level
        self.batching = batching or BatchingPolicy()
        self._judge_of = partial(Judge, level=level, limits=limits, missing=missing)
        self._trust = trust or TrustPolicy()
        self._loader = loader or partial(open_engine, backend=engine.backend)
        self._served = Served(bundle, engine, self._judge_of(bundle))
        self._lock = threading.Lock()  # of the fields below, and of `_served`
        self._swapping = threading.Lock()
        self._batcher: MicroBatcher | None = None
        self._tracks: Tracks | None = None
        self._closed = False
        self._process = os.getpid()

    @property
    def bundle(self) -> Bundle:
        """The verified bundle that answers now."""
        return self._served.bundle

    @property
    def engine(self) -> Engine:
        """The backend that runs it."""
        return self._served.engine

    def __enter__(self) -> Liveness:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()

    def close(self, *, drain: bool = True) -> None:
        """Answer every capture, then release the backend; later checks answer ERROR (closed).

        Returns within one `deadline_ms`, once every future is resolved. An engine with a call that
        hangs is released when that returns.

        Args:
            drain: Judge what is queued; else answer it ERROR (closed).
        """
        if self._process != os.getpid():
            return
        with self._lock:
            first, self._closed = not self._closed, True
            batcher, served = self._batcher, self._served
        if batcher is not None:
            batcher.close(drain=drain)
        if first:
            # A batch under way is finished; one that hangs lets go of the engine by itself.
            if served.turn.acquire(timeout=self.batching.deadline_ms / 1e3):
                served.turn.release()
            served.leave()

    def start(self) -> Liveness:
        """Open the lanes now, as `fasdk.open` does, rather than with the first capture.

        Raises:
            UsageError: The engine takes no batch as large as the policy asks for.
            BackendError: A lane cannot be opened, or the session is closed.
        """
        self._lanes()
        return self

    def track(self, camera_id: str, policy: TrackPolicy | None = None) -> Track:
        """Return the one track of a camera: its verdict over several frames, and its lock-out.

        Args:
            camera_id: Which camera.
            policy: How its frames make a verdict; None takes what it has, or the defaults.

        Raises:
            UsageError: The camera has a track with another policy, or the name is empty.
        """
        from fasdk.tracking.tracks import Tracks

        with self._lock:
            if self._tracks is None:
                self._tracks = Tracks(self)
        return self._tracks.of(camera_id, policy)

    def require(self, capture: Capture) -> None:
        """Check that a capture can be judged by this bundle at all.

        Raises:
            CaptureError: A required modality or every one is absent, or the model needs a face box.
        """
        self._served.judge.require(capture)

    def submit(self, capture: Capture) -> Future[Decision]:
        """Queue a capture and return where its Decision will be.

        Never raises, and neither does the future: every fault ends in a Decision with
        Verdict.ERROR, never in LIVE, by the policy's `deadline_ms`. Cancelling the future of a
        capture that still waits takes it back. Leave the capture's arrays alone until the future
        resolves; they are not read after that.
        """
        try:
            return self._lanes().submit(capture)
        except Exception as error:  # noqa: BLE001 - a door must get an answer whatever happened
            return self._answered(error)

    def _answered(self, error: Exception) -> Future[Decision]:
        future: Future[Decision] = Future()
        future.set_result(
            replace(self._served.judge.error(error), timings_ms=StageClock().finish())
        )
        return future

    def check(self, capture: Capture) -> Decision:
        """Judge one capture and wait for the answer; see `submit`."""
        future = self.submit(capture)
        try:
            return future.result()
        except BaseException:  # the caller was told to stop while it waited
            future.cancel()
            raise

    def check_batch(self, captures: Sequence[Capture]) -> list[Decision]:
        """Judge captures in one engine call, in the caller's thread and without a deadline.

        For work without a door: evaluating, profiling. Lanes and queue are left aside.

        Returns:
            One decision per capture, in order. A capture that cannot be judged is an ERROR for
            itself alone, a fault of the engine is one for all. All carry the same timings.
        """
        captures = list(captures)
        clock = StageClock()
        try:
            served = self._enter()
            try:
                judged = self._judge(served, captures, clock)
            finally:
                served.leave()
        except Exception as error:  # noqa: BLE001 - a door must get an answer whatever happened
            judged = [self._served.judge.error(error) for _ in captures]
        timings = clock.finish()
        return [replace(decision, timings_ms=dict(timings)) for decision in judged]

    def replay_golden(self) -> float:
        """Judge the bundle's golden captures and return the largest score drift.

        Raises:
            PlanError: A score drifts by more than the bundle's tolerance, a verdict differs, or
                the bundle holds no golden capture: this engine does not reproduce the bundle.
            BackendError: The engine failed, or the session is closed.
            BundleError: A golden capture cannot be read.
        """
        served = self._enter()
        try:
            return served.judge.replay_golden(lambda batch: self._run(served, batch, StageClock()))
        finally:
            served.leave()

    def swap(
        self,
        bundle: str | Path | Bundle,
        *,
        trust: TrustPolicy | None = None,
        allow_rollback: bool = False,
    ) -> None:
        """Put another bundle in place of this one, without dropping a capture.

        It is opened and proved beside the one that serves: whatever is wrong with it raises, and
        the old one goes on. Captures that wait meanwhile are judged by either; each Decision says
        by which. The old engine is closed when its last batch is done.

        Args:
            bundle: The `.fasb` file, or one that was opened already.
            trust: Which signatures it must carry; None for what the session was opened with.
            allow_rollback: Take a bundle of a lower revision than the one that serves.

        Raises:
            BundleError: The bundle is truncated, altered or malformed.
            TrustError: A required signature is absent or does not hold.
            RollbackError: Its revision is lower and `allow_rollback` was not given.
            OperatingPointError: It has no threshold for the session's level, the old one has.
            PlanError: It does not reproduce its golden captures here, or holds none.
            BackendError: The backend refuses it, has no memory for both, or the session is closed.
        """
        self._require_own_process()
        with self._swapping:
            if self._closed:
                raise ClosedError(CLOSED)
            opened = _verified(bundle, trust or self._trust)
            self._require_successor(opened, allow_rollback)
            served = Served(opened, self._loader(opened), self._judge_of(opened))
            try:
                served.judge.replay_golden(served.engine.run)
                with self._lock:
                    if self._closed:
                        raise ClosedError(CLOSED)
                    if self._batcher is not None:
                        self._batcher.swap(served)
                    old, self._served = self._served, served
            except BaseException:
                served.leave()
                raise
            old.leave()

    def _require_successor(self, new: Bundle, allow_rollback: bool) -> None:
        old = self.bundle
        if new.manifest.revision < old.manifest.revision and not allow_rollback:
            raise RollbackError(
                f"{new.path} is revision {new.manifest.revision}, the bundle that serves is "
                f"{old.manifest.revision}: allow a roll-back if it is meant"
            )
        levels = {point.level for point in new.manifest.operating_points}
        served = {point.level for point in old.manifest.operating_points}
        if self.level in served - levels:
            raise OperatingPointError(
                f"{new.path} has no operating point for level {self.level!r}, only for "
                f"{', '.join(sorted(levels)) or 'none'}: every capture would be an ERROR; "
                "run `fasdk tune` on it first"
            )

    def _require_own_process(self) -> None:
        """Check that this is no fork of the process: locks and threads stayed behind there.

        Raises:
            ClosedError: It is one.
        """
        if self._process != os.getpid():
            raise ClosedError(
                f"this session belongs to process {self._process}, of which this is a fork: open "
                "the bundle again here"
            )

    def _lanes(self) -> MicroBatcher:
        self._require_own_process()
        batcher = self._batcher
        if batcher is not None and not self._closed:
            return batcher
        with self._lock:
            if self._closed:
                raise ClosedError(CLOSED)
            if self._batcher is None:
                self._batcher = MicroBatcher(self._served, self.batching)
                # A session that is forgotten without being closed leaves no thread behind.
                weakref.finalize(self, self._batcher.abandon).atexit = False
            return self._batcher

    def _enter(self) -> Served:
        """Return what answers now, kept open until its `leave`."""
        self._require_own_process()
        with self._lock:
            if self._closed or not self._served.enter():
                raise ClosedError(CLOSED)
            return self._served

    def _judge(self, served: Served, captures: list[Capture], clock: StageClock) -> list[Decision]:
        judge = served.judge
        with clock.stage(Stage.GATES):
            refusals = {i: judge.refuse(capture) for i, capture in enumerate(captures)}
        answers = {i: refusal for i, refusal in refusals.items() if refusal is not None}
        fit = [index for index in range(len(captures)) if index not in answers]
        if fit:
            with clock.stage(Stage.PREPROCESS):
                batch = judge.batch([captures[i] for i in fit])
            outputs = self._run(served, batch, clock)
            with clock.stage(Stage.DECISION):
                for row, index in enumerate(fit):
                    answers[index] = judge.score(captures[index], outputs, row)
        return [answers[index] for index in range(len(captures))]

    def _run(
        self, served: Served, batch: Mapping[str, NDArray[np.float32]], clock: StageClock
    ) -> EngineOutputs:
        size = min(len(rows) for rows in batch.values())
        limit = served.engine.max_batch
        if limit is not None and size > limit:
            raise BackendError(
                f"{size} captures in one call, this engine takes {limit}: split them"
            )
        # Waiting for one's turn is not the engine's time, so it counts as OTHER.
        with served.turn:
            if self._closed:
                raise ClosedError(CLOSED)
            with clock.stage(Stage.ENGINE):
                outputs = served.engine.run(batch)
        return served.judge.require_outputs(outputs, size)


def _verified(bundle: str | Path | Bundle, trust: TrustPolicy) -> Bundle:
    if not isinstance(bundle, Bundle):
        return open_bundle(Path(bundle), trust)
    if trust.keys and bundle.signed_by not in [key_id(key) for key in trust.keys]:
        raise TrustError(
            f"{bundle.path} was not opened with one of the {len(trust.keys)} keys this session "
            "trusts: open it with the session's TrustPolicy, or give its path"
        )
    return bundle


def open(  # noqa: A001 - `fasdk.open` is the word a caller expects
    path: str | Path,
    *,
    backend: Backend | None = None,
    level: str = "standard",
    trust: TrustPolicy | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    batching: BatchingPolicy | None = None,
    limits: QualityLimits | None = None,
    missing: MissingModalities = MissingModalities.DEGRADE,
    cuda_graphs: bool = True,
) -> Liveness:
    """Verify a bundle, load it on a backend and return a session.

    Args:
        path: The `.fasb` file.
        backend: Which backend, or None for TensorRT where installed and ONNX Runtime elsewhere.
        level: Security level whose thresholds to use.
        trust: Which signatures are required; None asks for none.
        threads: CPU threads for ONNX Runtime; 0 lets it take one per core.
        progress: Hears the phases of a TensorRT plan's build, where one is needed.
        batching: How captures from several threads share the engine; None for the defaults.
        limits: What a capture must be like before the engine sees it; `QualityLimits()` for a
            person in front of a camera, None only for stale or skewed frames and for depth
            that cannot be millimeters.
        missing: What becomes of a capture that lacks one of the model's modalities.
        cuda_graphs: Whether TensorRT's lanes replay recorded graphs; off only to find a fault.

    Raises:
        BundleError: The bundle is truncated, altered or malformed.
        TrustError: A required signature is absent or does not hold.
        UsageError: The policy asks for larger batches than the engine takes, or `missing` is none
            of `MissingModalities`.
        BackendError: The backend is not installed or refuses the graph.
    """
    missing = as_choice("missing", missing, MissingModalities)  # before a plan takes minutes
    bundle = open_bundle(Path(path), trust)
    load = partial(open_engine, threads=threads, progress=progress, cuda_graphs=cuda_graphs)
    engine = load(bundle, backend)
    liveness = Liveness(
        bundle,
        engine,
        level,
        batching=batching,
        limits=limits,
        missing=missing,
        trust=trust,
        loader=partial(load, backend=engine.backend),
    )
    try:
        return liveness.start()
    except BaseException:
        liveness.close()
        raise

"""Liveness sessions: decisions on captures by one bundle on one backend."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fasdk.answer_future import AnswerFuture
from fasdk.backends.registry import open_engine
from fasdk.batching import CLOSED, BatchingPolicy, MicroBatcher
from fasdk.batching.loaded_bundle import LoadedBundle
from fasdk.bundle.succession import allowed_changes
from fasdk.decision import Decision, MissingModalities
from fasdk.errors import BackendError, ClosedError, FasdkError, UsageError
from fasdk.own_thread import in_own_thread
from fasdk.quality import QualityLimits
from fasdk.scorer import Scorer
from fasdk.session.admission import Admission
from fasdk.session.engine_calls import EngineCalls, faults_as_plan_errors, unexpected
from fasdk.session.proof import require_proven
from fasdk.settings import as_choice
from fasdk.telemetry import SessionRecording, StageClock, SwapSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Unpack

    from fasdk.backends.engine import Engine
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.succession import AllowedChanges, BundleChange
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.capture import Capture
    from fasdk.reasons import Finding
    from fasdk.tracking.policy import TrackPolicy
    from fasdk.tracking.track import Track
    from fasdk.tracking.tracks import Tracks


class Liveness:
    """Session on one bundle; made by `fasdk.open`, used as a context manager.

    Every method may be called from any thread. Captures that are submitted or checked share the
    engine's lanes as the batching policy says; see `fasdk.batching.MicroBatcher` for the guarantees
    that hold whatever the engine does. In a forked child process the session is closed: its threads
    exist in the parent alone.

    Attributes:
        level: Security level whose thresholds are used.
        missing: Treatment of a capture that lacks one of the model's modalities.
        batching: Settings by which captures share the engine.

    Args:
        bundle: Verified bundle in force.
        engine: Engine that runs the bundle's graph; the session closes it.
        level: Security level whose thresholds to use.
        batching: Settings by which captures share the engine; None for the defaults.
        limits: Quality limits: `check` and `submit` answer RETRY or ERROR for a capture that misses
            one. None for `QualityLimits.faults()`.
        missing: Treatment of a capture that lacks one of the model's modalities.
        trust: Signatures required of a bundle that is swapped in; None for the keys of this
            machine's trust store.
        revisions: Memory of the bundles that this machine took; None for this machine's own.
        loader: Function that loads a bundle that is swapped in on an engine; None loads it on the
            engine's backend.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        level: str = "standard",
        *,
        batching: BatchingPolicy | None = None,
        limits: QualityLimits | None = None,
        missing: MissingModalities | str = MissingModalities.REQUIRE,
        trust: TrustPolicy | None = None,
        revisions: RevisionState | None = None,
        loader: Callable[[Bundle], Engine] | None = None,
    ) -> None:
        missing = as_choice("missing", missing, MissingModalities)
        self.level = level
        self.missing = missing
        self.batching = batching or BatchingPolicy()
        self._scorer_of = partial(Scorer, level=level, limits=limits, missing=missing)
        self._admission = Admission.of(trust, revisions)
        self._loader = loader or partial(open_engine, backend=engine.backend)
        self._loaded = LoadedBundle(bundle, engine, self._scorer_of(bundle))
        self._lock = threading.Lock()  # of the fields below, and of `_loaded`
        self._swapping = threading.Lock()
        self._batcher: MicroBatcher | None = None
        self._tracks: Tracks | None = None
        self._closed = False
        self._process = os.getpid()

    @property
    def bundle(self) -> Bundle:
        """Verified bundle in force."""
        return self._loaded.bundle

    @property
    def limits(self) -> QualityLimits:
        """Quality limits on captures of a camera."""
        return self._loaded.scorer.limits

    @property
    def engine(self) -> Engine:
        """Engine that runs its graph."""
        return self._loaded.engine

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
        """Answer every capture, then release the engine; later checks answer ERROR (closed).

        Returns within one `deadline_ms`, once every future is resolved. An engine with a call that
        hangs is released when that returns.

        Args:
            drain: Whether queued captures are scored; else they are answered ERROR (closed).
        """
        if self._process != os.getpid():
            return
        batcher = self._batcher
        wait = batcher is None or not batcher.in_callback
        in_own_thread(partial(self._close, drain=drain, wait=wait))

    def _close(self, *, drain: bool, wait: bool) -> None:
        with self._lock:
            first, self._closed = not self._closed, True
            batcher, loaded = self._batcher, self._loaded
        if batcher is not None:
            batcher.close(drain=drain, wait=wait)
        if first:
            # A batch under way is finished; one that hangs leaves the engine when it returns.
            if loaded.turn.acquire(timeout=self.batching.deadline_ms / 1e3):
                loaded.turn.release()
            loaded.leave()

    def prove(self) -> None:
        """Replay the golden captures, as `fasdk.open` does, unless they were reproduced here.

        Proofs are remembered by bundle, backend, its version, machine and account; see
        `fasdk.session.proof`.

        Raises:
            PlanError: The engine does not reproduce the bundle, or the bundle holds no golden
                capture.
            BackendError: The engine failed, or the session is closed.
            BundleError: A golden capture cannot be read.
        """
        self._require_own_process()
        in_own_thread(self._prove)

    def _prove(self) -> None:
        with self._in_force() as loaded, loaded.turn, faults_as_plan_errors(loaded.bundle):
            require_proven(loaded.scorer, loaded.engine)

    def start(self) -> Liveness:
        """Open the lanes now, as `fasdk.open` does, instead of with the first capture.

        Raises:
            UsageError: The engine takes no batch as large as the policy asks for.
            BackendError: A lane cannot be opened, or the session is closed.
        """
        lanes = self._lanes()
        if isinstance(lanes, FasdkError):
            raise lanes
        if isinstance(lanes, BaseException):
            raise BackendError(f"no lane can be opened: {unexpected(lanes)}") from lanes
        return self

    def track(self, camera_id: str, policy: TrackPolicy | None = None) -> Track:
        """Return the track of a camera, which holds its multi-frame verdict and its lock-out.

        Args:
            camera_id: Name of the camera.
            policy: Rules by which its frames make a verdict; None for those it has, or the
                defaults with the session's `missing`.

        Raises:
            UsageError: The camera has a track with another policy, or the name is empty.
            ClosedError: This is a forked child process.
        """
        self._require_own_process()
        return in_own_thread(partial(self._track, camera_id, policy))

    def _track(self, camera_id: str, policy: TrackPolicy | None) -> Track:
        from fasdk.tracking.policy import TrackPolicy
        from fasdk.tracking.tracks import Tracks

        with self._lock:
            if self._tracks is None:
                self._tracks = Tracks(self, TrackPolicy(missing=self.missing))
        return self._tracks.of(camera_id, policy)

    def require(self, capture: Capture) -> None:
        """Check that the bundle in force can score a capture.

        Raises:
            CaptureError: The capture holds unsound frames, lacks a required modality or every one
                the model uses, or has no face box where the model needs it.
        """
        self._loaded.scorer.require(capture)

    def submit(self, capture: Capture) -> AnswerFuture[Decision]:
        """Queue a capture and return the future of its Decision.

        Never raises, and neither does the future: every fault becomes a Decision with RETRY or
        ERROR, never LIVE, by the policy's `deadline_ms`. Cancelling the future of a capture that
        still waits withdraws it. Do not change the capture's arrays until the future resolves; they
        are not read after that.

        An exception of the application's own, such as one that a signal handler raises, reaches it
        and holds up no other capture.
        """
        lanes = self._lanes()
        if isinstance(lanes, BaseException):
            return self._answered(lanes)
        return lanes.submit(capture)

    def late(self, capture: Capture) -> Finding | None:
        """Return why a LIVE on a capture would come too late at present; see `Scorer.late`."""
        return self._loaded.scorer.late(capture)

    def _answered(self, error: BaseException) -> AnswerFuture[Decision]:
        future: AnswerFuture[Decision] = AnswerFuture()
        future.set_result(
            replace(self._loaded.scorer.error(error), timings_ms=StageClock().finish())
        )
        return future

    @contextmanager
    def recorded_stages(self) -> Iterator[SessionRecording]:
        """Yield a recording of captures, lanes and swaps that is filled inside the block.

        For profiling: one block at a time is recorded.

        Raises:
            BackendError: A lane cannot be opened, or the session is closed.
        """
        batcher = self.start()._batcher
        assert batcher is not None  # noqa: S101 - `start` has opened it
        batcher.recording = recording = SessionRecording()
        try:
            yield recording
        finally:
            batcher.recording = None

    def check(self, capture: Capture) -> Decision:
        """Score one capture and wait for the answer; see `submit`."""
        future = self.submit(capture)
        try:
            return future.wait()
        except BaseException:  # such as Ctrl-C while it waits
            future.withdraw()
            raise

    def check_batch(self, captures: Sequence[Capture]) -> list[Decision]:
        """Score captures in one engine call, without a deadline.

        For evaluation and profiling: it bypasses the lanes, the queue and the quality limits.

        Returns:
            One decision per capture, in order. A capture that cannot be scored is refused alone, a
            fault of the engine refuses all. All carry the same timings.

        Raises:
            UsageError: `captures` is not several captures.
        """
        if not isinstance(captures, Iterable):
            raise UsageError(
                f"captures is a {type(captures).__name__}, expected several fasdk.Capture, such as "
                "a list of them"
            )
        captures = list(captures)
        if self._process != os.getpid():
            return [self._answered(self._forked()).result() for _ in captures]
        return in_own_thread(partial(self._check_batch, captures))

    def _check_batch(self, captures: list[Capture]) -> list[Decision]:
        clock = StageClock()
        try:
            with self._in_force() as loaded:
                decisions = EngineCalls(loaded, self._require_open).score(captures, clock)
        except BaseException as error:  # noqa: BLE001 - every capture gets an answer
            decisions = [self._loaded.scorer.error(error) for _ in captures]
        timings = clock.finish()
        return [replace(decision, timings_ms=dict(timings)) for decision in decisions]

    def replay_golden(self) -> float:
        """Score the bundle's golden captures and return the largest absolute drift of a score.

        Raises:
            PlanError: A score drifts by more than the bundle's tolerance, a verdict differs, or
                the bundle holds no golden capture: this engine does not reproduce the bundle.
            BackendError: The engine failed, or the session is closed.
            BundleError: A golden capture cannot be read.
        """
        self._require_own_process()
        return in_own_thread(self._replay_golden)

    def _replay_golden(self) -> float:
        with self._in_force() as loaded, faults_as_plan_errors(loaded.bundle):
            calls = EngineCalls(loaded, self._require_open)
            return loaded.scorer.replay_golden(lambda batch: calls.run(batch, StageClock()))

    def swap(
        self,
        bundle: str | Path | Bundle,
        *,
        trust: TrustPolicy | None = None,
        **allow: Unpack[AllowedChanges],
    ) -> None:
        """Replace the bundle in force by another, without dropping a capture.

        The new one is opened and its golden captures are replayed while the old one goes on; a
        fault of the new one raises and changes nothing. Captures that wait meanwhile are scored by
        either; each Decision names its bundle. The old engine is closed when its last batch is
        done.

        An exception that a signal handler raises meanwhile ends the wait for the swap alone, which
        goes on to its end: `bundle` says which one is in force.

        Args:
            bundle: Path of a `.fasb` file, or a bundle opened before.
            trust: Signatures it must carry besides those the session was opened with.
            allow: Changes that are accepted, such as `allow_rollback=True`; see `AllowedChanges`.

        Raises:
            BundleError: The bundle is truncated, altered or malformed.
            UsageError: `bundle` is neither a path nor a bundle.
            TrustError: A required signature is absent or does not hold.
            RollbackError: It falls short of the bundle in force, or of one that this machine took
                before, by a change that was not allowed.
            StateError: The memory of the bundles taken before is damaged or open to others.
            OperatingPointError: It has no threshold for the session's level, the old one has.
            PlanError: It does not reproduce its golden captures here, or holds none; or its engine
                fails in a way that no backend should.
            BackendError: The backend refuses it, has no memory for both, or the session is closed.
        """
        allowed = allowed_changes(allow)
        self._require_own_process()
        in_own_thread(partial(self._swap, bundle, trust, allowed))

    def _swap(
        self,
        bundle: str | Path | Bundle,
        trust: TrustPolicy | None,
        allowed: frozenset[BundleChange],
    ) -> None:
        with self._swapping, self._recorded_swap():
            self._require_open()
            opened = self._admission.verify(bundle, trust)
            self._admission.check_successor(self.bundle, opened, self.level, allowed)
            with faults_as_plan_errors(opened):
                loaded = LoadedBundle(opened, self._loader(opened), self._scorer_of(opened))
            try:
                with faults_as_plan_errors(opened):
                    loaded.scorer.replay_golden(loaded.engine.run)
                self._admission.record(opened, allowed)
                with faults_as_plan_errors(opened):
                    old = self._replace(loaded)
            except BaseException:
                with suppress(Exception):  # the engine is at fault already
                    loaded.leave()
                raise
            with suppress(Exception):  # the new one serves
                old.leave()

    @contextmanager
    def _recorded_swap(self) -> Iterator[None]:
        """Note the block as a swap where the session is recorded."""
        recording = None if self._batcher is None else self._batcher.recording
        span = SwapSpan(time.perf_counter_ns())
        if recording is not None:
            recording.swaps.append(span)
        try:
            yield
        finally:
            span.end_ns = time.perf_counter_ns()

    def _replace(self, loaded: LoadedBundle) -> LoadedBundle:
        """Put a loaded bundle in force and return the one that was."""
        with self._lock:
            self._require_open()
            if self._batcher is not None:
                self._batcher.swap(loaded)
            old, self._loaded = self._loaded, loaded
            return old

    def _require_own_process(self) -> None:
        """Check that this is not a forked child, which has neither the threads nor sound locks.

        Raises:
            ClosedError: It is one.
        """
        if self._process != os.getpid():
            raise self._forked()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(CLOSED)

    def _forked(self) -> ClosedError:
        return ClosedError(
            f"this session belongs to process {self._process}, of which this is a fork: open "
            "the bundle again here"
        )

    def _lanes(self) -> MicroBatcher | BaseException:
        """Return the lanes, opened with the first capture, or why there are none."""
        if self._process != os.getpid():
            return self._forked()
        if self._closed:
            return ClosedError(CLOSED)
        return self._batcher or in_own_thread(self._open_lanes)

    def _open_lanes(self) -> MicroBatcher | BaseException:
        try:
            with self._lock:
                self._require_open()
                if self._batcher is None:
                    batcher = MicroBatcher(self._loaded, self.batching)
                    # A session that is collected without being closed leaves no thread running.
                    weakref.finalize(self, batcher.abandon).atexit = False
                    self._batcher = batcher
                return self._batcher
        except BaseException as error:  # noqa: BLE001 - the caller's thread answers with it
            return error

    @contextmanager
    def _in_force(self) -> Iterator[LoadedBundle]:
        """Yield the loaded bundle in force, kept open meanwhile; in a thread of the session's."""
        with self._lock:
            loaded = self._loaded
            if self._closed or not loaded.enter():
                raise ClosedError(CLOSED)
        try:
            yield loaded
        finally:
            loaded.leave()

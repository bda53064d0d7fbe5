"""Profile of a bundle: loads measured one after another, and the document about them."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fasdk.backends.engine import place_of_preprocessing
from fasdk.backends.specs import MOST_THREADS
from fasdk.batching import BatchingPolicy
from fasdk.bundle.revisions import RevisionState
from fasdk.decision import MissingModalities
from fasdk.errors import CaptureError, UsageError
from fasdk.session.opening import open as open_session
from fasdk_tools.profiling.baseline import Baseline
from fasdk_tools.profiling.held_rate import HeldRate, find_held_rate, is_held
from fasdk_tools.profiling.layer_times import profile_layers
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.machine.watch import MachineWatch
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.percentiles import percentile
from fasdk_tools.profiling.recording import recorded
from fasdk_tools.profiling.result import ProfileDocument, Run, throughput
from fasdk_tools.profiling.samples import Outcome
from fasdk_tools.profiling.trace import require_trace_library, write_trace
from fasdk_tools.profiling.warm_up import without_warm_up
from fasdk_tools.profiling.yardstick import measure_beside_yardstick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fasdk.backends.engine import Backend
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.capture import Capture
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.machine.watch import Watched
    from fasdk_tools.profiling.recording import Recording
    from fasdk_tools.profiling.samples import Samples
    from fasdk_tools.profiling.yardstick import YardstickTimes

UNTIL_SHARE: Final = 0.1
"""Share of a percentile by which its bound may exceed it for `until_percent` to be reached."""
UNTIL_MAX_ROUNDS: Final = 200
_GUESS_CALLS: Final = 200  # due at once, whose throughput is the first rate tried


@dataclass(frozen=True)
class ProfileOptions:
    """What to measure of which bundle.

    Attributes:
        bundle: Path of the bundle.
        loads: Loads to measure, in order; at least one.
        backend: Backend to open it on; None for the automatic choice.
        trust: Signatures that the bundle must carry.
        threads: CPU threads of ONNX Runtime; 0 for one a core.
        deadline_ms: Deadline that goodput counts, from due time; None for no goodput.
        captures: List of captures to take in turn; None for the bundle's golden ones.
        samples: File to write every call of the one run to; None for none.
        until_percent: Percentile, in percent, whose bound must come within 10 % of it before a
            load ends; None to end by time alone.
        trace: File to write a Perfetto trace of the one load to; None for no trace.
        layers: Whether to time the graph's layers too, in batches as the first load has them.
        yardstick_seconds: Time to measure checks beside the yardstick for, in seconds; None not to.
        baseline: Stored profile to compare with, which needs the yardstick; None for none.

    Raises:
        UsageError: A value is out of its range, or samples or a trace of several runs are asked
            for, or a trace without the package that writes it.
    """

    bundle: Path
    loads: tuple[LoadRequest, ...]
    backend: Backend | None
    trust: TrustPolicy
    threads: int = 0
    deadline_ms: float | None = None
    captures: Path | None = None
    samples: Path | None = None
    until_percent: float | None = None
    trace: Path | None = None
    layers: bool = False
    yardstick_seconds: float | None = None
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        """Check what loads do not check themselves."""
        if not 0 <= self.threads <= MOST_THREADS:
            raise UsageError(
                f"--threads is {self.threads}, expected 0, for one a core, to {MOST_THREADS:,}"
            )
        deadline = self.deadline_ms
        if deadline is not None and not (math.isfinite(deadline) and deadline > 0):
            raise UsageError(f"the deadline is {deadline:g} ms, expected more than 0")
        if self.samples is not None and len(self.loads) > 1:
            raise UsageError(
                f"--samples holds one run, {len(self.loads)} were asked for: give one batch size "
                "and one number of lanes"
            )
        if self.trace is None:
            return
        if len(self.loads) > 1:
            raise UsageError(
                f"--trace shows one run, {len(self.loads)} were asked for: give one batch size and "
                "one number of lanes"
            )
        require_trace_library()


@dataclass(frozen=True, eq=False)
class Profile:
    """A measured profile.

    Attributes:
        document: Its figures.
        samples: Every call of every run, in the document's order; None of an idle or cold load.
        machine: What the machine did meanwhile.
    """

    document: ProfileDocument
    samples: tuple[Samples | None, ...]
    machine: MachineRecord


def open_profiled(
    options: ProfileOptions,
    *,
    bundle: Path | None = None,
    batching: BatchingPolicy | None = None,
    threads: int | None = None,
    device_times: bool = False,
) -> Liveness:
    """Open a bundle as a profile does, whatever was opened on this machine before.

    Args:
        options: What to measure.
        bundle: Path of the bundle; None for that of `options`.
        batching: Settings of the session; None for one lane and one capture a call.
        threads: CPU threads of the engine; None for those of `options`.
        device_times: Whether a GPU's own times are taken of each call.

    Raises:
        FasdkError: The bundle cannot be opened.
    """
    return open_session(
        bundle or options.bundle,
        backend=options.backend,
        trust=options.trust,
        revisions=RevisionState.unchecked(),
        threads=options.threads if threads is None else threads,
        batching=batching or BatchingPolicy(lanes=1, max_batch=1),
        device_times=device_times,
        missing=MissingModalities.DEGRADE,  # golden captures may lack what the model can do without
    )


def captures_of(options: ProfileOptions, liveness: Liveness) -> list[Capture]:
    """Return the captures to measure with: those of the list, else the bundle's golden ones.

    Raises:
        FasdkError: The list or a capture cannot be read, or it lists none.
    """
    if options.captures is not None:
        return read_captures(options.captures)
    return _golden_captures(liveness.bundle)


def run_profile(options: ProfileOptions, on_progress: Callable[[str, float], None]) -> Profile:
    """Open a bundle once for each batch size and number of lanes, and measure its loads.

    Args:
        options: What to measure.
        on_progress: Callback with the name of a load and the share of it that is done, in [0, 1].

    Raises:
        FasdkError: The bundle cannot be opened, a capture cannot be read or scored, samples or a
            trace cannot be written, or the engine failed.
    """
    own = None if options.captures is None else read_captures(options.captures)
    samples: list[Samples] = []
    rates: list[HeldRate | None] = []
    watch = MachineWatch()
    with watch.watching():
        for request in options.loads:
            batching = BatchingPolicy(lanes=request.lanes, max_batch=request.batch)
            with open_profiled(options, batching=batching, device_times=True) as liveness:
                bundle, engine = liveness.bundle, liveness.engine
                preprocess = place_of_preprocessing(engine)
                captures = _golden_captures(bundle) if own is None else own
                for capture in captures:
                    liveness.require(capture)
                measuring = _Measuring(liveness, captures, options, watch, on_progress)
                found, held = measuring.run(request)
            samples.append(found)
            rates.append(held)
    layers = None
    if options.layers:
        layers = profile_layers(
            bundle,
            engine.backend,
            captures,
            batch=options.loads[0].batch,
            threads=options.threads,
        )
    watched = watch.found(samples, reformat_share=None if layers is None else layers.reformat_share)
    yardstick = _beside_yardstick(options, captures, on_progress)
    runs = [
        _with_rate(Run.of(each, options.deadline_ms, energies), held)
        for each, energies, held in zip(samples, watched.energies, rates, strict=True)
    ]
    document = profile_document(
        options, bundle, (engine.backend.value, engine.version), len(captures), runs, watched
    ).model_copy(
        update={
            "preprocess": preprocess.value,
            "layers": layers,
            "yardstick": yardstick,
            "baseline": None
            if options.baseline is None or yardstick is None
            else options.baseline.compare(yardstick),
        }
    )
    if options.samples is not None:
        samples[0].save(options.samples)
    return Profile(document, tuple(samples), watched.record)


def profile_document(
    options: ProfileOptions,
    bundle: Bundle,
    engine: tuple[str, str],
    captures: int,
    runs: Sequence[Run],
    watched: Watched,
) -> ProfileDocument:
    """Return the document of runs on one bundle.

    Args:
        options: What was measured.
        bundle: Bundle that was measured.
        engine: Backend and its version.
        captures: Number of captures that were taken in turn.
        runs: Figures of the runs.
        watched: What was found of the machine meanwhile.
    """
    backend, version = engine
    return ProfileDocument(
        bundle=str(options.bundle),
        bundle_id=bundle.id,
        bundle_trust=bundle.trust,
        backend=backend,
        version=version,
        precision=bundle.manifest.precision.value,
        captures=captures,
        trusted=watched.verdict.trusted,
        reasons=tuple(str(reason) for reason in watched.verdict.reasons),
        not_read=tuple(str(lack) for lack in watched.verdict.not_read),
        runs=tuple(runs),
    )


def load_name(request: LoadRequest) -> str:
    """Return a load in words, such as "constant 20/s, batch 1, lanes 2"."""
    pace = "" if request.rate_per_s is None else f" {request.rate_per_s:g}/s"
    if request.seeks_rate:
        pace = ", highest rate"
    return f"{request.load.value}{pace}, batch {request.batch}, lanes {request.lanes}"


def _golden_captures(bundle: Bundle) -> list[Capture]:
    return [item.capture for item in bundle.golden]


def read_captures(path: Path) -> list[Capture]:
    """Return the captures of a list.

    Raises:
        FasdkError: The list or a capture cannot be read, or it lists none.
    """
    from fasdk_calibration.datasets import load_list

    captures = [item.capture for item in load_list(path)]
    if not captures:
        raise CaptureError(f"{path} lists no capture: give a list with at least one")
    return captures


@dataclass(frozen=True)
class _Measuring:
    """Loads on one session."""

    liveness: Liveness
    captures: Sequence[Capture]
    options: ProfileOptions
    watch: MachineWatch
    on_progress: Callable[[str, float], None]

    def run(self, request: LoadRequest) -> tuple[Samples, HeldRate | None]:
        """Measure a load under watch, and the highest rate held where the load's is not."""
        found: HeldRate | None = None
        if request.seeks_rate:
            found, guess_per_s = self._search_rate(request)
            request = replace(request, rate_per_s=found.rate_per_s or guess_per_s)
        trace = self.options.trace
        with (
            self.watch.run(),
            nullcontext() if trace is None else recorded(self.liveness) as recording,
        ):
            samples = self._until_bounded(request, recording)
        if trace is not None and recording is not None:
            write_trace(trace, recording)
        is_missed = request.load.needs_rate and not is_held(
            samples.counted, self.options.deadline_ms
        )
        if found is None and is_missed:
            found = self._search_rate(request)[0]
        return samples, found

    def _until_bounded(self, request: LoadRequest, recording: Recording | None) -> Samples:
        """Measure once, or again until the percentile asked for has a close bound."""
        name = load_name(request)
        samples = self._measure(request, name, recording)
        percent = self.options.until_percent
        for number in range(1, UNTIL_MAX_ROUNDS):
            counted = without_warm_up(samples).counted
            decided_ms = counted.latency_ms[counted.outcome == Outcome.DECIDED]
            if percent is None or percentile(decided_ms, percent).is_within(UNTIL_SHARE):
                break
            again = replace(request, seed=request.seed + number, warmup=0)
            samples = samples.followed_by(self._measure(again, name, recording))
        return without_warm_up(samples)

    def _measure(
        self, request: LoadRequest, name: str, recording: Recording | None = None
    ) -> Samples:
        return measure(
            self.liveness,
            self.captures,
            request,
            on_progress=lambda share: self.on_progress(name, share),
            recording=recording,
        )

    def _search_rate(self, request: LoadRequest) -> tuple[HeldRate, float]:
        """Search the highest rate that is held; return the throughput without pauses too."""
        name = load_name(replace(request, rate_per_s=math.inf, fps=None))
        offline = replace(request, load=Load.OFFLINE, rate_per_s=None, fps=None, calls=_GUESS_CALLS)
        guess_per_s = throughput(self._measure(offline, name))

        def holds(rate: float) -> bool:
            samples = self._measure(replace(request, rate_per_s=rate, fps=None), name)
            return is_held(samples, self.options.deadline_ms)

        return find_held_rate(holds, guess_per_s), guess_per_s


def _with_rate(run: Run, found: HeldRate | None) -> Run:
    if found is None:
        return run
    return run.model_copy(
        update={"highest_held_per_s": found.rate_per_s, "confirmations": found.confirmations}
    )


def _beside_yardstick(
    options: ProfileOptions,
    captures: Sequence[Capture],
    on_progress: Callable[[str, float], None],
) -> YardstickTimes | None:
    if options.yardstick_seconds is None:
        return None
    with open_profiled(options) as liveness:
        return measure_beside_yardstick(
            liveness,
            captures,
            seconds=options.yardstick_seconds,
            on_progress=lambda share: on_progress("beside the yardstick", share),
        )

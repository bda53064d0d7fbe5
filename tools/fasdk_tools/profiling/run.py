"""Profile of a bundle: loads measured one after another, and the document about them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.batching import BatchingPolicy
from fasdk.bundle.revisions import RevisionState
from fasdk.decision import MissingModalities
from fasdk.errors import UsageError
from fasdk.session.session import open as open_session
from fasdk_tools.profiling.baseline import Baseline
from fasdk_tools.profiling.layers import profile_layers, require_layer_times
from fasdk_tools.profiling.machine.watch import MachineWatch
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.recording import recorded
from fasdk_tools.profiling.result import ProfileDocument, Run
from fasdk_tools.profiling.trace import require_trace_library, write_trace
from fasdk_tools.profiling.yardstick import measure_beside_yardstick

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fasdk.backends.engine import Backend
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.samples import Samples
    from fasdk_tools.profiling.yardstick import YardstickTimes


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
        trace: File to write a Perfetto trace of the one load to; None for no trace.
        layers: Whether to time the graph's layers too, in batches as the first load has them.
        yardstick_seconds: Time to measure checks beside the yardstick for, in seconds; None not to.
        baseline: Stored profile to compare with, which needs the yardstick; None for none.

    Raises:
        UsageError: A trace of several loads, or without the package that writes it.
    """

    bundle: Path
    loads: tuple[LoadRequest, ...]
    backend: Backend | None
    trust: TrustPolicy
    threads: int = 0
    deadline_ms: float | None = None
    trace: Path | None = None
    layers: bool = False
    yardstick_seconds: float | None = None
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        """Check that a trace can be written."""
        if self.trace is None:
            return
        if len(self.loads) > 1:
            raise UsageError(
                f"--trace shows one run, {len(self.loads)} were asked for: give one batch size and "
                "one number of lanes"
            )
        if not self.trace.absolute().parent.is_dir():
            raise UsageError(f"--trace {self.trace}: its folder does not exist")
        require_trace_library()


@dataclass(frozen=True, eq=False)
class Profile:
    """A measured profile.

    Attributes:
        document: Its figures.
        samples: Every call of every run, in the document's order.
        machine: What the machine did meanwhile.
    """

    document: ProfileDocument
    samples: tuple[Samples, ...]
    machine: MachineRecord


def open_profiled(
    options: ProfileOptions,
    *,
    bundle: Path | None = None,
    batching: BatchingPolicy | None = None,
    threads: int | None = None,
) -> Liveness:
    """Open a bundle as a profile does, whatever was opened on this machine before.

    Args:
        options: What to measure.
        bundle: Path of the bundle; None for that of `options`.
        batching: Settings of the session; None for one lane and one capture a call.
        threads: CPU threads of the engine; None for those of `options`.

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
        missing=MissingModalities.DEGRADE,  # golden captures may lack what the model can do without
    )


def run_profile(options: ProfileOptions, on_progress: Callable[[str, float], None]) -> Profile:
    """Open a bundle once for each batch size and number of lanes, and measure its loads.

    Args:
        options: What to measure.
        on_progress: Callback with the name of a load and the share of it that is done, in [0, 1].

    Raises:
        FasdkError: The bundle cannot be opened, the engine failed, or a trace cannot be written.
    """
    samples: list[Samples] = []
    watch = MachineWatch()
    with watch.watching():
        for request in options.loads:
            name = f"{request.load.value}, batch {request.batch}, lanes {request.lanes}"
            with open_session(
                options.bundle,
                backend=options.backend,
                trust=options.trust,
                revisions=RevisionState.unchecked(),
                threads=options.threads,
                batching=BatchingPolicy(lanes=request.lanes, max_batch=request.batch),
                device_times=True,
            ) as liveness:
                if options.layers:
                    require_layer_times(liveness.engine.backend)
                captures = [item.capture for item in liveness.bundle.golden]
                with (
                    watch.run(),
                    nullcontext() if options.trace is None else recorded(liveness) as recording,
                ):
                    samples.append(
                        measure(
                            liveness,
                            captures,
                            request,
                            on_progress=lambda share, name=name: on_progress(name, share),  # type: ignore[misc]
                            recording=recording,
                        )
                    )
                if options.trace is not None and recording is not None:
                    write_trace(options.trace, recording)
                bundle, engine = liveness.bundle, liveness.engine
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
    yardstick = _beside_yardstick(options, on_progress)
    document = ProfileDocument(
        bundle=str(options.bundle),
        bundle_id=bundle.id,
        bundle_trust=bundle.trust,
        backend=engine.backend.value,
        version=engine.version,
        precision=bundle.manifest.precision.value,
        captures=len(captures),
        trusted=watched.verdict.trusted,
        reasons=tuple(str(reason) for reason in watched.verdict.reasons),
        not_read=tuple(str(lack) for lack in watched.verdict.not_read),
        runs=tuple(
            Run.of(each, options.deadline_ms, energies)
            for each, energies in zip(samples, watched.energies, strict=True)
        ),
        layers=layers,
        yardstick=yardstick,
        baseline=None
        if options.baseline is None or yardstick is None
        else options.baseline.compare(yardstick),
    )
    return Profile(document, tuple(samples), watched.record)


def _beside_yardstick(
    options: ProfileOptions, on_progress: Callable[[str, float], None]
) -> YardstickTimes | None:
    if options.yardstick_seconds is None:
        return None
    with open_profiled(options) as liveness:
        return measure_beside_yardstick(
            liveness,
            [item.capture for item in liveness.bundle.golden],
            seconds=options.yardstick_seconds,
            on_progress=lambda share: on_progress("beside the yardstick", share),
        )

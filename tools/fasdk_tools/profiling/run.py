"""Profile of a bundle: loads measured one after another, and the document about them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.batching import BatchingPolicy
from fasdk.bundle.revisions import RevisionState
from fasdk.errors import UsageError
from fasdk.session.session import open as open_session
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.recording import recorded
from fasdk_tools.profiling.result import ProfileDocument, Run
from fasdk_tools.profiling.trace import require_trace_library, write_trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fasdk.backends.engine import Backend
    from fasdk.bundle.trust import TrustPolicy
    from fasdk_tools.profiling.load import LoadRequest
    from fasdk_tools.profiling.samples import Samples


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
    """

    document: ProfileDocument
    samples: tuple[Samples, ...]


def run_profile(options: ProfileOptions, on_progress: Callable[[str, float], None]) -> Profile:
    """Open a bundle once for each batch size and number of lanes, and measure its loads.

    Args:
        options: What to measure.
        on_progress: Callback with the name of a load and the share of it that is done, in [0, 1].

    Raises:
        FasdkError: The bundle cannot be opened, the engine failed, or a trace cannot be written.
    """
    samples: list[Samples] = []
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
            captures = [item.capture for item in liveness.bundle.golden]
            with nullcontext() if options.trace is None else recorded(liveness) as recording:
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
    document = ProfileDocument(
        bundle=str(options.bundle),
        bundle_id=bundle.id,
        bundle_trust=bundle.trust,
        backend=engine.backend.value,
        version=engine.version,
        precision=bundle.manifest.precision.value,
        captures=len(captures),
        runs=tuple(Run.of(each, options.deadline_ms) for each in samples),
    )
    return Profile(document, tuple(samples))

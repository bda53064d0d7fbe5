"""Profile of a door: first decisions after pauses, cold starts, long runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.revisions import RevisionState
from fasdk.decision import MissingModalities
from fasdk.session.opening import open as open_session
from fasdk_tools.profiling.cold import ColdRequest, measure_cold
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.door_figures import ColdFigures, IdleFigures, SoakFigures
from fasdk_tools.profiling.idle import IdleRequest, measure_pauses
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.long_run import ProcessState, ended_by_interrupt, measure_long
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.track_time import measure_tracks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fasdk.capture import Capture
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.run import ProfileOptions

_QUICK_STARTS = 3
_QUICK_TRACKS = 5


@dataclass(frozen=True)
class DoorOptions:
    """What to measure of a door besides a profile's options.

    Attributes:
        backend: Backend name as the command line has it, or "auto".
        keys: Files of the public keys to trust; none for those of the trust store.
        unsigned: Whether no signature is asked for.
        quick: Whether fewer pauses or starts are enough.
        fps: Frames a second of the camera of a track.
        soak_s: Length of a long run in seconds; None for pauses or cold starts.
    """

    backend: str = "auto"
    keys: tuple[Path, ...] = ()
    unsigned: bool = False
    quick: bool = False
    fps: float = 30.0
    soak_s: float | None = None


class DoorDocument(Document):
    """A door's figures of one bundle on one machine; exactly one of idle, cold and soak is set."""

    schema_version: Literal[1] = Field(1, description="Layout of this document.")
    bundle: str = Field(description="Path of the bundle.")
    bundle_id: str = Field(description="SHA-256 of its manifest.")
    bundle_trust: str = Field(description="Whose signature it was opened with.")
    backend: str = Field(description="Backend that ran it.")
    precision: str = Field(description="Precision of the graph.")
    idle: IdleFigures | None = Field(None, description="First decisions after pauses.")
    cold: ColdFigures | None = Field(None, description="Cold starts.")
    soak: SoakFigures | None = Field(None, description="A long run.")


def run_door(
    options: ProfileOptions, door: DoorOptions, on_progress: Callable[[str, float], None]
) -> DoorDocument:
    """Measure the pauses, the cold starts or the long run that the options ask for.

    Args:
        options: Bundle, backend and the one load.
        door: What else is asked for.
        on_progress: Callback with what is measured and the share of it that is done, in [0, 1].

    Raises:
        FasdkError: The bundle cannot be opened, or the engine or a new process failed.
    """
    request = options.loads[0]
    if door.soak_s is None and request.load is Load.COLD:
        return _cold(options, door, on_progress)
    with open_session(
        options.bundle,
        backend=options.backend,
        trust=options.trust,
        revisions=RevisionState.unchecked(),
        threads=options.threads,
        batching=BatchingPolicy(lanes=request.lanes, max_batch=request.batch),
        # Golden captures may lack a modality; their time is that of the others.
        missing=MissingModalities.DEGRADE,
    ) as liveness:
        if door.soak_s is None:
            return _document(options, liveness, idle=_idle(options, liveness, door, on_progress))
        return _document(options, liveness, soak=_soak(options, liveness, door, on_progress))


def _captures(options: ProfileOptions, liveness: Liveness) -> list[Capture]:
    if options.captures is None:
        return [item.capture for item in liveness.bundle.golden]
    from fasdk_calibration.datasets import load_list

    return [item.capture for item in load_list(options.captures)]


def _idle(
    options: ProfileOptions,
    liveness: Liveness,
    door: DoorOptions,
    on_progress: Callable[[str, float], None],
) -> IdleFigures:
    captures = _captures(options, liveness)
    request = IdleRequest.quickly() if door.quick else IdleRequest()
    pauses = measure_pauses(
        liveness, captures, request, on_progress=lambda share: on_progress("pauses", share)
    )
    return IdleFigures(
        quick=request.quick,
        busy_median_ms=next(each.median_ms for each in pauses if each.pause_s == 0.0),
        pauses=pauses,
        track=measure_tracks(
            liveness, captures, fps=door.fps, tracks=_QUICK_TRACKS if door.quick else 20
        ),
    )


def _cold(
    options: ProfileOptions, door: DoorOptions, on_progress: Callable[[str, float], None]
) -> DoorDocument:
    request = ColdRequest(
        bundle=options.bundle,
        backend=door.backend,
        threads=options.threads,
        keys=door.keys,
        unsigned=door.unsigned,
        quick=door.quick,
    )
    if door.quick:
        request = replace(request, count=_QUICK_STARTS)
    found = measure_cold(request, on_progress=lambda share: on_progress("cold starts", share))
    bundle = open_bundle(options.bundle, options.trust)  # afterwards: it would fill file caches
    return DoorDocument(
        bundle=str(options.bundle),
        bundle_id=bundle.id,
        bundle_trust=bundle.trust,
        backend=found.backend,
        precision=bundle.manifest.precision.value,
        cold=found,
    )


def _soak(
    options: ProfileOptions,
    liveness: Liveness,
    door: DoorOptions,
    on_progress: Callable[[str, float], None],
) -> SoakFigures:
    captures = _captures(options, liveness)
    request = options.loads[0]
    with ended_by_interrupt() as stopped:
        return measure_long(
            lambda seconds: measure(liveness, captures, replace(request, seconds=seconds)),
            door.soak_s or 0.0,
            stopped=stopped,
            state=ProcessState.of_this_machine(),
            on_progress=lambda share: on_progress("long run", share),
        )


def _document(
    options: ProfileOptions,
    liveness: Liveness,
    *,
    idle: IdleFigures | None = None,
    soak: SoakFigures | None = None,
) -> DoorDocument:
    bundle = liveness.bundle
    return DoorDocument(
        bundle=str(options.bundle),
        bundle_id=bundle.id,
        bundle_trust=bundle.trust,
        backend=liveness.engine.backend.value,
        precision=bundle.manifest.precision.value,
        idle=idle,
        soak=soak,
    )

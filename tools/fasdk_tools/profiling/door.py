"""Profile of a door: first decisions after pauses, cold starts, long runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk_tools.profiling.cold import ColdRequest, measure_cold
from fasdk_tools.profiling.door_figures import IdleFigures
from fasdk_tools.profiling.idle import IdleRequest, measure_pauses
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.long_run import ProcessState, ended_by_interrupt, measure_long
from fasdk_tools.profiling.machine.monitor import MachineMonitor
from fasdk_tools.profiling.machine.reasons import Trouble
from fasdk_tools.profiling.machine.watch import MachineWatch
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.result import Run
from fasdk_tools.profiling.run import Profile, captures_of, open_profiled, profile_document
from fasdk_tools.profiling.track_time import measure_tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.session.session import Liveness
    from fasdk_tools.profiling.machine.watch import Watched
    from fasdk_tools.profiling.run import ProfileOptions
    from fasdk_tools.profiling.samples import Samples

_QUICK_STARTS = 3
_QUICK_TRACKS, _TRACKS = 5, 20
_READING_S = 1.0  # a long measurement keeps every reading of the machine
# A clock that falls while nobody stands there is what an idle load is about.
_OF_IDLENESS = frozenset({Trouble.GOVERNOR, Trouble.SLOW_CLOCK})


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


def run_door(
    options: ProfileOptions, door: DoorOptions, on_progress: Callable[[str, float], None]
) -> Profile:
    """Measure the pauses, the cold starts or the long run that the options ask for.

    Args:
        options: Bundle, backend and the one load.
        door: What else is asked for.
        on_progress: Callback with what is measured and the share of it that is done, in [0, 1].

    Returns:
        The profile; it has samples of a long run alone.

    Raises:
        FasdkError: The bundle cannot be opened, or the engine or a new process failed.
    """
    request = options.loads[0]
    if door.soak_s is None and request.load is Load.COLD:
        return _cold(options, door, on_progress)
    batching = BatchingPolicy(lanes=request.lanes, max_batch=request.batch)
    with open_profiled(
        options, batching=batching, device_times=door.soak_s is not None
    ) as liveness:
        captures = captures_of(options, liveness)
        if door.soak_s is None:
            return _idle(options, door, liveness, captures, on_progress)
        return _soak(options, door.soak_s, liveness, captures, on_progress)


def _idle(
    options: ProfileOptions,
    door: DoorOptions,
    liveness: Liveness,
    captures: Sequence[Capture],
    on_progress: Callable[[str, float], None],
) -> Profile:
    request = IdleRequest.quickly() if door.quick else IdleRequest()
    watch = _watch()
    with watch.watching(), watch.run():
        pauses = measure_pauses(
            liveness, captures, request, on_progress=lambda share: on_progress("pauses", share)
        )
        track = measure_tracks(
            liveness, captures, fps=door.fps, tracks=_QUICK_TRACKS if door.quick else _TRACKS
        )
    run = Run.of_pauses(
        IdleFigures(
            quick=request.quick,
            busy_median_ms=next(each.median_ms for each in pauses if each.pause_s == 0.0),
            pauses=pauses,
            track=track,
        )
    )
    watched = watch.found([None], expected=_OF_IDLENESS)
    return _profile(options, liveness.bundle, _engine(liveness), len(captures), run, None, watched)


def _cold(
    options: ProfileOptions, door: DoorOptions, on_progress: Callable[[str, float], None]
) -> Profile:
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
    watch = _watch()
    with watch.watching(), watch.run():
        found = measure_cold(request, on_progress=lambda share: on_progress("cold starts", share))
    bundle = open_bundle(options.bundle, options.trust)  # afterwards: it would fill file caches
    engine = (found.backend, found.version)
    return _profile(options, bundle, engine, 1, Run.of_starts(found), None, watch.found([None]))


def _soak(
    options: ProfileOptions,
    seconds: float,
    liveness: Liveness,
    captures: Sequence[Capture],
    on_progress: Callable[[str, float], None],
) -> Profile:
    request = options.loads[0]
    watch = _watch()
    state = ProcessState.of_this_machine(kept_mb=lambda: watch.monitor.kept_mb)
    with ended_by_interrupt() as stopped, watch.watching(), watch.run():
        found = measure_long(
            lambda part_s: measure(liveness, captures, replace(request, seconds=part_s)),
            seconds,
            stopped=stopped,
            state=state,
            on_progress=lambda share: on_progress("long run", share),
        )
    watched = watch.found([found.samples])
    run = Run.of(found.samples, options.deadline_ms, watched.energies[0]).model_copy(
        update={"soak": found.figures}
    )
    return _profile(
        options, liveness.bundle, _engine(liveness), len(captures), run, found.samples, watched
    )


def _watch() -> MachineWatch:
    return MachineWatch(MachineMonitor(interval_s=_READING_S))


def _engine(liveness: Liveness) -> tuple[str, str]:
    return liveness.engine.backend.value, liveness.engine.version


def _profile(
    options: ProfileOptions,
    bundle: Bundle,
    engine: tuple[str, str],
    captures: int,
    run: Run,
    samples: Samples | None,
    watched: Watched,
) -> Profile:
    """Return the profile of one run; `engine` is the backend and its version."""
    document = profile_document(options, bundle, engine, captures, [run], watched)
    return Profile(document, (samples,), watched.record)

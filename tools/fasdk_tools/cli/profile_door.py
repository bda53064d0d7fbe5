"""Options of the verb profile for a door's loads and long runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fasdk_tools.profiling.run import Profile, ProfileOptions

_DEFAULT_FPS = 30.0


@dataclass(frozen=True)
class DoorRequest:
    """What the command line asks of a door.

    Attributes:
        soak: Length of a long run, such as "45m", or None.
        quick: Whether fewer pauses or starts are enough.
        fps: Frames a second of the camera of a track; None for 30.
        backend: Backend name, or "auto".
        keys: Files of the public keys to trust; None for those of the trust store.
        unsigned: Whether no signature is asked for.
        unused: Values of options that a door's measurements have no use for, by name.
    """

    soak: str | None
    quick: bool
    fps: float | None
    backend: str
    keys: list[Path] | None
    unsigned: bool
    unused: Mapping[str, object]


def profile_door(
    options: ProfileOptions, request: DoorRequest, on_progress: Callable[[str, float], None]
) -> Profile:
    """Measure what is asked of a door.

    Raises:
        FasdkError: The options do not go together, or the measurement failed.
    """
    from fasdk_tools.profiling.door import DoorOptions, run_door
    from fasdk_tools.profiling.load import Load
    from fasdk_tools.profiling.long_run import parse_duration

    load = options.loads[0].load
    of_door = load in (Load.IDLE, Load.COLD)
    soak_s = None if request.soak is None else parse_duration(request.soak)
    if soak_s is not None and of_door:
        raise UsageError(f"--soak is for a load that goes on, the load is {load.value}")
    if request.quick and not of_door:
        raise UsageError(f"--quick is for --load idle and cold, the load is {load.value}")
    if len(options.loads) != 1:
        raise UsageError("give one batch size and one number of lanes for a door or a long run")
    unused = [name for name, value in request.unused.items() if value is not None]
    if load is Load.COLD and options.captures is not None:
        unused.append("--captures")
    if of_door and options.deadline_ms is not None:
        unused.append("--deadline")
    if options.layers:
        unused.append("--layers")
    if unused:
        what = "--soak" if soak_s is not None else f"--load {load.value}"
        raise UsageError(f"{unused[0]} does not go together with {what}: leave it out")
    if request.fps is not None and not (math.isfinite(request.fps) and request.fps > 0.0):
        raise UsageError(f"--fps is {request.fps:g}, expected frames a second above 0")
    return run_door(
        options,
        DoorOptions(
            backend=request.backend,
            keys=tuple(request.keys or ()),
            unsigned=request.unsigned,
            quick=request.quick,
            fps=_DEFAULT_FPS if request.fps is None else request.fps,
            soak_s=soak_s,
        ),
        on_progress,
    )

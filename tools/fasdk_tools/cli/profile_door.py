"""Options of the verb profile for a door's loads and long runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk_tools.terminal.output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fasdk_tools.profiling.run import ProfileOptions

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


def answer_door(
    options: ProfileOptions,
    request: DoorRequest,
    on_progress: Callable[[str, float], None],
    *,
    as_json: bool,
) -> None:
    """Measure what is asked of a door, and print it.

    Raises:
        FasdkError: The options do not go together, or the measurement failed.
    """
    from fasdk_tools.profiling.door import DoorOptions, run_door
    from fasdk_tools.profiling.load import Load
    from fasdk_tools.profiling.long_run import parse_duration
    from fasdk_tools.terminal.door import print_door

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
    if unused:
        raise UsageError(
            f"{unused[0]} is for neither --load idle and cold nor --soak: leave it out"
        )
    if request.fps is not None and not (math.isfinite(request.fps) and request.fps > 0.0):
        raise UsageError(f"--fps is {request.fps:g}, expected frames a second above 0")
    document = run_door(
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
    if as_json:
        print_json(document.model_dump(mode="json"))
    else:
        print_door(document)

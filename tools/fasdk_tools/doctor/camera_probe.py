"""Answers about a camera, in the child process: it is opened and read for a moment."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Any

from fasdk.errors import BadCaptureError, CameraError, EndOfStreamError, FasdkError

if TYPE_CHECKING:
    from fasdk.cameras.camera import Camera
    from fasdk.capture import Capture

READ_SECONDS = 1.5
_FIRST_FRAME_MS = 4000.0
_NEXT_FRAME_MS = 1000.0
_MOST_FRAMES = 60


def camera(spec: str) -> dict[str, Any]:
    """Return what a camera gave in a moment, or why it gave nothing.

    Returns:
        `error` in words where there is one; `modalities` with the size of each, `frames`,
        `seconds` from the first to the last, the greatest `age_ms` and `skew_ms`, and the
        modalities of which every frame was the same, `frozen`.
    """
    from fasdk.cameras import open_camera

    try:
        with open_camera(spec) as opened:
            found = _read(opened)
    except FasdkError as error:
        return {"error": str(error)}
    return found | {"is_recording": spec.startswith("replay:")}


def _read(opened: Camera) -> dict[str, Any]:
    from fasdk.capture import monotonic_ms

    captures: list[_Seen] = []
    error = ""
    start_s = time.monotonic()
    while len(captures) < _MOST_FRAMES:
        if captures and time.monotonic() - start_s > READ_SECONDS:
            break
        try:
            capture = opened.read(_NEXT_FRAME_MS if captures else _FIRST_FRAME_MS)
        except EndOfStreamError:
            break
        except BadCaptureError as bad:
            error = str(bad)
            continue
        except CameraError as fault:
            error = str(fault)
            break
        if not captures:
            start_s = time.monotonic()  # what opening takes is no part of the rate
        captures.append(_Seen(capture, monotonic_ms()))
    if not captures:
        return {"error": error or f"{opened.name} gave no frame"}
    return _summary(captures) | {"name": opened.name, "fault": error}


class _Seen:
    """What is kept of a capture: no picture."""

    def __init__(self, capture: Capture, read_ms: float) -> None:
        frames = {m.value: capture.frame(m) for m in capture.present}
        self.read_ms = read_ms
        self.sizes = {name: [f.shape[1], f.shape[0]] for name, f in frames.items()}
        self.prints = {name: zlib.crc32(f.tobytes()) for name, f in frames.items()}
        self.taken_ms = sorted((capture.taken_ms or {}).values())


def _summary(captures: list[_Seen]) -> dict[str, Any]:
    sizes = {name: size for each in captures for name, size in each.sizes.items()}
    stamped = [each for each in captures if each.taken_ms]
    frozen = [
        name
        for name in sizes
        if len(captures) > 2 and len({each.prints.get(name) for each in captures}) == 1
    ]
    return {
        "modalities": sizes,
        "frames": len(captures),
        "seconds": (captures[-1].read_ms - captures[0].read_ms) / 1e3,
        "age_ms": max((each.read_ms - each.taken_ms[0] for each in stamped), default=None),
        "skew_ms": max((each.taken_ms[-1] - each.taken_ms[0] for each in stamped), default=None),
        "frozen": frozen,
    }

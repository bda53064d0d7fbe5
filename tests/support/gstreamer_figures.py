"""Figures of GStreamer cameras on a real GStreamer, as one JSON line."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np

from fasdk.cameras import Camera, open_camera
from fasdk.capture import Modality
from fasdk.errors import CameraError

from support.gstreamer import gstreamer

FRAMES, RATE, RESTARTS = 300, 100, 5
_SIZE = f"video/x-raw,format=RGB,width=64,height=48,framerate={RATE}/1"
_LIVE = f"videotestsrc is-live=true ! {_SIZE}"
_PATIENT_MS = 5000.0


def measure() -> dict[str, object]:
    """Return the figures, each from a pipeline of its own."""
    gst = gstreamer()
    live = _stamps(f"gst:{_LIVE} ! appsink", FRAMES)
    steps = np.diff(live) * (RATE / 1000.0)
    return {
        "gstreamer": gst.core.version_string(),
        "recorded": _frames_of_a_recording(),
        "live": len(live),
        "not_rising": sum(a >= b for a, b in pairwise(live)),
        "off_the_sources_grid_ms": float(np.abs(steps - np.round(steps)).max() * 1000.0 / RATE),
        "after_eos": _restarts(f"gst:videotestsrc is-live=true num-buffers=2 ! {_SIZE} ! appsink"),
        "after_error": _restarts(f"gst:{_LIVE} ! identity error-after=2 ! appsink"),
        "below_errorignore": _goes_on_below_errorignore(),
        "seconds_to_close": _seconds_to_close(),
    }


def _stamps(spec: str, frames: int) -> list[float]:
    with open_camera(spec) as camera:
        return [camera.read(_PATIENT_MS).taken_ms[Modality.RGB] for _ in range(frames)]


def _frames_of_a_recording() -> int:
    """Return how many frames came before the end, of one that is played as fast as it is read."""
    spec = f"gst:videotestsrc num-buffers={FRAMES} ! {_SIZE} ! appsink sync=false"
    with open_camera(spec) as camera:
        return sum(1 for _ in camera)


def _restarts(spec: str) -> int:
    """Return how often a live pipeline that ended gave frames again, of `RESTARTS` times."""
    restarts = 0
    with open_camera(spec) as camera:
        camera.read(_PATIENT_MS)
        while restarts < RESTARTS:
            _read_to_the_fault(camera)
            camera.read(_PATIENT_MS)
            restarts += 1
    return restarts


def _read_to_the_fault(camera: Camera) -> None:
    with suppress(CameraError):
        while True:
            camera.read(_PATIENT_MS)


def _goes_on_below_errorignore() -> int:
    """Return how many frames came, of 30, where an element of a branch fails at its second."""
    branch = "errorignore convert-to=ok ! identity error-after=2 ! fakesink async=false"
    spec = f"gst:{_LIVE} ! tee name=t ! queue ! appsink t. ! {branch}"
    return len(_stamps(spec, 30))


def _seconds_to_close() -> float:
    """Return how long closing takes where no frame comes."""
    camera = open_camera("gst:videotestsrc is-live=true ! valve drop=true ! appsink")
    with suppress(CameraError):
        camera.read(200.0)
    began = time.monotonic()
    camera.close()
    return time.monotonic() - began


if __name__ == "__main__":
    print(json.dumps(measure()))

"""Cameras, whose captures hold frames of one moment, stamped on one clock.

    from fasdk.cameras import open_camera

    with open_camera("realsense") as camera:
        for capture in camera:
            ...

A frame is stamped in milliseconds of `time.monotonic`. Each camera's class says how its own clock
is mapped to that. Each module of a camera is loaded when one of its kind is opened.
"""

from __future__ import annotations

from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.spec import open_camera

__all__ = ["READ_TIMEOUT_MS", "Camera", "FrameCounts", "open_camera"]

"""Fake of cv2.VideoCapture on a local camera: the test decides when frames come, and its modes."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np


class FakeVideoDevice:
    """A camera that forgets its mode whenever it is opened, as after it was unplugged.

    Attributes:
        backend: Name that it gives as its backend's.
        kernel_ms: Its time of the last frame; None for that of the reading.
        sizes: Frame sizes it can give, the first at the start.
        rates: Rates it can give, the first at the start; empty where it tells none.
        formats: Pixel formats it can give, the first at the start.
        is_there: Whether it can be opened.
        asked: What it was opened as: target, backend, parameters.
        frames: Frames that were given and not yet read; a pair is a frame and its kernel's time.
    """

    def __init__(self, backend="V4L2"):
        self.frames = []
        self.backend = backend
        self.kernel_ms = 0.0
        self.sizes, self.rates, self.formats = [(640, 480)], [30.0], ["YUYV"]
        self.opened = 0
        self.released = 0
        self.is_there = True
        self.asked = []
        self.set_properties = []
        self.hang = threading.Event()
        self.hang.set()
        self._came = threading.Condition()
        self._start()

    def _start(self):
        self._size, self._wanted = self.sizes[0], {}
        self._rate = self.rates[0] if self.rates else 0.0
        self._format = self.formats[0]

    def __call__(self, target, backend, parameters):
        self.asked.append((target, backend, parameters))
        self.opened += 1
        self._start()
        return self

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.is_there

    def getBackendName(self):  # noqa: N802 - OpenCV's name
        return self.backend

    def set(self, name, value):
        self.set_properties.append((name, value))
        if name == cv2.CAP_PROP_FOURCC:
            text = int(value).to_bytes(4, "little").decode("ascii")
            self._format = text if text in self.formats else self._format
        elif name in {cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT}:
            self._wanted[name] = value
            if len(self._wanted) == 2:
                size = tuple(int(self._wanted[each]) for each in sorted(self._wanted))
                self._size = size if size in self.sizes else self._size
        elif name == cv2.CAP_PROP_FPS:
            self._rate = value if value in self.rates else self._rate
        return True

    def get(self, name):
        if name == cv2.CAP_PROP_POS_MSEC:
            return time.monotonic() * 1000.0 if self.kernel_ms is None else self.kernel_ms
        return {
            cv2.CAP_PROP_FOURCC: int.from_bytes(self._format.encode("ascii"), "little"),
            cv2.CAP_PROP_FRAME_WIDTH: self._size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self._size[1],
            cv2.CAP_PROP_FPS: self._rate,
        }.get(name, 0.0)

    def release(self):
        self.released += 1

    def give(self, *frames):
        """Make frames come; None is a failed read."""
        with self._came:
            self.frames += frames
            self._came.notify_all()

    def read(self):
        self.hang.wait(10)
        with self._came:
            if not self._came.wait_for(lambda: self.frames, timeout=10):
                return False, None
            frame = self.frames.pop(0)
        if isinstance(frame, tuple):
            frame, self.kernel_ms = frame
        return (False, None) if frame is None else (True, frame)


def color_frame(number, size=(64, 48)):
    """Return a frame whose red is `number`, as OpenCV gives it."""
    return np.full((size[1], size[0], 3), (0, 0, number), np.uint8)

"""Scripted camera: gives a capture or raises, as the test states."""

from __future__ import annotations

from fasdk.cameras import Camera, FrameCounts
from fasdk.errors import EndOfStreamError


class ScriptedCamera(Camera):
    """Gives, makes, or raises one item a read, and then is over."""

    name = "scripted"

    def __init__(self, *script):
        self.counts = FrameCounts()
        self._script = list(script)

    def read(self, timeout_ms=1000.0):  # noqa: ARG002 - it waits for nobody
        if not self._script:
            raise EndOfStreamError("over")
        item = self._script.pop(0)
        if callable(item):
            item = item()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self):
        self._script.clear()

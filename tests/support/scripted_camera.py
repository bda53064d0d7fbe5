"""Scripted camera: gives a capture or raises, as the test states."""

from __future__ import annotations

from dataclasses import replace

from fasdk.cameras import Camera, FrameCounts
from fasdk.capture import Capture, monotonic_ms
from fasdk.errors import EndOfStreamError


class ScriptedCamera(Camera):
    """Gives, makes, or raises one item a read, and then is over.

    Args:
        script: The items; a capture without times gets that of its read, as every camera gives one.
        stamps: Whether it does.
    """

    name = "scripted"

    def __init__(self, *script, stamps=True):
        self.counts = FrameCounts()
        self._stamps = stamps
        self._script = list(script)

    def read(self, timeout_ms=1000.0):  # noqa: ARG002 - it never waits
        if not self._script:
            raise EndOfStreamError("over")
        item = self._script.pop(0)
        if callable(item):
            item = item()
        if isinstance(item, Exception):
            raise item
        if self._stamps and isinstance(item, Capture) and not item.taken_ms and item.present:
            return replace(item, taken_ms=dict.fromkeys(item.present, monotonic_ms()))
        return item

    def close(self):
        self._script.clear()

"""Frames of an infrared camera whose emitter flashes: which were lit by it."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Long enough for one lit frame in four; short, so that a person who steps in is not averaged away.
_WINDOW_FRAMES = 6
_STARTING_MS = 1000.0
_MIN_CONTRAST_LEVELS = 2.0
_MIN_CONTRAST_SHARE = 0.05
_GRID_PX = 64


class Emitter(str, Enum):
    """How an infrared camera's emitter shines.

    - STEADY: In every frame, or never.
    - FLASHING: In some frames only, such as every other one, as of cameras made for Windows Hello.
    """

    STEADY = "steady"
    FLASHING = "flashing"


class LitFrames:
    """Tells a flashing emitter's lit frames from those between, by the brightness of neighbors.

    A frame is lit where its mean is above the middle of the darkest and the brightest mean of the
    last six frames. That holds in daylight too, where no frame is black. Without a difference of
    2 levels and 5 % of the brighter one there is no flash to see: for the first second such frames
    are held back, since cameras start with unlit ones; afterwards they count as they are, so that
    what swallows all infrared light is judged and not hidden.
    """

    def __init__(self) -> None:
        self._means: deque[float] = deque(maxlen=_WINDOW_FRAMES)
        self._began_ms: float | None = None
        self._flashed = False

    def is_lit(self, frame: NDArray[Any], now_ms: float) -> bool:
        """Take in the next frame and return whether it should be used.

        Args:
            frame: Infrared frame [H, W] of any unsigned type; every frame of the camera, in order.
            now_ms: When it arrived, in milliseconds of `time.monotonic`.
        """
        if self._began_ms is None:
            self._began_ms = now_ms
        mean = _mean(frame)
        self._means.append(mean)
        darkest, brightest = min(self._means), max(self._means)
        contrast = brightest - darkest
        if contrast >= max(_MIN_CONTRAST_LEVELS, _MIN_CONTRAST_SHARE * brightest):
            self._flashed = True
            return mean > (darkest + brightest) / 2.0
        return self._flashed or now_ms - self._began_ms > _STARTING_MS


def _mean(frame: NDArray[Any]) -> float:
    """Return the mean of a grid of some 64x64 pixels, in levels."""
    step = max(1, min(frame.shape[:2]) // _GRID_PX)
    return float(frame[::step, ::step].mean())

"""Frames of an infrared camera whose emitter flashes: which were lit by it."""

from __future__ import annotations

import logging
from collections import deque
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fasdk.capture import Modality
from fasdk.errors import UsageError
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_log = logging.getLogger("fasdk.cameras")
# Long enough for one lit frame in four; short, so that a person who steps in is not averaged away.
_WINDOW_FRAMES = 6
_STARTING_MS = 1000.0
_MIN_CONTRAST_LEVELS = 2.0
_MIN_CONTRAST_SHARE = 0.05
_PATTERN_CONTRAST_LEVELS = 4.0
_PATTERN_CONTRAST_SHARE = 0.15
_PATTERN_SPREAD = 0.25
_PATTERN_CHANGES = 3
_GRID_PX = 64


class Emitter(str, Enum):
    """How an infrared camera's emitter shines.

    - AUTO: Found out: flashing from the moment at which the frames' brightness shows it.
    - STEADY: In every frame, or never.
    - FLASHING: In some frames only, such as every other one, as of cameras made for Windows Hello.
    """

    AUTO = "auto"
    STEADY = "steady"
    FLASHING = "flashing"


class LitFrames:
    """Tells a flashing emitter's lit frames from those between, by the brightness of neighbors.

    A frame is lit where its mean is above the middle of the darkest and the brightest mean of the
    last six frames. That holds in daylight too, where no frame is black. Without a difference of
    2 levels and 5 % of the brighter one there is no flash to see: for the first second such frames
    are held back, since cameras start with unlit ones; afterwards they count as they are, so that
    what swallows all infrared light is judged and not hidden.

    Args:
        is_known: Whether the emitter is known to flash. If not, every frame is given until six in a
            row are of two clearly distinct means that take turns, which people who move do not
            bring about.

    Attributes:
        is_flashing: Whether the emitter is known to flash, or was seen to.
    """

    def __init__(self, *, is_known: bool = True) -> None:
        self.is_flashing = is_known
        self._means: deque[float] = deque(maxlen=_WINDOW_FRAMES)
        self._began_ms: float | None = None
        self._flashed = False

    @classmethod
    def of(cls, emitter: Emitter) -> LitFrames | None:
        """Return what tells an emitter's lit frames; None for one that is steady."""
        return None if emitter is Emitter.STEADY else cls(is_known=emitter is Emitter.FLASHING)

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
        if not self.is_flashing:
            self.is_flashing = _take_turns(self._means)
            if not self.is_flashing:
                return True
        darkest, brightest = min(self._means), max(self._means)
        contrast = brightest - darkest
        if contrast >= max(_MIN_CONTRAST_LEVELS, _MIN_CONTRAST_SHARE * brightest):
            self._flashed = True
            return mean > (darkest + brightest) / 2.0
        return self._flashed or now_ms - self._began_ms > _STARTING_MS

    def is_used(self, frame: NDArray[Any], now_ms: float, name: str) -> bool:
        """Return what `is_lit` does, and say when the emitter of that camera is found to flash."""
        was_known = self.is_flashing
        is_lit = self.is_lit(frame, now_ms)
        if self.is_flashing and not was_known:
            _log.warning(
                "%s: its infrared emitter flashes, so only lit frames are used; write "
                "emitter=flashing to use no other from the start, emitter=steady to use all",
                name,
            )
        return is_lit


def emitter_of(modality: Modality, emitter: Emitter, ir_shift: int | None) -> Emitter:
    """Return the emitter of a camera; it lights infrared frames and no others.

    Args:
        modality: Modality of the camera's frames.
        emitter: How it is said to shine.
        ir_shift: Number of lowest bits to leave out of infrared levels; None for none given.

    Raises:
        UsageError: A flashing one, or a shift, is given for another modality.
    """
    emitter = as_choice("emitter", emitter, Emitter)
    if modality is Modality.IR:
        return emitter
    if emitter is Emitter.FLASHING or ir_shift is not None:
        what = "a shift of levels" if ir_shift is not None else "a flashing emitter"
        raise UsageError(f"{what} is for infrared: add modality=ir, or leave it out")
    return Emitter.STEADY


def _take_turns(means: Sequence[float]) -> bool:
    """Return whether the means are of two distinct kinds that take turns."""
    darkest, brightest = min(means), max(means)
    contrast = brightest - darkest
    least = max(_PATTERN_CONTRAST_LEVELS, _PATTERN_CONTRAST_SHARE * brightest)
    if len(means) < _WINDOW_FRAMES or contrast < least:
        return False
    are_bright = [mean > (darkest + brightest) / 2.0 for mean in means]
    bright = [mean for mean, is_bright in zip(means, are_bright, strict=True) if is_bright]
    dark = [mean for mean, is_bright in zip(means, are_bright, strict=True) if not is_bright]
    spread = max(max(bright) - min(bright), max(dark) - min(dark))
    changes = sum(a != b for a, b in pairwise(are_bright))
    return changes >= _PATTERN_CHANGES and spread <= _PATTERN_SPREAD * contrast


def _mean(frame: NDArray[Any]) -> float:
    """Return the mean of a grid of some 64x64 pixels, in levels."""
    step = max(1, min(frame.shape[:2]) // _GRID_PX)
    return float(frame[::step, ::step].mean())

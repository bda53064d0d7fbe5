"""Agreement of a camera's sensors on how the face moves from frame to frame.

Each frame is cut where the face was in an earlier one, sampled to 64x64 pixels and turned into a
map: color and infrared by the logarithm of the level, depth by nearness to the face. A sensor's
shift since the earlier frame is where its two maps correlate best (Lewis, "Fast normalized
cross-correlation", Vision Interface 1995). The motion gap of two sensors is what their correlations
lose together when their shifts must be equal within 2 pixels, a twentieth of the face's width: 0
where they move together or nobody moves, and small where a map does not say how it moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.capture import Capture, FaceBox

_SIDE_PX = 64
_SAMPLES_PX = 2 * _SIDE_PX  # a map's pixel is the mean of two samples in each direction
_WINDOW = 1.4  # side of the part that is compared, in sides of the face's box
_DARK = 8.0  # 8-bit levels; sensor noise below them is no structure
_BEHIND_MM = 120.0  # what is further behind the face counts as the background
_MIDDLE = slice(39, 89, 2)  # samples of the middle of the face, whose median depth is the face's
_SAME_PX = 2
_FURTHEST_PX = 16
_LEAST_PEAK = 0.5  # least correlation at a shift that tells how a sensor moved
_FAR_PX = 4.0  # movement after which the next frames are compared with the one that showed it
_MOST_FRAMES = 8  # compared with one earlier frame

Maps = dict[Modality, "NDArray[np.complex128]"]


class MotionPair(Enum):
    """Sensors whose movements are compared, each with the greatest motion gap of one face.

    The limits were chosen on synthetic development presentations and measured on others:
    tools/bench/agreement.py --motion.
    """

    RGB_DEPTH = (Modality.RGB, Modality.DEPTH, "color and depth", 0.04)
    RGB_IR = (Modality.RGB, Modality.IR, "color and infrared", 0.04)
    IR_DEPTH = (Modality.IR, Modality.DEPTH, "infrared and depth", 0.02)

    def __init__(self, first: Modality, second: Modality, words: str, most: float) -> None:
        self.first = first
        self.second = second
        self.words = words
        self.most = most


@dataclass(frozen=True, eq=False)
class _Anchor:
    """Earlier frame that the next ones are compared with.

    Attributes:
        boxes: Face box in each of its frames, which later frames are cut by too.
        maps: Spectrum of each of its maps.
    """

    boxes: Mapping[Modality, FaceBox]
    maps: Maps

    @classmethod
    def of(cls, capture: Capture) -> _Anchor | None:
        """Return a capture as such a frame, or None where no two sensors show a face."""
        found = {m: capture.face_in(m) for m in capture.present}
        boxes = {m: box for m, box in found.items() if box is not None}
        maps = _maps(capture, boxes)
        return cls(boxes, maps) if len(maps) > 1 else None


class MotionWatch:
    """Comparison of the movements that the sensors of one camera show of one face.

    A frame is compared with an earlier one, which stays the same until the face has moved away from
    there by a tenth of its width, or for eight frames: slow movement adds up, and the head does
    not turn far in between. It keeps one map of each sensor.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Treat the next frame as the first."""
        self._anchor: _Anchor | None = None
        self._compared = 0

    def take_in(self, capture: Capture) -> Finding | None:
        """Take in a frame; return the finding on sensors that do not move together, or None.

        Args:
            capture: Sound capture of the face of the frame before; without a face box, or with one
                sensor, nothing is compared.
        """
        for pair, gap in self.gaps(capture).items():
            if not gap <= pair.most:
                self.forget()
                return Finding(
                    Reason.SENSORS_DISAGREE,
                    f"{pair.words} do not show the same movement of the face (motion gap "
                    f"{gap:.2f}, at most {pair.most}): hold still; if it stays, see that no "
                    "sensor repeats old frames, and register the sensors (fasdk.Rig)",
                )
        return None

    def gaps(self, capture: Capture) -> dict[MotionPair, float]:
        """Take in a frame and return the motion gap of each pair of sensors that moved.

        A pair is absent where a sensor does not tell how the face moved.
        """
        anchor = self._anchor
        if anchor is None:
            self._begin(capture)
            return {}
        maps = _maps(capture, anchor.boxes)
        surfaces = {m: _correlation(maps[m], anchor.maps[m]) for m in maps if m in anchor.maps}
        known = {m: surface for m, surface in surfaces.items() if _peak(surface) >= _LEAST_PEAK}
        self._compared += 1
        if (
            known.keys() != set(capture.present)
            or self._compared >= _MOST_FRAMES
            or max(map(_moved_px, known.values())) >= _FAR_PX
        ):
            self._begin(capture)
        return {
            pair: _gap(known[pair.first], known[pair.second])
            for pair in MotionPair
            if pair.first in known
            and pair.second in known
            and not (pair is MotionPair.IR_DEPTH and Modality.RGB in known)
        }

    def _begin(self, capture: Capture) -> None:
        self._anchor, self._compared = _Anchor.of(capture), 0


def _maps(capture: Capture, boxes: Mapping[Modality, FaceBox]) -> Maps:
    """Return the spectrum of the map of each frame that has a box and shows anything."""
    maps: Maps = {}
    for modality, box in boxes.items():
        if modality not in capture.present:
            continue
        samples = _samples(capture.frame(modality), box)
        if modality is Modality.DEPTH:
            surface = _nearness(samples)
        else:
            surface = np.log(_DARK + _blurred(_cells(samples)) * np.float32(0.25))
        spectrum = None if surface is None else _spectrum(surface)
        if spectrum is not None:
            maps[modality] = spectrum
    return maps


def _samples(frame: NDArray[Any], box: FaceBox) -> NDArray[Any]:
    """Return [128, 128] pixels around a face, of a color frame the green ones.

    Nearest pixels on a fixed grid; what lies outside the frame is its edge.
    """
    if frame.ndim == 3:
        frame = frame[..., 1]
    height, width = frame.shape
    grid = (np.arange(_SAMPLES_PX) + 0.5) / _SAMPLES_PX - 0.5
    columns = box.x + box.width / 2 + grid * (_WINDOW * box.width)
    rows = box.y + box.height / 2 + grid * (_WINDOW * box.height)
    at_columns = np.clip(columns.astype(np.intp), 0, width - 1)
    at_rows = np.clip(rows.astype(np.intp), 0, height - 1)
    return frame.take(at_rows, axis=0).take(at_columns, axis=1)


def _cells(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 [64, 64], the sum of the samples in each pixel of a map."""
    rows = samples[0::2].astype(np.float32) + samples[1::2]
    return np.asarray(rows[:, 0::2] + rows[:, 1::2], np.float32)


def _nearness(samples: NDArray[np.uint16]) -> NDArray[np.float32] | None:
    """Return float32 [64, 64]: 1 at the face, 0 from 120 mm behind it on; None without depth."""
    middle = samples[_MIDDLE, _MIDDLE]
    known = middle[middle > 0]
    if known.size == 0:
        return None
    furthest = np.float32(np.median(known) + _BEHIND_MM)
    near = np.minimum((furthest - samples) * np.float32(1 / _BEHIND_MM), np.float32(1.0))
    near = np.maximum(near, np.float32(0.0)) * (samples > 0)
    # A small hole takes the mean of what is around it; a large one is out of the sensor's reach.
    share, sums = _blurred(_cells(samples > 0)), _blurred(_cells(near))
    mean = sums / np.maximum(share, np.float32(1.0))
    return np.asarray(np.where(share >= 1.0, mean, np.float32(0.0)), np.float32)


def _blurred(surface: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map blurred by the binomial kernel 1 4 6 4 1 in both directions."""
    first, last, side = surface[:1], surface[-1:], _SIDE_PX
    rows = np.concatenate((first, first, surface, last, last))
    mixed = rows[:side] + rows[4:] + 4 * (rows[1 : side + 1] + rows[3:-1]) + 6 * rows[2:-2]
    first, last = mixed[:, :1], mixed[:, -1:]
    columns = np.concatenate((first, first, mixed, last, last), axis=1)
    mixed = columns[:, :side] + columns[:, 4:] + 6 * columns[:, 2:-2]
    mixed += 4 * (columns[:, 1 : side + 1] + columns[:, 3:-1])
    return np.asarray(mixed * np.float32(1 / 256), np.float32)


def _spectrum(surface: NDArray[np.float32]) -> NDArray[np.complex128] | None:
    """Return the spectrum of a map of mean 0 and norm 1; None where it has one level all over."""
    taper = _taper()
    centered = (surface - (surface * taper).sum() / taper.sum()) * taper
    size = float(np.sqrt((centered * centered).sum()))
    return np.asarray(np.fft.rfft2(centered / size)) if size > 1e-3 else None


@lru_cache
def _taper() -> NDArray[np.float32]:
    """Return float32 [64, 64]: 1 in the middle half, falling to 0 at the edge."""
    place = np.abs(np.linspace(-1.0, 1.0, _SIDE_PX))
    side = np.cos(np.pi / 2 * np.clip(2.0 * place - 1.0, 0.0, 1.0)) ** 2
    return np.outer(side, side).astype(np.float32)


def _correlation(
    later: NDArray[np.complex128], earlier: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return the cross-correlation of two maps at every shift, no shift in the middle."""
    surface = np.fft.irfft2(later * earlier.conj(), s=(_SIDE_PX, _SIDE_PX))
    return np.asarray(np.fft.fftshift(surface))


def _reach(surface: NDArray[np.float64], more_px: int = 0) -> NDArray[np.float64]:
    middle, reach = _SIDE_PX // 2, _FURTHEST_PX + more_px
    return surface[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]


def _peak(surface: NDArray[np.float64]) -> float:
    return float(_reach(surface).max())


def _moved_px(surface: NDArray[np.float64]) -> float:
    """Return how far the best shift is from none, in pixels of the map."""
    reach = _reach(surface)
    row, column = np.unravel_index(int(reach.argmax()), reach.shape)
    return float(np.hypot(row - _FURTHEST_PX, column - _FURTHEST_PX))


def _gap(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return what two sensors' best correlations lose where their shifts must be the same."""
    nearby = _reach(second, _SAME_PX)
    for axis in (0, 1):
        along = np.moveaxis(nearby, axis, 0)
        count = len(along) - 2 * _SAME_PX
        parts = [along[k : k + count] for k in range(2 * _SAME_PX + 1)]
        nearby = np.moveaxis(np.maximum.reduce(parts), 0, axis)
    together = float((_reach(first) + nearby).max())
    return max(0.0, _peak(first) + _peak(second) - together)

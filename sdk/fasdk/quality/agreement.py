"""Agreement of a capture's sensors on where the face is, how large it is, and its outline.

Each frame is cut to 1.7 times the face's box, scaled to 64x64 pixels and turned into a map of
edges: color and infrared by the logarithm of the level, depth by nearness to the face, so that
neither light nor distance matters. Two maps of one face correlate best where they lie on each
other. The margin of two maps is the largest normalized cross-correlation (Lewis, "Fast normalized
cross-correlation", Vision Interface 1995) at a shift of at most 4 pixels less the largest at a
shift of 8 to 20; 4 pixels are a tenth of the face's width, as well as sensors are registered.

The relief of a face is what its depth differs by from the plane that fits it best. A face has more
of it than a wall, a board or a frame of depth that was made up; where color or infrared show a face
that the model takes for one, flat depth is of something else.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.quality.planes import box_mean, gradients, gray, scaled, smoothed
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Capture, FaceBox

SIDE_PX = 64
_WINDOW = 1.7
_SAME_PX = 4
_BETWEEN_PX = 3  # shifts that belong to neither, on the slope of the peak
_FURTHEST_PX = 20
_BEHIND_MM = 250.0  # what is further behind the face counts as the background
_DARK = 8.0  # 8-bit levels; sensor noise below them makes no edges
_MIDDLE = 0.7  # share of the box whose median depth is the face's
_HOLE_PX = 5
_LEAST_KNOWN = 0.25  # share of a map's pixel that must have depth
# Chosen on synthetic development captures, measured on others: tools/bench/injection.py.
LEAST_RELIEF_MM = 2.0
_RELIEF_CELLS = 10  # a side, over the middle of the face; noise goes down with a cell's pixels
_LEAST_RELIEF_CELLS = 30


class Pair(Enum):
    """Maps that are compared, each with the least margin of one face.

    The limits were chosen on synthetic development captures and measured on others:
    tools/bench/agreement.py.
    """

    RGB_IR = ("color and infrared", 0.04)
    DEPTH_BOTH = ("depth and the other two sensors", -0.03)
    DEPTH_RGB = ("depth and color", -0.1)
    DEPTH_IR = ("depth and infrared", -0.1)

    def __init__(self, words: str, least: float) -> None:
        self.words = words
        self.least = least


def disagreement(capture: Capture) -> Finding | None:
    """Return the finding on sensors that do not show one face, or None.

    Args:
        capture: Sound, registered capture; without a face box, or with one sensor, nothing is
            compared.
    """
    for pair, margin in margins(capture).items():
        if not margin >= pair.least:
            return Finding(
                Reason.SENSORS_DISAGREE,
                f"{pair.words} do not show the same face at the same place (margin {margin:.2f}, "
                f"at least {pair.least}): hold still; if it stays, register the sensors "
                "(fasdk.Rig) and keep anything out of the way of single ones",
            )
    relief = None if len(capture.present) < 2 else relief_mm(capture)
    if relief is not None and not relief >= LEAST_RELIEF_MM:
        return Finding(
            Reason.SENSORS_DISAGREE,
            f"depth shows a flat surface where the face is (relief {relief:.1f} mm, at least "
            f"{LEAST_RELIEF_MM:.1f} mm): if it stays, check the depth sensor and its unit",
        )
    return None


def relief_mm(capture: Capture) -> float | None:
    """Return the relief of the face in depth: deviation from the plane that fits it, in mm.

    None without depth, without a face box, or where too little of the face has depth to tell.
    """
    if capture.depth is None:
        return None
    box = capture.face_in(Modality.DEPTH)
    if box is None:
        return None
    part, _ = _cut(capture.depth, box, _MIDDLE)
    side = _RELIEF_CELLS
    if min(part.shape) < side:
        return None
    tall, wide = part.shape[0] // side, part.shape[1] // side
    blocks = part[: tall * side, : wide * side].reshape(side, tall, side, wide)
    known = np.add.reduce(np.add.reduce(blocks > 0, axis=3, dtype=np.int32), axis=1)
    sums = np.add.reduce(np.add.reduce(blocks, axis=3, dtype=np.uint32), axis=1, dtype=np.float64)
    rows, columns = np.nonzero(2 * known >= tall * wide)
    if rows.size < _LEAST_RELIEF_CELLS:
        return None
    depth_mm = sums[rows, columns] / known[rows, columns]
    plane = np.stack((rows, columns, np.ones_like(rows)), axis=1).astype(np.float64)
    depth_mm -= depth_mm.mean()
    try:
        fitted = np.linalg.solve(plane.T @ plane, plane.T @ depth_mm)
    except np.linalg.LinAlgError:  # all in one line
        return None
    return float(np.sqrt(np.square(depth_mm - plane @ fitted).mean()))


def margins(capture: Capture) -> dict[Pair, float]:
    """Return the margin of each pair of maps that the capture's sensors have."""
    maps = {m: edges for m in capture.present if (edges := _map(capture, m)) is not None}
    depth, lights = maps.get(Modality.DEPTH), [m for m in maps if m is not Modality.DEPTH]
    found: dict[Pair, float] = {}
    if len(lights) == 2:
        found[Pair.RGB_IR] = _margin(_correlation(maps[Modality.RGB], maps[Modality.IR]))
    if depth is not None and lights:
        surface = sum(_correlation(depth, maps[light]) for light in lights)
        pair = Pair.DEPTH_RGB if lights[0] is Modality.RGB else Pair.DEPTH_IR
        found[Pair.DEPTH_BOTH if len(lights) == 2 else pair] = _margin(np.asarray(surface))
    return found


def _map(capture: Capture, modality: Modality) -> NDArray[np.complex128] | None:
    """Return the spectrum of a frame's edges around the face, or None where there is none."""
    box, frame = capture.face_in(modality), capture.frame(modality)
    if box is None:
        return None
    if modality is Modality.DEPTH:
        surface = _nearness(frame, box)
        if surface is None:
            return None
    else:
        part, pad = _cut(frame, box, _WINDOW)
        surface = np.log(_DARK + _square(gray(part).astype(np.float32), pad))
    across, down = gradients(smoothed(surface))
    edges = np.sqrt(np.sqrt(across * across + down * down))  # so that faint edges count as well
    taper = _taper()
    centered = (edges - float((edges * taper).sum() / taper.sum())) * taper
    size = float(np.sqrt((centered * centered).sum()))
    return np.asarray(np.fft.rfft2(centered / max(size, 1e-6)))


def _nearness(frame: NDArray[np.uint16], box: FaceBox) -> NDArray[np.float32] | None:
    """Return float32 [64, 64]: 1 at the face, 0 from 250 mm behind it on; None without depth."""
    middle, _ = _cut(frame, box, _MIDDLE)
    known = middle[middle > 0]
    if known.size == 0:
        return None
    part, pad = _cut(frame, box, _WINDOW)
    is_known = (part > 0).astype(np.float32)
    furthest = float(np.median(known)) + _BEHIND_MM
    near = np.clip((furthest - part.astype(np.float32)) / _BEHIND_MM, 0.0, 1.0) * is_known
    near, share = _square(near, pad), _square(is_known, pad)
    surface = near / np.maximum(share, 1e-6)
    missing = share < _LEAST_KNOWN
    # A small hole, as of glasses, takes the mean of what is around it; a large one is background
    # out of the sensor's reach.
    near, share = np.where(missing, 0.0, near), np.where(missing, 0.0, share)
    around = box_mean(share, _HOLE_PX)
    mean = box_mean(near, _HOLE_PX) / np.maximum(around, 1e-6)
    filled = np.where(around > 0.5, mean, 0.0)
    return np.where(missing, filled, surface).astype(np.float32)


def _cut(
    frame: NDArray[Any], box: FaceBox, share: float
) -> tuple[NDArray[Any], tuple[int, int, int, int]]:
    """Return the part of a frame around a face, and the rows and columns that lie outside.

    Args:
        frame: [H, W] or [H, W, 3].
        box: Face box in its pixels.
        share: Size of the part, in sizes of the box.

    Returns:
        A view of the frame; missing rows above and below, columns left and right.
    """
    height, width = frame.shape[:2]
    center_x, center_y = box.x + box.width / 2, box.y + box.height / 2
    half_x, half_y = max(share * box.width / 2, 1.0), max(share * box.height / 2, 1.0)
    left, right = round(center_x - half_x), round(center_x + half_x)
    top, bottom = round(center_y - half_y), round(center_y + half_y)
    pad = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    return frame[max(top, 0) : bottom, max(left, 0) : right], pad


def _square(part: NDArray[np.float32], pad: tuple[int, int, int, int]) -> NDArray[np.float32]:
    if any(pad):
        above, below, left, right = pad
        part = np.pad(part, ((above, below), (left, right)), mode="edge")
    return scaled(part, SIDE_PX, SIDE_PX)


@lru_cache
def _taper() -> NDArray[np.float32]:
    """Return float32 [64, 64]: 1 in the middle, falling to 0.3 over the outer fifths."""
    place = np.abs(np.linspace(-1.0, 1.0, SIDE_PX))
    side = np.cos(np.pi * np.clip(place - 0.6, 0.0, 0.4))
    return np.outer(side, side).astype(np.float32)


def _correlation(
    first: NDArray[np.complex128], second: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return the cross-correlation of two maps at every shift, no shift in the middle."""
    surface = np.fft.irfft2(first * second.conj(), s=(SIDE_PX, SIDE_PX))
    return np.asarray(np.fft.fftshift(surface))


def _margin(surface: NDArray[np.float64]) -> float:
    middle = SIDE_PX // 2
    near = slice(middle - _SAME_PX, middle + _SAME_PX + 1)
    reach = slice(middle - _FURTHEST_PX, middle + _FURTHEST_PX + 1)
    peak = float(surface[near, near].max())
    elsewhere = surface.copy()
    slope = slice(near.start - _BETWEEN_PX, near.stop + _BETWEEN_PX)
    elsewhere[slope, slope] = -np.inf
    return peak - float(elsewhere[reach, reach].max())

"""Resize by averaging areas, in 8 bits bit for bit what OpenCV's INTER_AREA does, in NumPy.

A pixel of the result is the mean of the area it covers, in float32 with every product and sum
rounded. Where an axis is enlarged there is no area to average: both axes are then interpolated,
with weights by how far the output's area reaches into the next sample. Two OpenCV releases, 4.10.0
and 5.0.0, were run and give the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fasdk.preprocess.resize import Taps, halved, interpolated

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EPSILON = np.finfo(np.float64).eps
_LEAST_PART = 1e-3  # of a pixel; less of it is left out


@dataclass(frozen=True, eq=False)
class _Spans:
    """The samples that each output of a shrunk axis averages.

    Attributes:
        indices: int64 [longest, to], sample by sample; where a span is shorter, any index.
        shares: float32 [longest, to], their shares; 0 where a span is shorter.
    """

    indices: NDArray[np.int64]
    shares: NDArray[np.float32]


def resize_area(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return the image at another size, as `cv2.resize` with INTER_AREA does.

    Args:
        image: uint8 [H, W] or [H, W, C], not empty.
        width: Width in pixels, at least 1.
        height: Height in pixels, at least 1.

    Returns:
        uint8 [height, width] or [height, width, C].
    """
    across, down = _scale(image.shape[1], width), _scale(image.shape[0], height)
    if image.shape[:2] == (height, width):
        return image
    if across < 1.0 or down < 1.0:
        return interpolated(
            image,
            enlarged_taps(image.shape[1], width, snap=True),
            enlarged_taps(image.shape[0], height, snap=False),
        )
    if _is_whole(across) and _is_whole(down):
        return _blocks(image, round(across), round(down))
    samples = image.reshape(*image.shape[:2], -1).astype(np.float32)
    columns, rows = _spans(image.shape[1], width), _spans(image.shape[0], height)
    lines = np.zeros((image.shape[0], width, samples.shape[2]), np.float32)
    for indices, shares in zip(columns.indices, columns.shares, strict=True):
        lines += samples[:, indices] * shares[:, None]
    mean = np.zeros((height, width, samples.shape[2]), np.float32)
    for indices, shares in zip(rows.indices, rows.shares, strict=True):
        mean += lines[indices] * shares[:, None, None]
    return _levels(mean).reshape(height, width, *image.shape[2:])


def area_mean(plane: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Return a plane at another size, as `cv2.resize` with INTER_AREA does up to rounding.

    Args:
        plane: float32 [H, W], not empty.
        width: Width in pixels, at least 1.
        height: Height in pixels, at least 1.
    """
    if plane.shape == (height, width):
        return plane
    across, down = _scale(plane.shape[1], width), _scale(plane.shape[0], height)
    if across == 2.0 and down == 2.0:  # quicker than by spans
        pairs = plane[::2] + plane[1::2]
        return np.asarray((pairs[:, ::2] + pairs[:, 1::2]) * np.float32(0.25), np.float32)
    is_enlarged = across < 1.0 or down < 1.0
    rows = _combined(plane, height, is_enlarged=is_enlarged)
    return np.ascontiguousarray(
        _combined(np.ascontiguousarray(rows.T), width, is_enlarged=is_enlarged).T
    )


def _combined(plane: NDArray[np.float32], to: int, *, is_enlarged: bool) -> NDArray[np.float32]:
    """Return float32 [to, W], the rows of a plane averaged, or interpolated."""
    size = plane.shape[0]
    if is_enlarged:
        taps = enlarged_taps(size, to, snap=True)
        share = taps.fraction[:, None]
        mixed = plane[taps.first] * (np.float32(1) - share) + plane[taps.second] * share
        return np.asarray(mixed, np.float32)
    spans = _spans(size, to)
    rows = np.zeros((to, plane.shape[1]), np.float32)
    for indices, shares in zip(spans.indices, spans.shares, strict=True):
        rows += plane[indices] * shares[:, None]
    return rows


def _scale(size: int, to: int) -> float:
    return 1.0 / (to / size)


def _is_whole(scale: float) -> bool:
    return bool(abs(scale - round(scale)) < _EPSILON)


def _levels(mean: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.minimum(np.rint(mean), 255).astype(np.uint8)


def _blocks(image: NDArray[np.uint8], across: int, down: int) -> NDArray[np.uint8]:
    """Return the mean of whole blocks."""
    if (across, down) == (2, 2):
        return halved(image)
    height, width = image.shape[0] // down, image.shape[1] // across
    blocks = image.reshape(height, down, width, across, *image.shape[2:])
    total = blocks.sum(axis=(1, 3), dtype=np.int64).astype(np.float32)
    return _levels(total * (np.float32(1) / np.float32(across * down)))


@lru_cache(maxsize=64)
def _spans(size: int, to: int) -> _Spans:
    spans = [_span(at, size, to) for at in range(to)]
    longest = max(len(span) for span in spans)
    indices = np.zeros((longest, to), np.int64)
    shares = np.zeros((longest, to), np.float32)
    for at, span in enumerate(spans):
        for place, (index, share) in enumerate(span):
            indices[place, at], shares[place, at] = index, share
    return _Spans(indices, shares)


def _span(at: int, size: int, to: int) -> list[tuple[int, float]]:
    """Return the samples of one output and their shares of it."""
    scale = _scale(size, to)
    start, end = at * scale, at * scale + scale
    area = min(scale, size - start)
    until = min(math.floor(end), size - 1)
    whole = min(math.ceil(start), until)
    span = [(index, 1.0 / area) for index in range(whole, until)]
    if whole - start > _LEAST_PART:
        span.insert(0, (whole - 1, (whole - start) / area))
    if end - until > _LEAST_PART:
        span.append((until, min(end - until, 1.0, area) / area))
    return span


@lru_cache(maxsize=64)
def enlarged_taps(size: int, to: int, *, snap: bool) -> Taps:
    """Return the taps of an axis where one of the two is enlarged; see `resize.axis_taps`."""
    inverse = to / size
    at = np.arange(to)
    index = np.floor(at * (1.0 / inverse)).astype(np.int32)
    reach = ((at + 1) - (index + 1) * inverse).astype(np.float32)
    fraction = np.where(reach <= 0, np.float32(0), reach - np.floor(reach))
    return Taps.between(index, fraction, size, snap=snap)

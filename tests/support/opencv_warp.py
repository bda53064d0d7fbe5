"""OpenCV's fixed-point interpolation of an affine transform, through remap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def fixed_point_warp(
    image: NDArray[np.uint8],
    to_image: Sequence[float],
    size: tuple[int, int],
    border: int = cv2.BORDER_CONSTANT,
    level: int = 0,
) -> NDArray[np.uint8]:
    """Return what `cv2.warpAffine` up to OpenCV 4.10 gives, by any OpenCV.

    It rounded a line's start and the way along it to 1024ths of a pixel, their sum to 32nds, and
    interpolated as `cv2.remap` still does with fixed-point maps.

    Args:
        image: uint8 [H, W] or [H, W, C].
        to_image: Six numbers: (x, y) of the result is seen at (a x + b y + c, d x + e y + f).
        size: (width, height) of the result.
        border: OpenCV's border type.
        level: Level of a constant border.
    """
    places: list[NDArray[Any]] = []
    for across, down, start in (to_image[:3], to_image[3:]):
        along = np.rint(across * np.arange(size[0]) * 1024.0)
        lines = np.rint((down * np.arange(size[1]) + start) * 1024.0)
        places.append((along[None, :] + lines[:, None]).astype(np.int64) + 16 >> 5)
    whole = np.clip(np.stack([place >> 5 for place in places], axis=2), -32768, 32767)
    parts = ((places[1] & 31) * 32 + (places[0] & 31)).astype(np.uint16)
    warped = cv2.remap(
        np.ascontiguousarray(image),
        whole.astype(np.int16),
        parts,
        cv2.INTER_LINEAR,
        borderMode=border,
        borderValue=(float(level),) * 4,
    )
    return np.asarray(warped, np.uint8)

"""Simulated faults of a sensor, on pictures as a model is given them.

They teach a fit what is no good picture. A fault that none of them resembles is left to the
distance from good pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]  # float [H, W, 3], levels from 0 to 255

_MOST = 255.0


def _blurred(picture: Picture, sigma_px: float) -> Picture:
    import cv2

    if sigma_px < 0.05:
        return picture
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma_px)
    return np.reshape(np.asarray(blurred, np.float32), picture.shape)


def _noise(picture: Picture, rng: np.random.Generator) -> Picture:
    # One plane of noise for three equal ones; a sensor's pixels may be smaller or larger than ours.
    planes = 1 if np.array_equal(picture[..., 0], picture[..., 1]) else 3
    grain = rng.standard_normal((*picture.shape[:2], planes)).astype(np.float32)
    grain = _blurred(grain, rng.uniform(0.0, 0.9))
    strength = float(np.exp(rng.uniform(np.log(5.0), np.log(45.0))))
    # No distance, no noise in it.
    return np.where(picture > 0, picture + grain / grain.std() * strength, picture)


def _blur(picture: Picture, rng: np.random.Generator) -> Picture:
    return _blurred(picture, rng.uniform(0.02, 0.06) * min(picture.shape[:2]))


def _veil(picture: Picture, rng: np.random.Generator) -> Picture:
    share, light = rng.uniform(0.25, 0.75), rng.uniform(90.0, 210.0)
    blurred = _blurred(picture, rng.uniform(0.0, 0.04) * min(picture.shape[:2]))
    return np.asarray((1.0 - share) * blurred + share * light)


def _brighter(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(picture * 2.0 ** rng.uniform(0.4, 2.2))


def _darker(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(picture * 2.0 ** -rng.uniform(0.6, 3.0))


def _offset(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.where(picture > 0, picture + rng.choice([-1, 1]) * rng.uniform(15, 90), 0.0)


def _shift(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    angle, far = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.1, 0.3)
    rows = np.arange(height) - int(far * height * np.sin(angle))
    columns = np.arange(width) - int(far * width * np.cos(angle))
    return np.asarray(picture[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)])


def _holes(picture: Picture, rng: np.random.Generator) -> Picture:
    grain = rng.standard_normal((*picture.shape[:2], 1)).astype(np.float32)
    grain = _blurred(grain, rng.uniform(0.5, 3.0))
    return np.where(grain < np.quantile(grain, rng.uniform(0.25, 0.9)), 0.0, picture)


def _black(picture: Picture, rng: np.random.Generator) -> Picture:
    tint = np.asarray(rng.uniform(0.3, 1.0, picture.shape[2]))
    if np.array_equal(picture[..., 0], picture[..., 1]):
        tint = np.full(picture.shape[2], tint[0])
    grain = rng.standard_normal((*picture.shape[:2], 1)) * rng.uniform(0.0, 3.0)
    seen = picture * rng.uniform(0.0, 0.15)
    return np.asarray(seen + tint * rng.uniform(0.0, 20.0) + grain)


_FAULTS: tuple[Callable[[Picture, np.random.Generator], Picture], ...] = (
    _noise,
    _blur,
    _veil,
    _brighter,
    _darker,
    _offset,
    _shift,
    _holes,
    _black,
)


def simulated_faults(
    picture: Picture, other: Picture | None, rng: np.random.Generator
) -> list[Picture]:
    """Return a picture with one fault after the other, each drawn anew.

    Args:
        picture: float32 [H, W, 3], levels from 0 to 255.
        other: What another sensor sees at the same time, in the same form, or None.
        rng: Source of the faults' strengths and noise.

    Returns:
        float32 [H, W, 3] each, whole levels from 0 to 255.
    """
    made = [fault(picture, rng) for fault in _FAULTS]
    if other is not None:
        made.append(other)
    return [np.rint(np.clip(one, 0.0, _MOST)).astype(np.float32) for one in made]

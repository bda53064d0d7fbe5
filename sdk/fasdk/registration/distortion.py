"""Lens distortion as OpenCV models it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MOST = 14  # coefficients


def distorted(
    x: NDArray[np.float64], y: NDArray[np.float64], coefficients: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where a lens puts points of the plane at depth 1.

    Source: OpenCV, "Camera Calibration and 3D Reconstruction", the pinhole model with radial,
    tangential and thin prism distortion and a tilted sensor.

    Args:
        x: [N], across.
        y: [N], down.
        coefficients: k1, k2, p1, p2[, k3[, k4, k5, k6[, s1, s2, s3, s4[, τx, τy]]]].
    """
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tilt_x, tilt_y = (
        *coefficients,
        *(0.0,) * (_MOST - len(coefficients)),
    )
    r2 = x * x + y * y
    r4 = r2 * r2
    r6 = r4 * r2
    radial = (1.0 + k1 * r2 + k2 * r4 + k3 * r6) / (1.0 + k4 * r2 + k5 * r4 + k6 * r6)
    product = 2.0 * x * y
    across = x * radial + p1 * product + p2 * (r2 + 2.0 * x * x) + s1 * r2 + s2 * r4
    down = y * radial + p1 * (r2 + 2.0 * y * y) + p2 * product + s3 * r2 + s4 * r4
    if tilt_x == 0.0 and tilt_y == 0.0:
        return across, down
    tilted = _tilt(tilt_x, tilt_y) @ np.stack([across, down, np.ones_like(across)])
    return tilted[0] / tilted[2], tilted[1] / tilted[2]


def _tilt(tilt_x: float, tilt_y: float) -> NDArray[np.float64]:
    """Return 3x3, the projection onto a sensor that is turned about both axes, in radians."""
    sin_x, cos_x, sin_y, cos_y = np.sin(tilt_x), np.cos(tilt_x), np.sin(tilt_y), np.cos(tilt_y)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cos_x, sin_x], [0.0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0.0, -sin_y], [0.0, 1.0, 0.0], [sin_y, 0.0, cos_y]])
    turn = about_y @ about_x
    flat = np.array([[turn[2, 2], 0.0, -turn[0, 2]], [0.0, turn[2, 2], -turn[1, 2]], [0, 0, 1.0]])
    return np.asarray(flat @ turn)

"""Lens distortion against OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fasdk.registration.optics import Lens

MODEL = (0.1, -0.2, 0.001, -0.0005, 0.05, 0.02, -0.01, 0.003, 1e-3, -2e-3, 5e-4, 1e-3, 0.02, -0.03)


@pytest.mark.parametrize("terms", [0, 4, 5, 8, 12, 14])
def test_points_are_projected_as_opencv_does(terms):
    points = np.random.default_rng(terms).uniform((-200, -150, 300), (200, 150, 900), (50, 3))
    lens = Lens(
        width_px=640,
        height_px=480,
        focal_x_px=455.0,
        focal_y_px=452.0,
        center_x_px=318.5,
        center_y_px=241.0,
        distortion=MODEL[:terms],
    )
    matrix = np.array([[455.0, 0.0, 318.5], [0.0, 452.0, 241.0], [0.0, 0.0, 1.0]])
    bent = np.array(MODEL[:terms]) if terms else None
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, bent)
    np.testing.assert_allclose(lens.project(points), expected[:, 0], rtol=1e-12, atol=1e-9)

"""Head pose: exact on the average head, and unknown without landmarks."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.quality.pose import FACE_MODEL_MM, head_angles


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return roll after yaw after pitch: yaw moves the nose right, pitch down, roll clockwise."""
    right, _ = cv2.Rodrigues(np.array([0.0, -math.radians(yaw), 0.0]))
    down, _ = cv2.Rodrigues(np.array([math.radians(pitch), 0.0, 0.0]))
    clockwise, _ = cv2.Rodrigues(np.array([0.0, 0.0, math.radians(roll)]))
    return clockwise @ right @ down


ANGLE = st.floats(-80.0, 80.0)


@given(yaw=ANGLE, pitch=ANGLE, roll=st.floats(-170.0, 170.0), scale=st.floats(0.2, 20.0))
def test_the_average_head_seen_from_afar_gives_its_angles_back(yaw, pitch, roll, scale):
    points = (FACE_MODEL_MM @ rotation(yaw, pitch, roll).T)[:, :2] * scale + (300.0, 200.0)
    found = head_angles(points)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, pitch, roll), abs=1e-6)


@pytest.mark.parametrize("yaw", [-35.0, -15.0, 0.0, 15.0, 35.0])
@pytest.mark.parametrize("pitch", [-25.0, 0.0, 25.0])
def test_half_a_meter_away_it_is_a_few_degrees_off(yaw, pitch):
    vector, _ = cv2.Rodrigues(rotation(yaw, pitch, 5.0))
    camera = np.array([[900.0, 0.0, 640.0], [0.0, 900.0, 360.0], [0.0, 0.0, 1.0]])
    points, _ = cv2.projectPoints(FACE_MODEL_MM, vector, np.array([0.0, 0.0, 500.0]), camera, None)
    found = head_angles(np.float32(points[:, 0]))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, pitch, 5.0), abs=7.0)


def test_the_signs_are_those_it_documents():
    frontal = FACE_MODEL_MM[:, :2]
    nose_right, nose_down, right_eye_up = frontal.copy(), frontal.copy(), frontal.copy()
    nose_right[2, 0] += 10.0
    nose_down[2, 1] += 10.0
    right_eye_up[0, 1] -= 10.0
    assert head_angles(nose_right).yaw > 5.0
    assert head_angles(nose_down).pitch > 5.0
    assert head_angles(right_eye_up).roll > 2.0


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.full((5, 2), 77.0),
        np.arange(5.0)[:, None] * [3.0, 0.0],  # on one line
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
    ],
)
def test_points_that_span_no_face_have_no_angles(points):
    with np.errstate(all="ignore"):
        found = head_angles(points)
    assert all(math.isnan(angle) for angle in (found.yaw, found.pitch, found.roll))

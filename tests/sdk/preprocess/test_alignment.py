"""Alignment by landmarks: the transform against scikit-image's, and landmarks that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from fasdk.errors import PreprocessError
from fasdk.preprocess import Border
from fasdk.preprocess.alignment import Alignment, aligned, alignment_of, inverse_of, similarity
from fasdk.preprocess.spec import INSIGHTFACE_112

FACE = np.array(INSIGHTFACE_112)


def points_of(array: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in array]


@pytest.mark.parametrize("used", [5, 2])
def test_the_transform_is_the_one_of_umeyamas_method(used):
    rng = np.random.default_rng(1)
    for _ in range(300):
        angle, scale = rng.uniform(-3.2, 3.2), np.exp(rng.uniform(-1.5, 1.5))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        noise = rng.normal(0, 3 * scale, (5, 2))
        found = (FACE @ turn.T + rng.uniform(-500, 500, 2) + noise)[:used]
        expected = SimilarityTransform.from_estimate(found, FACE[:used]).params[:2].ravel()
        own = similarity(points_of(found), points_of(FACE[:used]))
        assert own == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_inverse_undoes_the_transform():
    matrix = similarity(points_of(FACE * 2.0 + 7.0), points_of(FACE))
    both = np.vstack([np.reshape(matrix, (2, 3)), [0, 0, 1]])
    back = np.vstack([np.reshape(inverse_of(matrix), (2, 3)), [0, 0, 1]])
    assert both @ back == pytest.approx(np.eye(3), abs=1e-12)


@pytest.mark.parametrize("right_angles", [0, 1, 2, 3])
def test_whole_pixels_are_copied(right_angles):
    image = np.random.default_rng(2).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    turn = [(1, 0), (0, 1), (-1, 0), (0, -1)][right_angles]
    a, d = turn
    alignment = Alignment((float(a), float(-d), 30.0, float(d), float(a), 25.0))
    found = aligned(image, alignment, (9, 7), Border.CONSTANT, 0)
    for x, y in ((0, 0), (8, 6), (3, 5)):
        assert (found[y, x] == image[d * x + a * y + 25, a * x - d * y + 30]).all()


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 100.0),  # one point
        FACE[[1, 0, 2, 4, 3]],  # the other eye first, as in a mirror
        FACE * (-1.0, 1.0),
        np.array([(10.0, 50.0), (90.0, 50.0), (10.0, 50.0), (90.0, 50.0), (10.0, 50.0)]),
    ],
)
def test_landmarks_that_are_no_face_are_refused(landmarks):
    with pytest.raises(PreprocessError, match="do not lie as a face's do: give the person's right"):
        alignment_of((640, 480), landmarks.astype(np.float32), INSIGHTFACE_112, (112, 112))


@pytest.mark.parametrize("yaw_deg", [0, 30, 60, 75])
def test_a_turned_head_is_aligned(yaw_deg):
    turned = (FACE - FACE.mean(axis=0)) * (np.cos(np.deg2rad(yaw_deg)), 1.0) + (300, 200)
    alignment = alignment_of((640, 480), turned.astype(np.float32), INSIGHTFACE_112, (112, 112))
    assert np.isfinite(alignment.to_frame).all()


def test_landmarks_far_outside_the_frame_are_refused():
    for landmarks in (FACE + 6e5, FACE * 1e5):
        with pytest.raises(PreprocessError, match="over 524288 pixels from the frame"):
            alignment_of((640, 480), landmarks.astype(np.float32), INSIGHTFACE_112, (112, 112))


def test_a_frame_longer_than_opencv_takes_is_refused():
    with pytest.raises(PreprocessError, match="at most 32767 a side"):
        alignment_of((32768, 8), FACE.astype(np.float32), INSIGHTFACE_112, (112, 112))

"""Planes of frames on NumPy against OpenCV, and where OpenCV cannot be imported."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from fasdk.capture import FaceBox
from fasdk.preprocess.area import area_mean
from fasdk.quality import planes
from fasdk.quality.agreement import margins
from fasdk.quality.exposure import face_light
from fasdk_calibration.synthetic import Species, Split, generate


@pytest.fixture
def without_opencv(monkeypatch):
    monkeypatch.setattr(planes, "opencv", lambda: None)


def plane(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def test_every_luma_is_opencv_s_bit_for_bit(without_opencv):
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 52, 3)
    np.testing.assert_array_equal(planes.gray(colors), cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY))
    np.testing.assert_array_equal(planes.gray(colors[..., 0]), colors[..., 0])


@pytest.mark.parametrize(
    ("height", "width"),
    [(128, 128), (200, 131), (64, 64), (64, 90), (40, 30), (30, 200), (200, 30), (1, 1), (1, 300)],
)
def test_a_scaled_plane_is_opencv_s_up_to_rounding(height, width):
    source = plane((height, width))
    expected = cv2.resize(source, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area_mean(source, 64, 64), expected, rtol=1e-4, atol=1e-3)


def test_a_halved_plane_is_opencv_s_up_to_rounding():
    source = plane((300, 420))[:, 10:410]
    expected = cv2.resize(source, (200, 150), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area_mean(source, 200, 150), expected, rtol=1e-6)


def test_the_filters_are_opencv_s_up_to_rounding():
    source = plane((64, 64))
    close = {"rtol": 1e-4, "atol": 1e-2}
    np.testing.assert_allclose(
        planes.smoothed(source), cv2.GaussianBlur(source, (0, 0), 1.0), **close
    )
    across, down = planes.gradients(source)
    np.testing.assert_allclose(across, cv2.Sobel(source, cv2.CV_32F, 1, 0), **close)
    np.testing.assert_allclose(down, cv2.Sobel(source, cv2.CV_32F, 0, 1), **close)
    np.testing.assert_allclose(planes.box_mean(source, 5), cv2.blur(source, (5, 5)), **close)
    np.testing.assert_allclose(
        planes.laplacian(source), cv2.Laplacian(source, cv2.CV_32F, ksize=1), **close
    )


@pytest.mark.parametrize("species", [Species.BONA_FIDE, Species.PRINT_FLAT])
def test_measurements_of_a_capture_are_the_same_without_opencv(monkeypatch, species):
    capture = generate(4, 5, Split.HELD_OUT, species=species).capture
    assert planes.opencv() is cv2
    light, agreement = face_light(capture.rgb, FaceBox.of(capture.face)), margins(capture)
    monkeypatch.setattr(planes, "opencv", lambda: None)
    found = face_light(capture.rgb, FaceBox.of(capture.face))
    assert (found.highlight, found.upper_quartile) == (light.highlight, light.upper_quartile)
    assert found.sharpness == pytest.approx(light.sharpness, rel=1e-4)
    assert margins(capture) == pytest.approx(agreement, abs=1e-3)


def test_an_opencv_that_cannot_be_imported_is_not_used(monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('compiled for another NumPy')")
    monkeypatch.delitem(sys.modules, "cv2")
    monkeypatch.syspath_prepend(tmp_path)
    assert planes.opencv.__wrapped__() is None

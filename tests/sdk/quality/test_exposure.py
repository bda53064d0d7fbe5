"""Exposure measurements of a face against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasdk.capture import FaceBox
from fasdk.quality.exposure import (
    FaceDepth,
    face_depth,
    face_light,
    middle_of,
    saturated_share,
    spans_at_most,
)

# A middle of 64x64 pixels, so that nothing is scaled.
FACE = FaceBox(20, 30, 91, 91)


def noise(seed: int, high: int = 256, shape=(160, 140), dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


@given(st.integers(0, 400), st.integers(0, 300), st.integers(1, 300), st.integers(1, 300))
def test_the_middle_lies_in_the_ellipse_the_box_encloses(x, y, width, height):
    rows, columns = np.indices((600, 700))
    box = FaceBox(x, y, width, height)
    middle_y, middle_x = (middle_of(index, box) for index in (rows, columns))
    across = (middle_x - (x + width / 2 - 0.5)) / (width / 2)
    down = (middle_y - (y + height / 2 - 0.5)) / (height / 2)
    assert middle_x.size > 0
    # But for what rounding to whole pixels moves it by.
    assert (across**2 + down**2).max() <= (1 + 1 / width + 1 / height) ** 2
    assert middle_x.shape[1] == max(1, round(width / np.sqrt(2)))
    assert middle_x.shape[0] == max(1, round(height / np.sqrt(2)))


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_and_sharpness_are_their_definitions(seed):
    frame = noise(seed, 40 * (seed + 1))
    found = face_light(frame, FACE)
    middle = middle_of(frame, FACE)
    assert middle.shape == (64, 64)
    assert found.highlight == np.percentile(middle, 95, method="inverted_cdf")
    assert found.upper_quartile == np.percentile(middle, 75, method="inverted_cdf")
    around = np.pad(middle.astype(np.float64), 1, mode="reflect")
    laplacian = (
        around[:-2, 1:-1]
        + around[2:, 1:-1]
        + around[1:-1, :-2]
        + around[1:-1, 2:]
        - 4 * around[1:-1, 1:-1]
    )
    expected = laplacian.var() * (128 / middle.mean()) ** 2
    assert found.sharpness == pytest.approx(expected, rel=1e-4)


def test_luma_is_bt_601_red_first():
    frame = np.zeros((160, 140, 3), np.uint8)
    for channel, level in enumerate((76, 150, 29)):
        pure = frame.copy()
        pure[..., channel] = 255
        assert face_light(pure, FACE).highlight == level


def test_scaling_down_averages_every_pixel():
    """Four times as large and with stripes as fine as can be, the face is one gray."""
    frame = np.zeros((640, 560), np.uint8)
    frame[:, ::2] = 200
    found = face_light(frame, FaceBox(80, 120, 362, 362))
    assert (found.highlight, found.upper_quartile) == (100, 100)
    assert found.sharpness == pytest.approx(0.0, abs=1e-6)


@given(st.integers(64, 600), st.integers(64, 600))
def test_a_face_s_size_does_not_change_its_light(width, height):
    ramp = np.linspace(40, 200, width)[None, :].repeat(height, axis=0)
    found = face_light(np.rint(ramp).astype(np.uint8), FaceBox(0, 0, width, height))
    # The middle of the ramp: 120 +- 80/sqrt(2), of which 95 % and 75 % lie below these.
    assert found.highlight == pytest.approx(120 + 0.90 * 56.6, abs=3)
    assert found.upper_quartile == pytest.approx(120 + 0.50 * 56.6, abs=3)


def test_black_is_neither_sharp_nor_an_error():
    found = face_light(np.zeros((160, 140), np.uint8), FACE)
    assert (found.highlight, found.sharpness) == (0, 0.0)


def test_saturation_is_counted_from_250_on_every_pixel():
    frame = np.full((160, 140), 249, np.uint8)
    assert saturated_share(frame, FACE) == 0.0
    middle_of(frame, FACE).flat[:1024] = 250
    assert saturated_share(frame, FACE) == 0.25


def test_depth_is_the_share_of_holes_and_the_median_of_the_rest():
    frame = noise(3, 1000, dtype=np.uint16) + 300
    middle = middle_of(frame, FACE)
    middle.flat[::4] = 0
    expected = FaceDepth(0.25, float(np.median(middle[middle > 0])))
    assert face_depth(frame, FACE) == expected


def test_a_large_face_s_median_comes_from_a_grid():
    frame = noise(4, 200, (900, 900), np.uint16) + 500
    box = FaceBox(0, 0, 900, 900)
    found = face_depth(frame, box)
    grid = middle_of(frame, box)[::10, ::10]  # 636 pixels a side: every tenth, 64 of them
    assert found == FaceDepth(0.0, float(np.median(grid)))


def test_the_few_distances_a_grid_misses_still_count():
    frame = np.zeros((900, 900), np.uint16)
    box = FaceBox(0, 0, 900, 900)
    middle_of(frame, box)[1, 1] = 640
    found = face_depth(frame, box)
    assert found.median_mm == 640.0
    assert 0.9999 < found.hole_share < 1.0
    assert face_depth(np.zeros((160, 140), np.uint16), FACE) == FaceDepth(1.0, None)


@pytest.mark.parametrize("shape", [(100, 130), (100, 130, 3), (1, 1), (3, 40, 3)])
def test_frame_with_one_odd_pixel_is_not_blank(shape):
    frame = np.full(shape, 7, np.uint8)
    assert spans_at_most(frame, 0)
    frame[-1, -1] = 10
    assert not spans_at_most(frame, 2) or frame.size <= 3
    assert spans_at_most(frame, 3)


def test_each_channel_is_judged_alone():
    frame = np.zeros((50, 60, 3), np.uint8) + np.uint8([0, 90, 255])
    assert spans_at_most(frame, 0)
    frame[20, 21, 2] = 252
    assert not spans_at_most(frame, 2)


def test_distances_may_span_all_of_16_bits():
    frame = np.zeros((50, 60), np.uint16)
    frame[0, 0] = 65535
    assert not spans_at_most(frame, 2)

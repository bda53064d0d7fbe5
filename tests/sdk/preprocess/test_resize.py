"""Bilinear resize: 16 bits against OpenCV, channel counts, refused input."""

from __future__ import annotations

import platform

import cv2
import numpy as np
import pytest

from fasdk.errors import PreprocessError
from fasdk.preprocess.native import Implementation, native_module
from fasdk.preprocess.resize import resize_bilinear

from support.requirements import Requirement

native_built = Requirement.NATIVE.mark(
    "fasdk._native was not built", lacking=native_module() is None
)


def random_16_bit(seed: int, count: int) -> list[tuple[np.ndarray, int, int]]:
    """Return images and sizes: halved, doubled, the same and any; 1, 3 and 4 channels."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(count):
        height, width, to_height, to_width = (int(v) for v in rng.integers(1, 70, 4))
        if number % 4 == 0:
            height, width = 2 * to_height, 2 * to_width
        elif number % 4 == 1:
            to_height, to_width = 2 * height, 2 * width
        elif number % 4 == 2 and number % 8 == 2:
            to_height, to_width = height, width
        channels = (1, 3, 4)[number % 3]
        shape = (height, width) if channels == 1 else (height, width, channels)
        image = rng.integers(0, 65536, shape).astype(np.uint16)
        cases.append((image[::-1] if number % 5 == 0 else image, to_width, to_height))
    return cases


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenCV's own paths differ by machine")
def test_16_bits_lie_within_two_units_of_opencv():
    worst = 0
    for image, width, height in random_16_bit(seed=1, count=2000):
        expected = cv2.resize(
            np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR
        )
        found = resize_bilinear(image, width, height)
        assert found.dtype == np.uint16
        error = np.abs(found.astype(int) - expected.reshape(found.shape).astype(int))
        worst = max(worst, int(error.max()))
    assert worst <= 2


@native_built
def test_both_implementations_give_the_same_16_bits():
    for image, width, height in random_16_bit(seed=2, count=600):
        native, fallback = (resize_bilinear(image, width, height, using=u) for u in Implementation)
        assert np.array_equal(native, fallback)


def test_the_largest_16_bit_sample_stays_the_largest():
    image = np.full((7, 5), 65535, np.uint16)
    assert (resize_bilinear(image, 61, 43) == 65535).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_number_of_channels_is_resized_each_alone(dtype):
    image = np.random.default_rng(3).integers(0, 256, (9, 12, 5)).astype(dtype)
    resized = resize_bilinear(image, 7, 5)
    for channel in range(5):
        assert np.array_equal(resized[..., channel], resize_bilinear(image[..., channel], 7, 5))
    with pytest.raises(PreprocessError, match="takes 1, 3 or 4 channels"):
        resize_bilinear(image, 7, 5, using=Implementation.NATIVE)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((4, 4), np.float32), r"image is float32 \[4, 4\]: expected uint8 or uint16"),
        (np.zeros(4, np.uint8), r"expected uint8 or uint16 \[H, W\]"),
        (np.zeros((0, 4), np.uint8), r"image is uint8 \[0, 4\]"),
    ],
)
def test_resize_refuses_an_array_that_is_not_an_image(image, complaint):
    with pytest.raises(PreprocessError, match=complaint):
        resize_bilinear(image, 3, 3)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(PreprocessError, match="cannot resize to 0x3: give at least 1x1"):
        resize_bilinear(np.zeros((4, 4), np.uint8), 0, 3)

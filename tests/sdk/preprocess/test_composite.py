"""HOG and PLGF maps against scikit-image, SciPy and Pillow, level by level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fasdk.errors import PreprocessError
from fasdk.preprocess.composite import hog_map, plgf_map
from fasdk.preprocess.native import Implementation, native_module

from support import published_maps
from support.requirements import Requirement


def drawn(name: str, gray: np.ndarray, using: Implementation) -> np.ndarray:
    if using is Implementation.NUMPY:
        return {"hog_map": hog_map, "plgf_map": plgf_map}[name](gray)
    module = native_module()
    if module is None:
        Requirement.NATIVE.skip("fasdk._native was not built")
    maps = []
    for tier in module.TIERS:
        maps.append(np.full(gray.shape, 77, np.uint8))
        getattr(module, name)(gray, maps[-1], tier)
    assert all(np.array_equal(maps[0], other) for other in maps)
    return maps[0]


def images(seed: int, count: int) -> list[np.ndarray]:
    """Return noise, dark noise, smooth views with sensor noise and flat patches, of many sizes."""
    rng = np.random.default_rng(seed)
    made: list[Any] = []
    for number in range(count):
        height, width = (int(v) for v in rng.integers(16, 90, 2))
        y, x = np.mgrid[0:height, 0:width]
        if number % 4 == 0:
            made.append(rng.integers(0, 256, (height, width)))
        elif number % 4 == 1:
            made.append(rng.integers(0, 3, (height, width)) * int(rng.integers(1, 128)))
        elif number % 4 == 2:
            wave = np.sin(x / rng.uniform(2, 20)) * np.cos(y / rng.uniform(2, 20))
            noise = rng.normal(0, rng.uniform(0, 5), (height, width))
            made.append(np.clip(127 + 120 * wave + noise, 0, 255))
        else:
            flat = np.full((height, width), int(rng.integers(0, 256)))
            flat[height // 3 : height // 2, width // 3 : width // 2] = int(rng.integers(0, 256))
            made.append(flat)
    return [np.asarray(image, np.uint8) for image in made]


def differing_levels(name: str, using: Implementation, seed: int, count: int) -> int:
    published = getattr(published_maps, name)
    return sum(
        int((drawn(name, image, using) != published(image)).sum()) for image in images(seed, count)
    )


@pytest.mark.parametrize("using", Implementation)
@pytest.mark.parametrize("name", ["hog_map", "plgf_map"])
def test_every_level_is_the_published_one(name, using):
    assert differing_levels(name, using, seed=1, count=160) == 0


@pytest.mark.slow
@pytest.mark.parametrize("using", Implementation)
@pytest.mark.parametrize("name", ["hog_map", "plgf_map"])
def test_ten_million_levels_are_the_published_ones(name, using):
    assert differing_levels(name, using, seed=2, count=3600) == 0


@pytest.mark.parametrize("using", Implementation)
def test_every_gradient_counts_in_scikit_images_bin(using):
    # A pixel among equals has the gradient (across, down) that its four neighbors give it.
    rng = np.random.default_rng(3)
    for across, down in [(0, 9), (9, 0), (-9, 0), (0, -9), (255, 1), (-255, 1), (255, -1), (5, 5)]:
        gray = np.full((16, 16), 128, np.int32)
        for y, x in ((4, 4), (11, 12)):
            gray[y, x - 1 : x + 2 : 2] = (128 - across // 2, 128 + across - across // 2)
            gray[y - 1 : y + 2 : 2, x] = (128 - down // 2, 128 + down - down // 2)
        gray += rng.integers(0, 2, gray.shape)
        image = np.clip(gray, 0, 255).astype(np.uint8)
        assert np.array_equal(drawn("hog_map", image, using), published_maps.hog_map(image))


@pytest.mark.parametrize("using", Implementation)
@pytest.mark.parametrize("name", ["hog_map", "plgf_map"])
def test_strided_views_are_drawn_as_their_copies(name, using):
    frame = np.random.default_rng(4).integers(0, 256, (90, 80)).astype(np.uint8)
    for view in (frame[::-1, ::2], frame.T[3:40], frame[::2, ::-1]):
        expected = drawn(name, np.ascontiguousarray(view), using)
        assert np.array_equal(drawn(name, view, using), expected)


@pytest.mark.parametrize("name", ["hog_map", "plgf_map"])
@pytest.mark.parametrize("shape", [(15, 16), (16, 15), (1, 1)])
def test_less_than_a_block_of_cells_is_refused(name, shape):
    with pytest.raises(PreprocessError, match="needs at least 16x16"):
        drawn(name, np.zeros(shape, np.uint8), Implementation.NUMPY)


def test_the_bins_are_exact_for_every_gradient_of_8_bit_levels():
    # What `hog_bin` in C++ computes in single precision, against the angles themselves.
    steps = np.arange(-255, 256)
    down, across = np.meshgrid(steps, steps, indexing="ij")
    turned = (down < 0) | ((down == 0) & (across < 0))
    x = np.where(turned, -across, across).astype(np.float32)
    y = np.where(turned, -down, down).astype(np.float32)
    angles = np.deg2rad([20, 40, 60, 80, 160, 140, 120, 100])
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    bins = sum((y * c >= x * s).astype(int) for c, s in zip(cosines, sines, strict=True))
    degrees = np.rad2deg(np.arctan2(down, across)) % 180
    moving = (down != 0) | (across != 0)
    assert np.array_equal(bins[moving], (degrees // 20).astype(int)[moving])
    # And no gradient is so near a boundary that rounding could move it across.
    exact = np.abs(np.sin(np.deg2rad(degrees[moving][:, None] - np.arange(20, 180, 20))))
    length = np.hypot(down, across)[moving][:, None]
    assert (exact * length).min() > 10 * np.finfo(np.float32).eps * 360

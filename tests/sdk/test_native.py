"""Both implementations against OpenCV, bit by bit, and the edges of the native module."""

from __future__ import annotations

import platform
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from fasdk.preprocess import (
    ChannelOrder,
    DepthEncoding,
    Implementation,
    PreprocessSpec,
    depth_to_8bit,
    implementation,
    to_tensor,
)
from fasdk.resize import resize_bilinear

on_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="OpenCV resizes one channel differently elsewhere"
)


@pytest.fixture(scope="module")
def native_built() -> None:
    if implementation() is not Implementation.NATIVE:
        pytest.skip("fasdk._native was not built: a C++17 compiler and a reinstall build it")


@pytest.fixture(scope="module")
def native(native_built: None) -> Any:
    from fasdk import _native

    return _native


@dataclass(frozen=True)
class Case:
    frame: np.ndarray
    spec: PreprocessSpec


def random_case(rng: np.random.Generator, number: int) -> Case:
    """Draw one of six size relations, three kinds of frame, any strides and any normalisation."""
    limit = 60 if number % 6 < 3 else 260
    width, height, to_width, to_height = (int(v) for v in rng.integers(1, limit, 4))
    if number % 6 == 0:  # halved, which OpenCV averages
        to_width, to_height = max(1, width // 2), max(1, height // 2)
        width, height = 2 * to_width, 2 * to_height
    elif number % 6 == 1:
        to_width, to_height = 2 * width, 2 * height
    elif number % 6 == 2:
        to_width, to_height = width, height
    elif number % 6 == 3:
        to_width = to_height = 80
    kind = number % 3
    shape = (height, width, 3) if kind == 0 else (height, width)
    dtype = np.uint16 if kind == 1 else np.uint8
    frame = rng.integers(0, 2500 if kind == 1 else 256, shape).astype(dtype)
    steps = [slice(None, None, int(s)) for s in rng.choice([1, -1], frame.ndim)]
    if rng.random() < 0.3:
        frame = np.asfortranarray(frame)
    return Case(
        frame[tuple(steps)],
        PreprocessSpec(
            width=to_width,
            height=to_height,
            crop="frame",
            channel_order=str(rng.choice(["rgb", "bgr"])),
            mean=tuple(rng.uniform(0, 255, 3)),
            std=tuple(rng.uniform(1, 255, 3)),
            depth=DepthEncoding(near_mm=400, far_mm=2000, polarity="near-bright")
            if kind == 1
            else None,
        ),
    )


def as_opencv_does(case: Case) -> np.ndarray:
    spec = case.spec
    frame = depth_to_8bit(case.frame, spec.depth) if spec.depth else case.frame
    resized = cv2.resize(
        np.ascontiguousarray(frame), (spec.width, spec.height), interpolation=cv2.INTER_LINEAR
    )
    colour = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB) if resized.ndim == 2 else resized
    if spec.channel_order is ChannelOrder.BGR:
        colour = colour[..., ::-1]
    mean, std = np.float32(spec.mean), np.float32(spec.std)
    return ((colour.astype(np.float32) - mean) / std).transpose(2, 0, 1)


def differing(seed: int, cases: int, using: Implementation) -> list[int]:
    rng = np.random.default_rng(seed)
    return [
        number
        for number in range(cases)
        if (case := random_case(rng, number))
        and to_tensor(case.frame, None, case.spec, using=using).tobytes()
        != as_opencv_does(case).tobytes()
    ]


@on_x86
@pytest.mark.parametrize("using", Implementation)
def test_tensors_equal_opencv_bit_for_bit(using, native_built):
    assert differing(seed=1, cases=1500, using=using) == []


@on_x86
@pytest.mark.slow
@pytest.mark.parametrize("using", Implementation)
def test_ten_thousand_more_tensors_equal_opencv_bit_for_bit(using, native_built):
    assert differing(seed=2, cases=10_000, using=using) == []


def test_both_implementations_agree_inside_every_crop(native):
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    spec = PreprocessSpec(width=31, height=29, crop="frame", mean=(1, 2, 3), std=(4, 5, 6))
    for _ in range(300):
        left, right = sorted(int(v) for v in rng.integers(0, 120, 2))
        top, bottom = sorted(int(v) for v in rng.integers(0, 90, 2))
        out = np.empty((3, 29, 31), np.float32)
        native.image_to_tensor(frame, (left, top, right, bottom), spec.table, out, swap=False)
        region = frame[top : bottom + 1, left : right + 1]
        expected = to_tensor(region, None, spec, using=Implementation.NUMPY)
        assert out.tobytes() == expected.tobytes()


@on_x86
@given(
    st_numpy.arrays(np.uint8, st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_the_resize_equals_opencv_on_adversarial_images(image, width, height):
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_bilinear(image, width, height), expected)


def test_an_extreme_shrink_and_an_extreme_enlargement_agree(native):
    rng = np.random.default_rng(4)
    for shape, size in [((1080, 1920, 3), (1, 1)), ((1, 1, 3), (300, 200)), ((2, 900), (7, 640))]:
        frame = rng.integers(0, 256, shape).astype(np.uint8)
        spec = PreprocessSpec(
            width=size[0], height=size[1], crop="frame", mean=(0, 0, 0), std=(1, 1, 1)
        )
        tensors = [to_tensor(frame, None, spec, using=u).tobytes() for u in Implementation]
        assert tensors[0] == tensors[1]


def arguments(**changes: Any) -> dict[str, Any]:
    return {
        "frame": np.zeros((40, 50, 3), np.uint8),
        "region": (0, 0, 49, 39),
        "table": np.zeros((3, 256), np.float32),
        "out": np.zeros((3, 8, 8), np.float32),
        "swap": False,
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"frame": np.zeros((40, 50, 3), np.int8)},
        {"frame": np.zeros((40, 50, 2), np.uint8)},
        {"frame": np.zeros(2000, np.uint8)},
        {"frame": np.zeros((0, 50, 3), np.uint8)},
        {"frame": [[0] * 50] * 40},
        {"region": (0, 0, 50, 39)},
        {"region": (0, 0, 49, 40)},
        {"region": (-1, 0, 49, 39)},
        {"region": (0, -1, 49, 39)},
        {"region": (9, 0, 8, 39)},
        {"region": (0, 9, 49, 8)},
        {"region": (0, 0, 2**40, 39)},
        {"table": np.zeros((3, 255), np.float32)},
        {"table": np.zeros((3, 256))},
        {"out": np.zeros((3, 8, 8))},
        {"out": np.zeros((1, 8, 8), np.float32)},
        {"out": np.zeros((3, 0, 8), np.float32)},
        {"out": np.zeros((3, 8, 16), np.float32)[:, :, ::2]},
        {"out": np.broadcast_to(np.float32(0), (3, 8, 8))},  # read-only
    ],
)
def test_the_native_module_refuses_what_it_would_have_to_read_or_write_wrongly(native, changes):
    with pytest.raises((TypeError, ValueError)):
        native.image_to_tensor(**arguments(**changes))


def test_the_native_module_refuses_a_short_table_of_depth_levels(native):
    frame, table = np.zeros((4, 4), np.uint16), np.zeros((3, 256), np.float32)
    with pytest.raises(TypeError):
        native.depth_to_tensor(
            frame, (0, 0, 3, 3), np.zeros(255, np.uint8), table, np.zeros((3, 2, 2), np.float32)
        )


def test_read_only_frames_are_accepted(native):
    frame = np.full((40, 50, 3), 7, np.uint8)
    frame.setflags(write=False)
    table = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    table.setflags(write=False)
    taken = arguments(frame=frame, table=table)
    native.image_to_tensor(**taken)
    assert (taken["out"] == 7).all()


def test_the_pass_leaves_the_gil_to_others(native):
    # With no forced switches, this thread runs again before the worker is done only if the native
    # pass itself let go. Passes of milliseconds, so that a busy machine has time to run it.
    frame, out = np.zeros((2000, 2000, 3), np.uint8), np.zeros((3, 1000, 999), np.float32)
    call = arguments(frame=frame, region=(0, 0, 1999, 1999), out=out)
    passes, done = 60, []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        worker = threading.Thread(
            target=lambda: [done.append(native.image_to_tensor(**call)) for _ in range(passes)]
        )
        worker.start()
        seen = len(done)
        worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(done) == passes
    assert seen < passes


def test_threads_do_not_disturb_each_other(native_built):
    cases = [random_case(np.random.default_rng(seed), seed) for seed in range(40)]

    def tensors() -> list[bytes]:
        return [to_tensor(c.frame, None, c.spec).tobytes() for c in cases]

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(tensors) for _ in range(8)]
        expected = tensors()
        assert all(result.result() == expected for result in results)


def test_a_machine_with_a_compiler_has_the_native_pass():
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler, so the native pass is rightly absent")
    assert implementation() is Implementation.NATIVE

"""Native and NumPy preprocessing against OpenCV, bit for bit."""

from __future__ import annotations

import platform
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from fasdk.capture import FaceBox
from fasdk.preprocess import (
    ChannelOrder,
    CropRule,
    DepthEncoding,
    Implementation,
    PreprocessSpec,
    depth_to_8bit,
    implementation,
    to_tensor,
)
from fasdk.preprocess.native import native_module
from fasdk.preprocess.resize import resize_bilinear
from fasdk.preprocess.spec import depth_levels

from support.requirements import Requirement

DEPTH = DepthEncoding(near_mm=400, far_mm=2000, polarity="near-bright")

on_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="OpenCV resizes one channel differently elsewhere"
)


@pytest.fixture(scope="module")
def native_built() -> None:
    if implementation() is not Implementation.NATIVE:
        Requirement.NATIVE.skip("fasdk._native was not built")


@pytest.fixture(scope="module")
def native(native_built: None) -> Any:
    from fasdk import _native

    return _native


class Kind(Enum):
    COLOR = "rgb"
    DEPTH = "depth"
    GRAY = "ir"
    FOUR_CHANNELS = "resize alone"


@dataclass(frozen=True)
class Case:
    kind: Kind
    frame: np.ndarray
    face: FaceBox
    spec: PreprocessSpec


def random_case(rng: np.random.Generator, number: int) -> Case:
    """Draw one of six size relations, four kinds of frame, any crop, strides and normalization."""
    relation, kind = number % 6, list(Kind)[number // 6 % 4]
    limit = 40 if relation < 3 else 130
    width, height, to_width, to_height = (int(v) for v in rng.integers(1, limit, 4))
    if relation == 0:  # halved, which OpenCV averages
        width, height = 2 * to_width, 2 * to_height
    elif relation == 1:
        to_width, to_height = 2 * width, 2 * height
    elif relation == 2:
        to_width, to_height = width, height
    elif relation == 3:
        to_width = to_height = 80
    left, top, right, bottom = (int(v) * (rng.random() < 0.5) for v in rng.integers(0, 9, 4))
    shape: tuple[int, ...] = (height + top + bottom, width + left + right)
    if kind in (Kind.COLOR, Kind.FOUR_CHANNELS):
        shape += (3,) if kind is Kind.COLOR else (4,)
    # A view into a larger frame: every other pixel, backwards, columns before rows, or as it is.
    steps = tuple(int(s) for s in rng.choice([1, -1, 2, -2], len(shape), p=[0.5, 0.3, 0.1, 0.1]))
    stored = tuple(abs(step) * size for step, size in zip(steps, shape, strict=True))
    order = "F" if rng.random() < 0.2 else "C"
    drawn = rng.integers(0, 2500 if kind is Kind.DEPTH else 256, stored)
    frame = np.asarray(drawn, np.uint16 if kind is Kind.DEPTH else np.uint8, order=order)
    frame = frame[tuple(slice(None, None, step) for step in steps)]
    assert frame.shape == shape
    std = (128.0, 64.0, -0.5) if rng.random() < 0.3 else tuple(rng.uniform(1, 255, 3))
    return Case(
        kind,
        frame,
        FaceBox(left, top, width, height),
        PreprocessSpec(
            width=to_width,
            height=to_height,
            crop="face",
            channel_order=str(rng.choice(["rgb", "bgr"])),
            mean=tuple(rng.uniform(0, 255, 3)),
            std=std,
            depth=DEPTH if kind is Kind.DEPTH else None,
        ),
    )


def tensor_of(case: Case, using: Implementation, tier: str = "") -> np.ndarray:
    """Return the face's tensor; or the resized face alone, for four channels."""
    spec, face = case.spec, case.face
    region = (face.x, face.y, face.x + face.width - 1, face.y + face.height - 1)
    part = case.frame[region[1] : region[3] + 1, region[0] : region[2] + 1]
    if case.kind is Kind.FOUR_CHANNELS:
        if using is Implementation.NATIVE:
            resized = np.empty((spec.height, spec.width, 4), np.uint8)
            native_module().resize_8(part, resized, tier)
            return resized
        return resize_bilinear(part, spec.width, spec.height, using=using)
    whole = spec.model_copy(update={"crop": CropRule.FRAME})
    if using is Implementation.NUMPY:
        return to_tensor(part, None, whole, using=using)
    mean, std = np.float32([spec.mean, spec.std]).tolist()
    native = native_module().Pass(
        mean=mean, std=std, swap=spec.channel_order is ChannelOrder.BGR, tier=tier
    )
    out = np.empty((3, spec.height, spec.width), np.float32)
    if case.kind is Kind.DEPTH:
        native.depth(case.frame, region, depth_levels(DEPTH), out)
    else:
        native.image(case.frame, region, out)
    return out


def as_opencv_does(case: Case) -> np.ndarray:
    spec, face = case.spec, case.face
    frame = depth_to_8bit(case.frame, spec.depth) if spec.depth else case.frame
    part = frame[face.y : face.y + face.height, face.x : face.x + face.width]
    size = (spec.width, spec.height)
    resized = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_LINEAR)
    if case.kind is Kind.FOUR_CHANNELS:
        return resized.reshape(spec.height, spec.width, 4)
    color = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB) if resized.ndim == 2 else resized
    if spec.channel_order is ChannelOrder.BGR:
        color = color[..., ::-1]
    mean, std = np.float32(spec.mean), np.float32(spec.std)
    return ((color.astype(np.float32) - mean) / std).transpose(2, 0, 1)


def differing(seed: int, cases: int, using: Implementation, tier: str = "") -> list[int]:
    rng = np.random.default_rng(seed)
    return [
        number
        for number in range(cases)
        if (case := random_case(rng, number))
        and tensor_of(case, using, tier).tobytes() != as_opencv_does(case).tobytes()
    ]


@on_x86
def test_ten_thousand_random_tensors_equal_opencv_bit_for_bit(native):
    """OpenCV 4.8 to 5.0, as their x86-64 builds compute it: 4.8.1, 4.10.0 and 5.0.0 were run.

    Same size, halved, doubled, enlarged and shrunk; crops at every border; frames upside down,
    mirrored, strided and transposed; one, three and four channels, and depth.
    """
    assert differing(seed=2, cases=10_000, using=Implementation.NATIVE) == []


@on_x86
@pytest.mark.parametrize("tier", [1, 2])
def test_every_tier_of_instructions_equals_opencv_bit_for_bit(tier, native):
    if tier >= len(native.TIERS):
        pytest.skip(f"this CPU has only {native.TIERS}")
    assert differing(3, 1500, Implementation.NATIVE, native.TIERS[tier]) == []


@on_x86
def test_the_numpy_fallback_equals_opencv_bit_for_bit():
    assert differing(seed=4, cases=1500, using=Implementation.NUMPY) == []


@on_x86
@pytest.mark.slow
def test_ten_thousand_random_tensors_of_the_numpy_fallback_equal_opencv():
    assert differing(seed=5, cases=10_000, using=Implementation.NUMPY) == []


def test_the_dispatching_call_gives_what_the_pass_gives(native):
    rng = np.random.default_rng(6)
    for number in range(300):
        case = random_case(rng, number)
        if case.kind is not Kind.FOUR_CHANNELS:
            face = case.face
            frame = case.frame[face.y : face.y + face.height, face.x : face.x + face.width]
            spec = case.spec.model_copy(update={"crop": CropRule.FRAME})
            expected = tensor_of(case, Implementation.NATIVE).tobytes()
            assert to_tensor(frame, None, spec).tobytes() == expected


def test_both_implementations_agree_inside_every_crop(native):
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    spec = PreprocessSpec(width=31, height=29, crop="frame", mean=(1, 2, 3), std=(4, 5, 6))
    for _ in range(300):
        left, right = sorted(int(v) for v in rng.integers(0, 120, 2))
        top, bottom = sorted(int(v) for v in rng.integers(0, 90, 2))
        out = np.empty((3, 29, 31), np.float32)
        native.Pass(mean=spec.mean, std=spec.std, swap=False).image(
            frame, (left, top, right, bottom), out
        )
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


@pytest.fixture
def identity(native: Any) -> Any:
    return native.Pass(mean=(0, 0, 0), std=(1, 1, 1), swap=False)


def arguments(**changes: Any) -> dict[str, Any]:
    return {
        "frame": np.zeros((40, 50, 3), np.uint8),
        "region": (0, 0, 49, 39),
        "out": np.zeros((3, 8, 8), np.float32),
        **changes,
    }


WRONG_ARGUMENTS = [
    {"frame": np.zeros((40, 50, 3), np.int8)},
    {"frame": np.zeros((40, 50, 2), np.uint8)},
    {"frame": np.zeros((40, 50, 4), np.uint8)},
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
    {"out": np.zeros((3, 8, 8))},
    {"out": np.zeros((1, 8, 8), np.float32)},
    {"out": np.zeros((3, 0, 8), np.float32)},
    {"out": np.zeros((3, 8, 16), np.float32)[:, :, ::2]},
    {"out": np.broadcast_to(np.float32(0), (3, 8, 8))},  # read-only
]


@pytest.mark.parametrize("changes", WRONG_ARGUMENTS)
def test_the_native_pass_refuses_what_it_would_have_to_read_or_write_wrongly(identity, changes):
    with pytest.raises((TypeError, ValueError)):
        identity.image(**arguments(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        *WRONG_ARGUMENTS,
        {},  # three channels
        {"frame": np.zeros((40, 50), np.uint8), "region": (0, 0, 14, 39)},
        {"frame": np.zeros((40, 50), np.uint8), "region": (0, 0, 49, 14)},
    ],
)
def test_the_native_composite_refuses_them_too_and_color_and_what_is_too_small(identity, changes):
    with pytest.raises((TypeError, ValueError)):
        identity.composite(**arguments(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": np.zeros(255, np.uint8)},
        {"levels": np.zeros(65536, np.uint16)},
        {"frame": np.zeros((40, 50), np.uint8)},
        {"frame": np.zeros((40, 50, 3), np.uint16)},
        {"region": (0, 0, 50, 39)},
    ],
)
def test_the_native_depth_pass_refuses_the_same(identity, changes):
    taken = arguments(frame=np.zeros((40, 50), np.uint16), levels=np.zeros(65536, np.uint8))
    with pytest.raises((TypeError, ValueError)):
        identity.depth(**{**taken, **changes})


def test_an_unknown_tier_is_refused(native):
    with pytest.raises(ValueError, match="this CPU has no tier mmx"):
        native.Pass(mean=(0, 0, 0), std=(1, 1, 1), swap=False, tier="mmx")


@pytest.mark.parametrize(
    ("image", "out"),
    [
        (np.zeros((4, 4, 2), np.uint8), np.zeros((3, 3, 2), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((3, 3, 4), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((3, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((0, 3), np.uint8)),
        (np.zeros((0, 4), np.uint8), np.zeros((3, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((6, 6), np.uint8)[::2, ::2]),
        (np.zeros((4, 4), np.uint16), np.zeros((3, 3), np.uint8)),
    ],
)
def test_the_native_resizes_refuse_what_does_not_fit(native, image, out):
    with pytest.raises((TypeError, ValueError)):
        native.resize_8(image, out)
    with pytest.raises((TypeError, ValueError)):
        native.resize_16(image, out)


@pytest.mark.parametrize("name", ["hog_map", "plgf_map"])
def test_the_native_maps_refuse_what_does_not_fit(native, name):
    draw = getattr(native, name)
    for image, out in [((15, 16), (15, 16)), ((16, 15), (16, 15)), ((20, 20), (20, 19))]:
        with pytest.raises(ValueError, match=r"16x16|one size"):
            draw(np.zeros(image, np.uint8), np.zeros(out, np.uint8))


def test_read_only_frames_are_accepted(identity):
    frame = np.full((40, 50, 3), 7, np.uint8)
    frame.setflags(write=False)
    taken = arguments(frame=frame)
    identity.image(**taken)
    assert (taken["out"] == 7).all()


def test_the_pass_leaves_the_gil_to_others(identity):
    # With no forced switches, this thread runs again before the worker is done only if the native
    # pass itself let go. Passes of milliseconds, so that a busy machine has time to run it.
    frame, out = np.zeros((2000, 2000, 3), np.uint8), np.zeros((3, 1000, 999), np.float32)
    call = arguments(frame=frame, region=(0, 0, 1999, 1999), out=out)
    passes, done = 60, []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        worker = threading.Thread(
            target=lambda: [done.append(identity.image(**call)) for _ in range(passes)]
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
        return [tensor_of(case, Implementation.NATIVE).tobytes() for case in cases]

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(tensors) for _ in range(8)]
        expected = tensors()
        assert all(result.result() == expected for result in results)


def test_a_machine_with_a_compiler_has_the_native_pass():
    if shutil.which("c++") is None:
        Requirement.NATIVE.skip("no C++ compiler")
    assert implementation() is Implementation.NATIVE

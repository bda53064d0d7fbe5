"""Crops, borders, letterboxes and area interpolation against OpenCV, and specs that are refused."""

from __future__ import annotations

import json
import platform
from functools import partial

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from fasdk.capture import FaceBox
from fasdk.errors import PreprocessError
from fasdk.preprocess import (
    CropShape,
    Implementation,
    PreprocessSpec,
    crop_box,
    implementation,
    region_of,
    to_tensor,
    view_of,
)
from fasdk.preprocess.alignment import Alignment

from support.crop_rules import CASES_A_DIGEST, DIGESTS, RULES, Agreement, as_image, warp_digests
from support.requirements import Requirement

on_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="OpenCV resizes one channel differently elsewhere"
)


@pytest.fixture(scope="module", autouse=True)
def native_built() -> None:
    if implementation() is not Implementation.NATIVE:
        Requirement.NATIVE.skip("fasdk._native was not built")


def spec_of(**settings: object) -> PreprocessSpec:
    default: dict[str, object] = {
        "width": 16,
        "height": 16,
        "crop": "face",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return PreprocessSpec.model_validate(default | settings)


@on_x86
@pytest.mark.parametrize("using", Implementation)
@pytest.mark.parametrize("name", RULES)
def test_crops_equal_opencv_bit_for_bit(name, using):
    assert RULES[name].agreement(7, 240, using) == Agreement(240, 0)


@on_x86
@pytest.mark.slow
@pytest.mark.parametrize("using", Implementation)
@pytest.mark.parametrize("name", RULES)
def test_ten_thousand_random_crops_equal_opencv_bit_for_bit(name, using):
    assert RULES[name].agreement(8, 10_000, using) == Agreement(10_000, 0)


@pytest.mark.parametrize("using", Implementation)
def test_aligned_faces_are_those_of_warp_affine_of_opencv_4_10(using):
    known = json.loads(DIGESTS.read_text("utf-8"))["digests"]
    assert warp_digests(partial(as_image, using), CASES_A_DIGEST) == known[:1]


@pytest.mark.slow
@pytest.mark.parametrize("using", Implementation)
def test_ten_thousand_aligned_faces_are_those_of_warp_affine_of_opencv_4_10(using):
    known = json.loads(DIGESTS.read_text("utf-8"))["digests"]
    assert len(known) * CASES_A_DIGEST == 10_000
    assert warp_digests(partial(as_image, using), 10_000) == known


def test_a_wrong_level_is_a_difference():
    rule = RULES["padded replicate"]
    wrong = type(rule)(rule.draw, lambda case: rule.answer(case) ^ 1)
    assert wrong.agreement(7, 5, Implementation.NUMPY).worst == 1


@on_x86
@pytest.mark.parametrize("using", Implementation)
def test_a_square_reflected_and_averaged_is_the_published_pipeline(using):
    """A box at the frame's corner, enlarged by 1.5, as face-antispoof-onnx crops and resizes it."""
    frame = np.random.default_rng(1).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    spec = spec_of(
        width=64,
        height=64,
        crop_scale=1.5,
        crop_shape="square",
        crop_bounds="pad",
        border="reflect-101",
        interpolation="area",
        fit="letterbox-floor",
    )
    face = FaceBox(57, 0, 100, 150)
    assert region_of((400, 300), face, spec) == (-5, -37, 219, 187)
    crop = cv2.copyMakeBorder(frame[:188, :220], 37, 0, 5, 0, cv2.BORDER_REFLECT_101)
    expected = cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA)
    found = to_tensor(frame, face, spec, using=using)
    assert np.array_equal(found.transpose(1, 2, 0), expected)


def test_a_square_that_stays_inside_is_shrunk_and_moved():
    face = FaceBox(600, 100, 30, 60)
    square = spec_of(crop_shape="square", crop_scale=2.7)
    left, top, right, bottom = region_of((640, 480), face, square)
    assert (left, top, right, bottom) == (477, 49, 639, 211)
    assert region_of((640, 480), face, spec_of(crop_scale=2.7)) == crop_box((640, 480), face, 2.7)


@pytest.mark.parametrize(
    ("bounds", "region"), [("pad", (-15, -30, 104, 89)), ("clip", (0, 0, 99, 79))]
)
def test_a_crop_that_leaves_the_frame_is_padded_or_clipped(bounds, region):
    spec = spec_of(crop_bounds=bounds, crop_scale=2.0, crop_shape="square")
    assert region_of((100, 80), FaceBox(20, 0, 50, 60), spec) == region


@pytest.mark.parametrize("bounds", ["pad", "clip"])
def test_a_box_outside_the_frame_is_refused(bounds):
    with pytest.raises(PreprocessError, match="lies outside the 100x80 frame"):
        region_of((100, 80), FaceBox(300, 0, 50, 60), spec_of(crop_bounds=bounds))


def test_a_box_that_grows_beyond_all_bounds_is_refused():
    spec = spec_of(crop_bounds="pad", crop_scale=16.0)
    with pytest.raises(PreprocessError, match="longer than 1048576 pixels"):
        region_of((100, 80), FaceBox(-500_000, 0, 1_000_000, 60), spec)


@pytest.mark.parametrize("using", Implementation)
def test_a_long_crop_about_a_small_frame_is_made_row_by_row(using):
    frame = np.arange(9, dtype=np.uint8).reshape(3, 3)
    spec = spec_of(crop_bounds="pad", crop_scale=16.0, border="reflect", width=5, height=4)
    tensor = to_tensor(frame, FaceBox(0, 0, 3, 3), spec, using=using)
    assert tensor.min() >= 0
    assert tensor.max() <= 8


@pytest.mark.parametrize("using", Implementation)
def test_depth_is_padded_with_its_encoded_level(using):
    depth = {"near_mm": 500, "far_mm": 1500, "polarity": "near-bright"}
    spec = spec_of(
        depth=depth, crop_bounds="pad", crop_scale=3.0, border_level=7, width=12, height=12
    )
    tensor = to_tensor(np.full((4, 4), 500, np.uint16), FaceBox(0, 0, 4, 4), spec, using=using)
    assert set(np.unique(tensor)) == {7.0, 255.0}


@pytest.mark.parametrize("using", Implementation)
def test_a_composite_is_letterboxed_and_averaged_too(using):
    frame = np.random.default_rng(2).integers(0, 256, (40, 60)).astype(np.uint8)
    spec = spec_of(
        crop="frame",
        ir_composite="ir-hog-plgf",
        fit="letterbox",
        interpolation="area",
        border_level=9,
        width=30,
        height=30,
    )
    tensor = to_tensor(frame, None, spec, using=using)
    assert (tensor[:, :5] == 9).all()
    assert (tensor[:, 25:] == 9).all()
    assert np.array_equal(
        tensor[0, 5:25], cv2.resize(frame, (30, 20), interpolation=cv2.INTER_AREA)
    )
    assert tensor.tobytes() == to_tensor(frame, None, spec, using=Implementation.NUMPY).tobytes()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"border": "reflect"}, "border reflect has no effect without crop_bounds = pad"),
        ({"border_level": 3}, "border_level 3 has no effect"),
        ({"crop": "frame", "crop_shape": "square"}, "crop_shape square has no effect without"),
        ({"crop": "frame", "crop_bounds": "pad"}, "crop_bounds pad has no effect without"),
        ({"crop_bounds": "pad", "border": "reflect", "border_level": 3}, "without border = const"),
        ({"landmark_positions": [(1.0, 2.0)] * 5}, "has no effect without crop = landmarks"),
        ({"crop": "landmarks"}, "needs landmark_positions for a tensor of 16x16"),
        ({"crop": "landmarks", "width": 112, "height": 128}, "needs landmark_positions"),
        ({"crop": "landmarks", "landmark_positions": [(1.0, 2.0)] * 5}, "two or more of them"),
        ({"crop": "landmarks", "landmark_positions": [(1.0, 2.0)] * 4}, "at least 5 items"),
        (
            {"crop": "landmarks", "width": 112, "height": 112, "interpolation": "area"},
            "interpolation area has no effect",
        ),
        (
            {"crop": "landmarks", "width": 112, "height": 112, "crop_scale": 1.2},
            "crop_scale 1.2 has no effect on aligned faces",
        ),
        ({"crop_bounds": "pad", "ir_composite": "ir-hog-plgf"}, "crop inside the frame"),
        ({"border_level": 256}, "less than or equal to 255"),
        ({"interpolation": "lanczos"}, "'bilinear' or 'area'"),
    ],
)
def test_a_setting_without_effect_or_meaning_is_refused(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        spec_of(**settings)


def test_every_advice_of_a_refusal_can_be_followed():
    assert spec_of(crop_bounds="pad", border="reflect").border.value == "reflect"
    assert spec_of(fit="letterbox", border_level=3).border_level == 3
    assert spec_of(crop_shape="square").crop_shape is CropShape.SQUARE
    positions = [(1.0, 2.0), (3.0, 4.0), None, None, None]
    assert spec_of(crop="landmarks", landmark_positions=positions).landmark_positions[2] is None


def test_what_is_not_set_is_not_written():
    spec = spec_of()
    assert set(spec.model_dump(mode="json")) == {
        "width", "height", "crop", "crop_scale", "channel_order", "depth", "ir_composite", "mean",
        "std", "missing_value",
    }  # fmt: skip
    padded = spec_of(crop_bounds="pad", border="replicate")
    written = padded.model_dump(mode="json")
    assert (written["crop_bounds"], written["border"]) == ("pad", "replicate")
    assert "border_level" not in written
    assert PreprocessSpec.model_validate_json(padded.model_dump_json()) == padded


@pytest.mark.parametrize("size", [112, 224, 128, 256])
def test_a_square_of_insightfaces_sizes_has_its_positions(size):
    spec = spec_of(crop="landmarks", width=size, height=size)
    scale = size / 112 if size % 112 == 0 else size / 128
    right_eye = (38.2946 * scale + (0 if size % 112 == 0 else 8 * scale), 51.6963 * scale)
    assert spec.landmark_positions[0] == pytest.approx(right_eye)
    assert spec.model_dump(mode="json")["landmark_positions"][0] == pytest.approx(right_eye)


def test_a_model_of_aligned_faces_refuses_a_capture_without_landmarks():
    spec = spec_of(crop="landmarks", width=112, height=112)
    with pytest.raises(PreprocessError, match="aligns the face by its landmarks and the capture"):
        view_of((640, 480), FaceBox(1, 2, 3, 4), None, spec)
    with pytest.raises(PreprocessError, match="use view_of"):
        region_of((640, 480), FaceBox(1, 2, 3, 4), spec)
    landmarks = np.float32(spec.landmark_positions) + 50
    found = view_of((640, 480), None, landmarks, spec)
    assert isinstance(found, Alignment)
    assert found.to_frame == pytest.approx((1, 0, 50, 0, 1, 50), abs=1e-5)

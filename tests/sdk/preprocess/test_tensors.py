"""Conversion of frames to tensors: region, levels, planes and refused input."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fasdk import preprocess
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import PreprocessError
from fasdk.preprocess import (
    ChannelOrder,
    CropRule,
    DepthEncoding,
    DepthPolarity,
    Implementation,
    IrComposite,
    PreprocessSpec,
    crop_box,
    depth_to_8bit,
    fill_row,
    implementation,
    region_of,
    to_batch,
    to_tensor,
)
from fasdk.preprocess.composite import hog_map, plgf_map
from fasdk.preprocess.native import native_module
from fasdk.preprocess.resize import resize_bilinear

from support.requirements import Requirement


def spec_of(**settings: object) -> PreprocessSpec:
    default: dict[str, object] = {
        "width": 4,
        "height": 3,
        "crop": CropRule.FRAME,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return PreprocessSpec.model_validate({**default, **settings})


def depth_of(polarity: DepthPolarity = DepthPolarity.NEAR_BRIGHT) -> DepthEncoding:
    return DepthEncoding(near_mm=500, far_mm=1500, polarity=polarity)


@pytest.fixture(scope="module")
def native_built() -> None:
    if implementation() is not Implementation.NATIVE:
        Requirement.NATIVE.skip("fasdk._native was not built")


@pytest.mark.parametrize(
    ("scale", "region"), [(2.7, (249, 149, 411, 311)), (4.0, (210, 110, 450, 350))]
)
def test_a_face_far_from_every_edge_is_enlarged_about_its_center(scale, region):
    assert crop_box((640, 480), FaceBox(300, 200, 60, 60), scale) == region


@pytest.mark.parametrize(
    ("face", "region"),
    [
        (FaceBox(0, 0, 60, 60), (0, 0, 162, 162)),  # pushed in from the top left
        (FaceBox(580, 420, 60, 60), (477, 317, 639, 479)),  # and from the bottom right
        (FaceBox(300, 0, 60, 480), (300, 0, 359, 479)),  # already as tall: cannot grow
        (FaceBox(0, 0, 640, 480), (0, 0, 639, 479)),
    ],
)
def test_an_enlarged_face_is_kept_inside_the_frame(face, region):
    assert crop_box((640, 480), face, 2.7) == region


def test_the_published_crop_boxes_are_reproduced(reference):
    golden = json.loads((reference / "silent-face" / "golden.json").read_text())
    checked = 0
    for photograph in golden.values():
        width, height = photograph["size_wh"]
        face = FaceBox(*photograph["face_box_xywh"])
        for model in photograph["models"].values():
            expected = tuple(model["crop_box_ltrb"])
            assert crop_box((width, height), face, model["crop_scale"]) == expected
            checked += 1
    assert checked == 4


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.tuples(st.integers(-9000, 9000), st.integers(-9000, 9000)),
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.floats(1e-3, 16.0),
)
def test_no_face_box_leads_outside_the_frame_or_to_an_empty_region(size, corner, face, scale):
    left, top, right, bottom = crop_box(size, FaceBox(*corner, *face), scale)
    assert 0 <= left <= right < size[0]
    assert 0 <= top <= bottom < size[1]


def test_a_model_of_whole_frames_ignores_the_face():
    assert region_of((640, 480), FaceBox(1, 2, 3, 4), spec_of()) == (0, 0, 639, 479)


def test_a_model_of_faces_refuses_a_capture_without_one():
    with pytest.raises(PreprocessError, match="has no face box"):
        to_tensor(np.zeros((9, 9, 3), np.uint8), None, spec_of(crop=CropRule.FACE))


@pytest.mark.parametrize(
    ("depth_mm", "near_bright", "far_bright"),
    [
        (0, 0, 0),  # no return
        (1, 255, 1),  # nearer than the range: clipped to it
        (500, 255, 1),
        (1000, 128, 128),
        (1499, 1, 255),
        (1500, 1, 255),  # valid depth never looks like no return
        (65535, 1, 255),
    ],
)
def test_depth_levels(depth_mm, near_bright, far_bright):
    frame = np.full((1, 1), depth_mm, np.uint16)
    assert depth_to_8bit(frame, depth_of())[0, 0] == near_bright
    assert depth_to_8bit(frame, depth_of(DepthPolarity.FAR_BRIGHT))[0, 0] == far_bright


@given(st.integers(1, 65534), st.integers(2, 65535), st.sampled_from(DepthPolarity))
def test_valid_depth_is_never_level_0_and_levels_are_monotonic(near, far, polarity):
    if near >= far:
        near, far = far - 1, near + 1
    encoding = DepthEncoding(near_mm=near, far_mm=far, polarity=polarity)
    levels = depth_to_8bit(np.arange(65536, dtype=np.uint16)[None], encoding)[0].astype(int)
    assert levels[0] == 0
    assert levels[1:].min() >= 1
    steps = np.diff(levels[1:])
    assert (steps <= 0).all() if polarity is DepthPolarity.NEAR_BRIGHT else (steps >= 0).all()
    assert {levels[near], levels[far]} == {1, 255}


@pytest.mark.parametrize("using", Implementation)
def test_depth_is_drawn_at_native_size_then_resized(using, native_built):
    frame = np.array([[0, 500, 1000, 1500]] * 2, np.uint16)
    tensor = to_tensor(frame, None, spec_of(width=2, height=1, depth=depth_of()), using=using)
    # Halved, so averaged: (0 + 255 + 0 + 255 + 2) >> 2 and (128 + 1 + 128 + 1 + 2) >> 2.
    assert tensor[0].tolist() == [[128.0, 65.0]]


@pytest.mark.parametrize("using", Implementation)
def test_planes_follow_the_channel_order_and_gray_is_replicated(using, native_built):
    color = np.full((5, 6, 3), (10, 20, 30), np.uint8)
    rgb, bgr = spec_of(), spec_of(channel_order=ChannelOrder.BGR)
    assert to_tensor(color, None, rgb, using=using)[:, 0, 0].tolist() == [10, 20, 30]
    assert to_tensor(color, None, bgr, using=using)[:, 0, 0].tolist() == [30, 20, 10]
    assert to_tensor(color[..., 0], None, bgr, using=using)[:, 0, 0].tolist() == [10, 10, 10]


@pytest.mark.parametrize("using", Implementation)
def test_mean_and_std_belong_to_the_tensors_planes(using, native_built):
    spec = spec_of(channel_order=ChannelOrder.BGR, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    tensor = to_tensor(np.full((5, 6, 3), (10, 20, 30), np.uint8), None, spec, using=using)
    assert tensor[:, 0, 0].tolist() == [29 / 2, 18 / 4, 7 / 8]


def test_the_table_is_the_float32_normalization_of_every_level():
    spec = spec_of(mean=(127.5, 123.675, 0.0), std=(128.0, 58.395, 255.0))
    for plane in range(3):
        mean, std = np.float32(spec.mean[plane]), np.float32(spec.std[plane])
        for level in range(256):
            assert spec.table[plane, level] == (np.float32(level) - mean) / std
    assert not spec.table.flags.writeable


@pytest.mark.parametrize(
    "settings",
    [
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, 1e-60, 1.0)},  # 0 in float32
        {"mean": (float("nan"), 0.0, 0.0)},
        {"mean": (1e300, 0.0, 0.0)},
        {"missing_value": float("inf")},
        {"missing_value": 1e300},
        {"crop_scale": float("nan")},
        {"width": 0},
    ],
)
def test_a_spec_that_cannot_give_finite_tensors_is_refused(settings):
    with pytest.raises(ValidationError):
        spec_of(**settings)


@pytest.mark.parametrize(
    ("frame", "settings"),
    [
        (np.zeros((5, 5), np.uint16), {}),
        (np.zeros((5, 5), np.uint8), {"depth": depth_of()}),
        (np.zeros((5, 5, 3), np.uint16), {"depth": depth_of()}),
        (np.zeros((5, 5, 4), np.uint8), {}),
        (np.zeros((5, 5), np.float32), {}),
        (np.zeros((0, 5, 3), np.uint8), {}),
        (np.zeros(5, np.uint8), {}),
    ],
)
def test_a_frame_that_is_not_the_specs_is_refused(frame, settings):
    with pytest.raises(PreprocessError, match="its spec describes"):
        to_tensor(frame, None, spec_of(**settings))


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((3, 4, 3), np.float32),
        np.zeros((3, 3, 4), np.float64),
        np.zeros((3, 3, 8), np.float32)[:, :, ::2],
        np.broadcast_to(np.float32(0), (3, 3, 4)),
    ],
)
def test_an_out_that_does_not_fit_is_refused(out):
    with pytest.raises(PreprocessError, match="out is"):
        to_tensor(np.zeros((9, 9, 3), np.uint8), None, spec_of(), out=out)


def test_out_is_filled_and_returned():
    out = np.full((3, 3, 4), np.nan, np.float32)
    assert to_tensor(np.full((9, 9, 3), 7, np.uint8), None, spec_of(), out=out) is out
    assert (out == 7).all()


def test_a_batch_holds_every_capture_and_the_missing_value_of_absent_ones():
    specs = {
        Modality.RGB: spec_of(),
        Modality.DEPTH: spec_of(depth=depth_of(), missing_value=-1.0),
        Modality.IR: spec_of(width=2, height=2, missing_value=0.25),
    }
    full = Capture(
        rgb=np.full((8, 8, 3), 9, np.uint8),
        depth=np.full((6, 6), 500, np.uint16),
        ir=np.full((4, 4), 3, np.uint8),
    )
    batch = to_batch([full, Capture(rgb=np.full((8, 8, 3), 5, np.uint8))], specs)
    assert {name: tensor.shape for name, tensor in batch.items()} == {
        "rgb": (2, 3, 3, 4),
        "depth": (2, 3, 3, 4),
        "ir": (2, 3, 2, 2),
    }
    assert [float(t.min()) for t in batch["rgb"]] == [9.0, 5.0]
    assert (batch["depth"][0] == 255).all()
    assert (batch["depth"][1] == -1).all()
    assert (batch["ir"][1] == 0.25).all()


def test_presence_says_which_modalities_each_capture_holds_in_the_order_asked_for():
    specs = {m: spec_of(depth=depth_of() if m is Modality.DEPTH else None) for m in Modality}
    rgb, ir = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    depth = np.full((4, 4), 500, np.uint16)
    captures = [Capture(rgb=rgb, depth=depth, ir=ir), Capture(rgb=rgb), Capture(depth=depth, ir=ir)]
    order = (Modality.RGB, Modality.IR, Modality.DEPTH)
    present = to_batch(captures, specs, order)["present"]
    assert present.dtype == np.float32
    assert present.tolist() == [[1, 1, 1], [1, 0, 0], [0, 1, 1]]
    assert to_batch([], specs, order)["present"].shape == (0, 3)
    assert "present" not in to_batch(captures, specs)


def test_a_row_of_shared_buffers_is_filled_and_no_other():
    specs = {
        Modality.RGB: spec_of(),
        Modality.DEPTH: spec_of(depth=depth_of(), missing_value=-1.0),
    }
    order = [Modality.DEPTH, Modality.RGB]
    inputs = {
        name: np.full((3, *shape), np.nan, np.float32)
        for name, shape in preprocess.input_shapes(specs, order).items()
    }
    capture = Capture(rgb=np.full((8, 8, 3), 9, np.uint8))
    fill_row(capture, specs, order, inputs, 1)
    alone = to_batch([capture], specs, order)
    for name, buffer in inputs.items():
        assert buffer[1].tobytes() == alone[name][0].tobytes()
        assert np.isnan(buffer[[0, 2]]).all()
    assert inputs["present"][1].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("modality", [Modality.RGB, Modality.IR])
def test_a_buffer_of_another_size_is_refused_whether_the_frame_is_there_or_not(modality):
    capture = Capture(rgb=np.zeros((8, 8, 3), np.uint8))
    inputs = {modality.value: np.zeros((1, 3, 9, 9), np.float32)}
    with pytest.raises(PreprocessError, match=r"out is float32 \[3, 9, 9\], expected"):
        fill_row(capture, {modality: spec_of()}, None, inputs, 0)


def test_the_face_box_moves_to_each_frames_own_pixels():
    spec = {m: spec_of(crop=CropRule.FACE, width=2, height=2) for m in (Modality.RGB, Modality.IR)}
    rgb, ir = np.zeros((80, 80, 3), np.uint8), np.zeros((40, 40), np.uint8)
    rgb[40:60, 20:40] = 200
    ir[20:30, 10:20] = 100
    batch = to_batch([Capture(rgb=rgb, ir=ir, face=(20, 40, 18, 18))], spec)
    assert (batch["rgb"] == 200).all()
    assert (batch["ir"] == 100).all()


def test_where_the_native_pass_was_not_built_numpy_serves(monkeypatch, request):
    monkeypatch.setitem(sys.modules, "fasdk._native", None)
    monkeypatch.delattr("fasdk._native", raising=False)
    native_module.cache_clear()
    request.addfinalizer(native_module.cache_clear)
    assert preprocess.implementation() is Implementation.NUMPY
    frame = np.full((9, 9, 3), 7, np.uint8)
    assert (to_tensor(frame, None, spec_of()) == 7).all()
    with pytest.raises(PreprocessError, match=r"install a C\+\+17 compiler"):
        to_tensor(frame, None, spec_of(width=5), using=Implementation.NATIVE)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"depth": depth_of()}, "not for depth"),
        ({"channel_order": ChannelOrder.BGR}, "leave it rgb"),
        ({"ir_composite": "hog"}, "Input should be 'plain' or 'ir-hog-plgf'"),
    ],
)
def test_an_infrared_composite_is_of_infrared_and_has_one_order(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        spec_of(**{"ir_composite": IrComposite.IR_HOG_PLGF, **settings})


@pytest.mark.parametrize("using", Implementation)
def test_a_composites_planes_are_infrared_hog_and_plgf_of_the_crop_each_resized(
    using, native_built
):
    frame = np.random.default_rng(1).integers(0, 256, (70, 90)).astype(np.uint8)[::-1, ::2]
    spec = spec_of(
        width=21,
        height=17,
        crop=CropRule.FACE,
        ir_composite=IrComposite.IR_HOG_PLGF,
        mean=(1.0, 2.0, 3.0),
        std=(4.0, 5.0, 6.0),
    )
    face = FaceBox(3, 5, 40, 60)
    left, top, right, bottom = region_of((45, 70), face, spec)
    crop = frame[top : bottom + 1, left : right + 1]
    tensor = to_tensor(frame, face, spec, using=using)
    for plane, image in enumerate((crop, hog_map(crop), plgf_map(crop))):
        levels = resize_bilinear(image, 21, 17)
        assert np.array_equal(tensor[plane], spec.table[plane][levels])


@pytest.mark.parametrize("using", Implementation)
@pytest.mark.parametrize("frame", [np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint16)])
def test_a_composite_of_anything_but_8_bit_gray_is_refused(frame, using, native_built):
    spec = spec_of(ir_composite=IrComposite.IR_HOG_PLGF)
    with pytest.raises(PreprocessError, match=r"describes uint8 \[H, W\] infrared"):
        to_tensor(frame, None, spec, using=using)


@pytest.mark.parametrize("using", Implementation)
def test_a_face_too_small_for_the_composite_is_refused_in_words(using, native_built):
    spec = spec_of(crop=CropRule.FACE, ir_composite=IrComposite.IR_HOG_PLGF)
    with pytest.raises(PreprocessError, match="crop of 21x15 pixels and needs at least 16x16"):
        to_tensor(np.zeros((60, 60), np.uint8), FaceBox(5, 5, 20, 14), spec, using=using)


def test_a_missing_buffer_is_named():
    with pytest.raises(PreprocessError, match="no buffer for the input rgb, only depth"):
        capture = Capture(rgb=np.zeros((8, 8, 3), np.uint8))
        buffers = {"depth": np.zeros((1, 3, 3, 4), np.float32)}
        fill_row(capture, {Modality.RGB: spec_of()}, None, buffers, 0)


def test_preprocessing_does_not_import_opencv():
    code = (
        "import sys, numpy as np; from fasdk.preprocess import *; "
        "spec = PreprocessSpec(width=4, height=4, crop='frame', mean=(0,0,0), std=(1,1,1)); "
        "to_tensor(np.zeros((9, 9, 3), np.uint8), None, spec, using=Implementation.NUMPY); "
        "sys.exit('cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

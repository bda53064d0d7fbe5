"""Conversion of 8-bit depth levels to millimeters."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.capture import FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.frames import read_depth_levels
from fasdk.preprocess import (
    CropRule,
    DepthEncoding,
    DepthPolarity,
    PreprocessSpec,
    depth_to_8bit,
    region_of,
    to_tensor,
)
from fasdk_calibration.datasets import (
    CaptureRecord,
    Dataset,
    DepthUnit,
    Label,
    levels_to_millimeters,
    load_capture,
    read_frame,
)

EVERY_LEVEL = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoding(near: int, far: int, polarity: DepthPolarity) -> DepthEncoding:
    return DepthEncoding(near_mm=near, far_mm=far, polarity=polarity)


def record(**changes: object) -> CaptureRecord:
    fields = {
        "id": "a",
        "rgb": "a.jpg",
        "depth": "d.jpg",
        "ir": "i.jpg",
        "label": Label.ATTACK,
        "species": "print",
        "subject": "s",
        "domain": "lab",
        "presentation": "p",
        "depth_unit": DepthUnit.LEVEL,
        "face_crop": True,
    }
    return CaptureRecord.model_validate(fields | changes)


def write_jpeg(path: Path, frame: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), frame)
    return path


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    small = rng.integers(0, 256, (8, 8, channels), np.uint8)
    return cv2.resize(small, (width, height))  # smooth, as a face is: JPEG keeps it


@pytest.mark.parametrize("polarity", DepthPolarity)
@pytest.mark.parametrize(
    ("near", "far"), [(1, 256), (300, 555), (400, 900), (250, 1500), (1, 65535)]
)
def test_every_depth_level_survives_the_conversion_to_millimeters(polarity, near, far):
    model = encoding(near, far, polarity)
    millimeters = levels_to_millimeters(EVERY_LEVEL, model)
    assert millimeters.dtype == np.uint16
    assert np.array_equal(depth_to_8bit(millimeters, model), EVERY_LEVEL)
    seen = millimeters.reshape(-1)[1:]
    assert millimeters[0, 0] == 0
    assert seen.min() >= near
    assert seen.max() <= far
    order = np.diff(seen.astype(int))
    assert (order < 0).all() if polarity is DepthPolarity.NEAR_BRIGHT else (order > 0).all()


@pytest.mark.parametrize("polarity", DepthPolarity)
@pytest.mark.parametrize(("near", "far"), [(1, 255), (400, 500), (400, 401)])
def test_a_range_of_fewer_than_255_mm_is_refused_with_the_reason(polarity, near, far):
    with pytest.raises(DatasetError, match=rf"spans {far - near} mm, at least 255 mm are needed"):
        levels_to_millimeters(EVERY_LEVEL, encoding(near, far, polarity))


@pytest.mark.parametrize("size", [(112, 112), (97, 131), (256, 200), (320, 256), (60, 31)])
def test_a_benchmark_capture_gives_the_tensors_of_the_published_loaders(tmp_path, size):
    height, width = size
    write_jpeg(tmp_path / "a.jpg", noise(height, width))
    for name, seed in (("d.jpg", 1), ("i.jpg", 2)):
        gray = noise(height + seed, width + seed, 1)[:height, :width]
        write_jpeg(tmp_path / name, np.dstack([gray] * 3))
    model = encoding(400, 900, DepthPolarity.NEAR_BRIGHT)
    dataset = Dataset("mini", tmp_path, (record(),))
    capture = dataset.load(dataset.records[0], model)
    assert capture.face == FaceBox(0, 0, width, height)
    for modality, name in zip(Modality, ("a.jpg", "d.jpg", "i.jpg"), strict=True):
        spec = PreprocessSpec(
            width=224,
            height=224,
            crop=CropRule.FACE,
            depth=model if modality is Modality.DEPTH else None,
            mean=(127.5,) * 3,
            std=(128.0,) * 3,
        )
        # As published: imread, resize, blue first to red first, planes first, (x - 127.5) / 128.
        published = cv2.resize(cv2.imread(str(tmp_path / name)), (224, 224))
        published = (published[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) - 127.5) / 128
        tensor = to_tensor(capture.frame(modality), capture.face_in(modality), spec)
        assert np.array_equal(tensor, published.astype(np.float32))


def test_the_face_of_a_face_crop_is_all_of_it():
    spec = PreprocessSpec(width=8, height=8, crop=CropRule.FACE, mean=(0, 0, 0), std=(1, 1, 1))
    for width in range(20, 300, 7):
        for height in range(width // 2 + 1, 2 * width, 5):
            region = region_of((width, height), FaceBox(0, 0, width, height), spec)
            assert region == (0, 0, width - 1, height - 1)


def test_levels_without_an_encoding_are_refused_unless_depth_is_left_out(tmp_path):
    for name in ("a.jpg", "d.jpg", "i.jpg"):
        write_jpeg(tmp_path / name, np.full((8, 8, 3), 90, np.uint8))
    with pytest.raises(DatasetError, match=r"capture a: depth is kept as 8-bit levels.*give one"):
        load_capture(record(), tmp_path)
    with pytest.raises(DatasetError, match=r"capture a: .*at least 255 mm"):
        load_capture(record(), tmp_path, encoding(1, 9, DepthPolarity.FAR_BRIGHT))
    capture = load_capture(record(), tmp_path, modalities=[Modality.RGB, Modality.IR])
    assert capture.present == (Modality.RGB, Modality.IR)
    with pytest.raises(DatasetError, match="holds rgb, and none of ir, depth is there"):
        load_capture(
            record(depth=None, ir=None), tmp_path, modalities=[Modality.IR, Modality.DEPTH]
        )


def test_a_face_box_follows_when_its_frame_is_left_out(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 80, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "i.png"), np.zeros((20, 40), np.uint8))
    given = record(rgb="a.png", depth=None, ir="i.png", face=(10, 8, 20, 12), face_crop=False)
    whole = load_capture(given, tmp_path)
    infrared = load_capture(given, tmp_path, modalities=[Modality.IR])
    assert infrared.face == whole.face_in(Modality.IR) == FaceBox(5, 4, 10, 6)
    outside = given.model_copy(update={"face": (70, 8, 20, 12)})
    for wanted in ([Modality.IR], list(Modality)):
        with pytest.raises(DatasetError, match=r"capture a: face box 70,8,20,12 leaves the 80x40"):
            load_capture(outside, tmp_path, modalities=wanted)


def gray_but(apart: int) -> np.ndarray:
    frame = np.full((32, 32, 3), 120, np.uint8)
    frame[..., 2] += apart
    return frame


@pytest.mark.parametrize(
    ("suffix", "apart", "is_read"),
    [
        (".png", 0, True),
        (".png", 1, False),
        (".jpg", 0, True),
        (".jpg", 4, True),
        (".jpg", 40, False),
        (".jpg", 120, False),
    ],
)
@pytest.mark.parametrize("read", [read_depth_levels, lambda p: read_frame(p, Modality.IR)])
def test_only_a_jpeg_may_blur_gray_and_only_a_little(tmp_path, suffix, apart, is_read, read):
    path = write_jpeg(tmp_path / f"f{suffix}", gray_but(apart))
    if is_read:
        level = read(path)
        assert level.shape == (32, 32)
        assert np.abs(level.astype(int) - 120).max() <= apart
    else:
        with pytest.raises(CaptureError, match=r"planes not equal, \d+ levels apart"):
            read(path)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_depth_levels_are_8_bits(tmp_path, dtype):
    suffix = ".png" if dtype is np.uint16 else ".tiff"
    path = write_jpeg(tmp_path / f"d{suffix}", np.ones((4, 4), dtype))
    with pytest.raises(CaptureError, match=r"depth frame .* expected 8-bit gray"):
        read_depth_levels(path)

"""Parts of frames: the smallest rectangle that a tensor is made of."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import FaceBox, Modality
from fasdk.errors import PreprocessError
from fasdk.preprocess import CropBounds, CropRule, PreprocessSpec, to_tensor
from fasdk.preprocess.alignment import Alignment
from fasdk.preprocess.parts import part_of

from support.capture_bundle import random_capture, random_specs

FACE = PreprocessSpec(width=8, height=8, crop=CropRule.FACE, mean=(0.0,) * 3, std=(255.0,) * 3)


def test_pixels_outside_of_the_part_change_no_tensor_and_those_on_its_edges_do():
    draw, seen = np.random.default_rng(5), set()
    for _ in range(400):
        spec = random_specs(draw)[Modality.DEPTH]
        capture = random_capture(draw)
        if capture.depth is None:
            continue
        given = {"landmarks": capture.landmarks_in(Modality.DEPTH)}
        face = capture.face_in(Modality.DEPTH)
        try:
            part = part_of(capture.depth, face, spec, **given)
        except PreprocessError:
            with pytest.raises(PreprocessError):
                to_tensor(capture.depth, face, spec, **given)
            continue
        (left, top), (height, width) = part.corner, part.pixels.shape
        assert part.frame_size == capture.size_of(Modality.DEPTH)
        np.testing.assert_array_equal(
            part.pixels, capture.depth[top : top + height, left : left + width]
        )
        changed = np.full_like(capture.depth, 0xA5A5)
        changed[top : top + height, left : left + width] = part.pixels
        np.testing.assert_array_equal(
            to_tensor(changed, face, spec, **given), to_tensor(capture.depth, face, spec, **given)
        )
        seen.add((spec.crop, isinstance(part.view, Alignment), height * width < changed.size))
    assert {(CropRule.FACE, False, True), (CropRule.LANDMARKS, True, True)} <= seen


def test_a_region_is_in_pixels_of_the_part():
    spec = FACE.model_copy(update={"crop_bounds": CropBounds.PAD, "crop_scale": 2.0})
    frame = np.zeros((20, 30, 3), np.uint8)
    part = part_of(frame, FaceBox(0, 5, 10, 10), spec)
    assert (part.corner, part.pixels.shape, part.view) == ((0, 0), (20, 15, 3), (-5, 0, 14, 19))


def test_an_aligned_face_needs_no_pixel_more_than_it_is_interpolated_from():
    spec = PreprocessSpec(
        width=112, height=112, crop=CropRule.LANDMARKS, mean=(0.0,) * 3, std=(255.0,) * 3
    )
    assert spec.landmark_positions is not None
    points = np.float32([p for p in spec.landmark_positions if p is not None]) + 50
    part = part_of(np.zeros((400, 600), np.uint8), None, spec, landmarks=points)
    # Half a pixel at most is lost where an unturned face of the tensor's own size is rounded.
    assert (49 <= part.corner[0] <= 50, 49 <= part.corner[1] <= 50) == (True, True)
    assert max(part.pixels.shape) <= 114


def test_a_frame_that_is_not_of_the_spec_is_refused():
    with pytest.raises(PreprocessError, match="its spec describes uint8"):
        part_of(np.zeros((20, 30), np.uint16), FaceBox(0, 0, 5, 5), FACE)

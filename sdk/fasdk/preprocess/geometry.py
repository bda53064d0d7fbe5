"""Part of a frame that a model looks at, and part of the tensor it fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.errors import PreprocessError
from fasdk.preprocess.alignment import Alignment, alignment_of
from fasdk.preprocess.spec import CropBounds, CropRule, CropShape, Fit, PreprocessSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasdk.capture import FaceBox

Region = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two inclusive

LONGEST_CROP_PX = 1 << 20


def crop_box(frame_size: tuple[int, int], face: FaceBox, scale: float) -> Region:
    """Return the enlarged face box, moved and shrunk so that it stays inside the frame.

    The rule is the one the Silent-Face checkpoints were trained with, edges truncated towards 0.

    Args:
        frame_size: (width, height) in pixels.
        face: The face in that frame.
        scale: Factor on width and height; reduced where the enlarged box would exceed the frame.

    Returns:
        left, top, right, bottom in pixels, right and bottom inclusive.
    """
    return _shifted(frame_size, face, (face.width, face.height), scale)


def _shifted(
    frame_size: tuple[int, int], face: FaceBox, size: tuple[int, int], scale: float
) -> Region:
    last_x, last_y = frame_size[0] - 1, frame_size[1] - 1
    scale = min(last_y / size[1], last_x / size[0], scale)
    width, height = size[0] * scale, size[1] * scale
    center_x, center_y = face.width / 2 + face.x, face.height / 2 + face.y
    left, top = center_x - width / 2, center_y - height / 2
    right, bottom = center_x + width / 2, center_y + height / 2
    if left < 0:
        left, right = 0.0, right - left
    if top < 0:
        top, bottom = 0.0, bottom - top
    if right > last_x:
        left, right = left - (right - last_x), float(last_x)
    if bottom > last_y:
        top, bottom = top - (bottom - last_y), float(last_y)
    return int(left), int(top), int(right), int(bottom)


def _centered(face: FaceBox, size: tuple[int, int], scale: float) -> Region:
    """Return the enlarged box where it lies, its corner truncated towards 0 and its sides down."""
    width, height = size[0] * scale, size[1] * scale
    left = int(face.x + face.width / 2 - width / 2)
    top = int(face.y + face.height / 2 - height / 2)
    return left, top, left + max(1, int(width)) - 1, top + max(1, int(height)) - 1


def region_of(frame_size: tuple[int, int], face: FaceBox | None, spec: PreprocessSpec) -> Region:
    """Return the part of the frame `spec` looks at: left, top, right, bottom, inclusive.

    It leaves the frame only where `spec.crop_bounds` is pad.

    Raises:
        PreprocessError: The spec aligns faces, which have no such region; it crops to the face and
            no face box was given; or no part of the box lies in the frame.
    """
    if spec.crop is CropRule.FRAME:
        return 0, 0, frame_size[0] - 1, frame_size[1] - 1
    if spec.crop is CropRule.LANDMARKS:
        raise PreprocessError("an aligned face is no upright part of its frame: use view_of")
    if face is None:
        raise PreprocessError(
            "this model looks at the face and the capture has no face box: "
            "give Capture(face=(x, y, width, height)) or --face x,y,width,height"
        )
    size = face.width, face.height
    if spec.crop_shape is CropShape.SQUARE:
        size = max(size), max(size)
    if spec.crop_bounds is CropBounds.SHIFT:
        return _shifted(frame_size, face, size, spec.crop_scale)
    region = left, top, right, bottom = _centered(face, size, spec.crop_scale)
    inside = (
        max(left, 0),
        max(top, 0),
        min(right, frame_size[0] - 1),
        min(bottom, frame_size[1] - 1),
    )
    if inside[2] < inside[0] or inside[3] < inside[1]:
        raise PreprocessError(
            f"face box {face.describe()} lies outside the {frame_size[0]}x{frame_size[1]} frame: "
            "give the box in pixels of that frame"
        )
    if spec.crop_bounds is CropBounds.CLIP:
        return inside
    if max(right - left, bottom - top) >= LONGEST_CROP_PX:
        raise PreprocessError(
            f"face box {face.describe()} enlarged by {spec.crop_scale} is longer than "
            f"{LONGEST_CROP_PX} pixels: give the box in pixels of the frame"
        )
    return region


def view_of(
    frame_size: tuple[int, int],
    face: FaceBox | None,
    landmarks: NDArray[np.floating] | None,
    spec: PreprocessSpec,
) -> Region | Alignment:
    """Return what `spec` looks at: a region as `region_of` has it, or an aligned face.

    Args:
        frame_size: (width, height) of the frame in pixels.
        face: The face in that frame; needed when `spec.crop` is the face.
        landmarks: Float [5, 2], (x, y) in pixels of that frame, in the order of
            `Capture.landmarks`; needed when `spec.crop` is landmarks.
        spec: The modality's preprocessing.

    Raises:
        PreprocessError: What the spec needs was not given, or does not lie in the frame as a face.
    """
    if spec.crop is not CropRule.LANDMARKS:
        return region_of(frame_size, face, spec)
    if landmarks is None:
        raise PreprocessError(
            "this model aligns the face by its landmarks and the capture has none in this frame: "
            "give Capture(landmarks=...), float32 [5, 2], or --landmarks x,y of five points, or "
            "let a FaceFinder (--face-model) find the face"
        )
    if spec.landmark_positions is None:
        raise PreprocessError(
            "the spec aligns faces and has no landmark_positions: make it by PreprocessSpec(...)"
        )
    return alignment_of(frame_size, landmarks, spec.landmark_positions, (spec.width, spec.height))


def inside_of(crop_size: tuple[int, int], spec: PreprocessSpec) -> tuple[int, int, int, int]:
    """Return the part of the tensor that the resized crop fills: left, top, width, height.

    Args:
        crop_size: (width, height) of the crop in pixels.
        spec: The modality's preprocessing.
    """
    if spec.fit is Fit.STRETCH:
        return 0, 0, spec.width, spec.height
    ratio = min(spec.width / crop_size[0], spec.height / crop_size[1])
    whole = round if spec.fit is Fit.LETTERBOX else int
    width = min(max(1, whole(crop_size[0] * ratio)), spec.width)
    height = min(max(1, whole(crop_size[1] * ratio)), spec.height)
    return (spec.width - width) // 2, (spec.height - height) // 2, width, height

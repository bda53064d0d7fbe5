"""Conversion of camera frames into the tensors a model was trained on.

Frame → crop or alignment → (depth to 8 bits, or infrared's HOG and PLGF drawn) → resize on 8 bits,
letterbox → channel order → normalize → NCHW. The arithmetic is the training pipeline's: OpenCV's on
x86-64. `sdk/native` does all of it in one pass; where that module was not built, NumPy gives the
same bits, only slower.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import PreprocessError
from fasdk.preprocess.alignment import Alignment, aligned
from fasdk.preprocess.area import resize_area
from fasdk.preprocess.borders import extended
from fasdk.preprocess.composite import hog_map, plgf_map, require_composite_size
from fasdk.preprocess.geometry import inside_of, view_of
from fasdk.preprocess.native import Implementation, implementation, native_module, native_rules
from fasdk.preprocess.resize import resize_bilinear
from fasdk.preprocess.spec import (
    ChannelOrder,
    CropRule,
    Interpolation,
    IrComposite,
    PreprocessSpec,
    depth_levels,
    depth_to_8bit,
)
from fasdk.settings import as_choice, as_choices, by_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.preprocess.geometry import Region

_UINT8, _UINT16, _FLOAT32 = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)

PRESENCE = "present"  # the graph input that marks which modalities a capture holds


def to_tensor(
    frame: NDArray[Any],
    face: FaceBox | None,
    spec: PreprocessSpec,
    *,
    landmarks: NDArray[np.floating] | None = None,
    out: NDArray[np.float32] | None = None,
    using: Implementation | str | None = None,
) -> NDArray[np.float32]:
    """Return one frame as the model's input.

    Args:
        frame: uint8 [H, W, 3] red first, uint8 [H, W], or uint16 [H, W] in millimeters where
            `spec.depth` is set; uint8 [H, W] for an infrared composite. Any strides.
        face: The face in pixels of this frame; needed when `spec.crop` is the face.
        spec: The modality's preprocessing.
        landmarks: Float [5, 2], (x, y) in pixels of this frame, in the order of
            `Capture.landmarks`; needed when `spec.crop` is landmarks.
        out: float32 [3, spec.height, spec.width], C-contiguous, to write to; None makes a new one.
        using: The implementation, or None for `implementation()`. The tensor is the same.

    Returns:
        float32 [3, spec.height, spec.width], normalized; `out` where it was given.

    Raises:
        UsageError: There is no such implementation.
        PreprocessError: The frame, `out` and the spec do not fit, the face box or the landmarks
            are missing or elsewhere, the crop of an infrared composite is under 16x16 pixels, or
            the native pass was asked for and not built.
    """
    using = implementation() if using is None else as_choice("using", using, Implementation)
    require_frame(frame, spec)
    if not frame.flags.aligned:
        # Such as depth behind a header of odd length: 16-bit samples at odd addresses.
        frame = frame.copy()
    view = view_of((frame.shape[1], frame.shape[0]), face, landmarks, spec)
    if spec.ir_composite is not IrComposite.PLAIN and not isinstance(view, Alignment):
        require_composite_size(view[2] - view[0] + 1, view[3] - view[1] + 1)
    if out is None:
        out = np.empty((3, spec.height, spec.width), np.float32)
    else:
        _require_out(out, spec)
    if using is Implementation.NUMPY:
        _numpy_pass(frame, view, spec, out)
    else:
        _native_pass(spec)(frame, view, out)
    return out


def require_frame(frame: NDArray[Any], spec: PreprocessSpec) -> None:
    """Check that a frame is of the dtype and shape its spec describes.

    Raises:
        PreprocessError: It is not.
    """
    gray_only = spec.depth is not None or spec.ir_composite is not IrComposite.PLAIN
    shape_fits = frame.ndim == 2 or (not gray_only and frame.shape[2:] == (3,))
    dtype = _UINT8 if spec.depth is None else _UINT16
    if frame.dtype != dtype or not shape_fits or 0 in frame.shape:
        expected = "uint8 [H, W, 3] or [H, W]"
        if gray_only:
            expected = "uint16 [H, W] depth" if spec.depth else "uint8 [H, W] infrared"
        raise PreprocessError(
            f"frame is {frame.dtype} {list(frame.shape)}, its spec describes {expected}: "
            "give the frame of the modality the spec is for"
        )


def _require_out(out: NDArray[np.float32], spec: PreprocessSpec) -> None:
    shape = (3, spec.height, spec.width)
    fits = out.dtype == _FLOAT32 and out.shape == shape and out.flags.aligned
    if not (fits and out.flags.c_contiguous and out.flags.writeable):
        raise PreprocessError(
            f"out is {out.dtype} {list(out.shape)}, expected a writeable C-contiguous "
            f"float32 {list(shape)}"
        )


@lru_cache(maxsize=64)
def _native_pass(spec: PreprocessSpec) -> Callable[[NDArray[Any], Any, NDArray[Any]], None]:
    """Return what writes a frame's region, or its aligned face, to a tensor."""
    module = native_module()
    if module is None:
        raise PreprocessError(
            "the native pass was not built here: install a C++17 compiler and reinstall fasdk, "
            "or use Implementation.NUMPY, which gives the same tensor"
        )
    native = module.Pass(**native_rules(spec))
    if spec.crop is CropRule.LANDMARKS:
        return _aligning(native, spec)
    if spec.depth is not None:
        levels = depth_levels(spec.depth)

        def depth(frame: NDArray[Any], region: Region, out: NDArray[Any]) -> None:
            native.depth(frame, region, levels, out)

        return depth
    composite = spec.ir_composite is not IrComposite.PLAIN
    write: Callable[[NDArray[Any], Region, NDArray[Any]], None]
    write = native.composite if composite else native.image
    return write


def _aligning(
    native: Any, spec: PreprocessSpec
) -> Callable[[NDArray[Any], Alignment, NDArray[Any]], None]:
    if spec.depth is not None:
        levels = depth_levels(spec.depth)

        def depth(frame: NDArray[Any], alignment: Alignment, out: NDArray[Any]) -> None:
            native.aligned_depth(frame, alignment.to_frame, levels, out)

        return depth

    def image(frame: NDArray[Any], alignment: Alignment, out: NDArray[Any]) -> None:
        native.aligned_image(frame, alignment.to_frame, out)

    return image


def _numpy_pass(
    frame: NDArray[Any],
    view: Region | Alignment,
    spec: PreprocessSpec,
    out: NDArray[np.float32],
) -> None:
    if isinstance(view, Alignment):
        pixels = frame if spec.depth is None else depth_to_8bit(frame, spec.depth)
        size = spec.width, spec.height
        planes = _planes_of(aligned(pixels, view, size, spec.border, spec.border_level), spec)
    else:
        pixels = _cropped(frame, view, spec)
        maps = [pixels]
        if spec.ir_composite is not IrComposite.PLAIN:
            maps += [hog_map(pixels), plgf_map(pixels)]
        fitted = [_fitted(image, spec) for image in maps]
        planes = fitted if len(fitted) == 3 else _planes_of(fitted[0], spec)
    for plane, levels in enumerate(planes):
        np.take(spec.table[plane], levels, out=out[plane], mode="clip")  # "raise" would copy


def _cropped(frame: NDArray[Any], region: Region, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Return a region's 8-bit levels; what lies outside the frame follows from what lies inside."""
    left, top, right, bottom = region
    corner_x, corner_y = max(left, 0), max(top, 0)
    pixels = frame[corner_y : bottom + 1, corner_x : right + 1]
    if spec.depth is not None:
        pixels = depth_to_8bit(pixels, spec.depth)
    rectangle = left - corner_x, top - corner_y, right - left + 1, bottom - top + 1
    return extended(pixels, rectangle, spec.border, spec.border_level)


def _fitted(image: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Return an image as large as the tensor, letterboxed where the spec says so."""
    left, top, width, height = inside_of((image.shape[1], image.shape[0]), spec)
    if spec.interpolation is Interpolation.AREA:
        resized = resize_area(image, width, height)
    else:
        resized = resize_bilinear(image, width, height, using=Implementation.NUMPY)
    rectangle = -left, -top, spec.width, spec.height
    return extended(resized, rectangle, spec.border, spec.border_level)


def _planes_of(image: NDArray[np.uint8], spec: PreprocessSpec) -> list[NDArray[np.uint8]]:
    if image.ndim == 2:
        return [image] * 3
    planes = [image[..., channel] for channel in range(3)]
    return planes[::-1] if spec.channel_order is ChannelOrder.BGR else planes


def input_shapes(
    specs: Mapping[Modality, PreprocessSpec], presence: Sequence[Modality | str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shape of what `to_batch` makes by name, without the batch axis."""
    specs = by_choice("specs", specs, Modality)
    shapes: dict[str, tuple[int, ...]] = {
        m.value: (3, spec.height, spec.width) for m, spec in specs.items()
    }
    if presence is not None:
        shapes[PRESENCE] = (len(as_choices("presence", presence, Modality)),)
    return shapes


def fill_row(
    capture: Capture,
    specs: Mapping[Modality, PreprocessSpec],
    presence: Sequence[Modality | str] | None,
    inputs: Mapping[str, NDArray[np.float32]],
    row: int,
) -> None:
    """Write one capture into a row of a batch's buffers; an absent modality's `missing_value` too.

    Args:
        capture: Capture with any mixture of present and absent modalities.
        specs: Preprocessing by modality.
        presence: Column order of the presence input, for a graph that takes one.
        inputs: The buffers by input name, C-contiguous: float32 [B, 3, H, W] for each spec; with
            `presence` also `present`, float32 [B, modalities].
        row: The row to write, in [0, B).

    Raises:
        PreprocessError: A frame or a buffer does not fit its spec. What the row holds is then
            undefined.
    """
    specs = by_choice("specs", specs, Modality)
    if presence is not None:
        presence = as_choices("presence", presence, Modality)
    present = capture.present
    for modality, spec in specs.items():
        tensor = _buffer(inputs, modality.value)[row]
        if modality in present:
            to_tensor(
                capture.frame(modality),
                capture.face_in(modality),
                spec,
                landmarks=capture.landmarks_in(modality),
                out=tensor,
            )
        else:
            _require_out(tensor, spec)
            tensor.fill(spec.missing_value)
    if presence is not None:
        _buffer(inputs, PRESENCE)[row] = [m in present for m in presence]


def _buffer(inputs: Mapping[str, NDArray[np.float32]], name: str) -> NDArray[np.float32]:
    buffer = inputs.get(name)
    if buffer is None:
        raise PreprocessError(f"no buffer for the input {name}, only {', '.join(inputs) or 'none'}")
    return buffer


def to_batch(
    captures: list[Capture],
    specs: Mapping[Modality, PreprocessSpec],
    presence: Sequence[Modality | str] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return a batch of captures as the graph's inputs; absent modalities hold `missing_value`.

    Args:
        captures: Captures, each with any mixture of present and absent modalities.
        specs: Preprocessing by modality.
        presence: Column order of the presence input, for a graph that takes one.

    Returns:
        float32 [B, 3, H, W] by modality name, one entry per spec; with `presence`, also `present`,
        float32 [B, modalities], 1 where a capture holds the modality and 0 where not.

    Raises:
        PreprocessError: A frame does not fit its spec.
    """
    specs = by_choice("specs", specs, Modality)
    if presence is not None:
        presence = as_choices("presence", presence, Modality)
    batch = {
        name: np.empty((len(captures), *shape), np.float32)
        for name, shape in input_shapes(specs, presence).items()
    }
    for row, capture in enumerate(captures):
        fill_row(capture, specs, presence, batch, row)
    return batch

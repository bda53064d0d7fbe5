"""Turn a camera frame into the tensor the model was trained on.

Frame → crop → (depth to 8 bits) → bilinear resize on 8 bits → channel order → normalise → NCHW.
The arithmetic is the training pipeline's: OpenCV's on x86-64. `sdk/native` does all of it in one
pass; where that module was not built, NumPy gives the same bits, only slower.
"""

from __future__ import annotations

from enum import Enum
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import PreprocessError
from fasdk.resize import resize_bilinear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from numpy.typing import NDArray


PRESENCE = "present"  # the graph input that says which modalities a capture holds


class Implementation(str, Enum):
    """What turns frames into tensors; both give the same bits."""

    NATIVE = "native"
    NUMPY = "numpy"


class CropRule(str, Enum):
    """Which part of the frame the model looks at."""

    FRAME = "frame"
    FACE = "face"


class ChannelOrder(str, Enum):
    """Order of the colour planes in the tensor."""

    RGB = "rgb"
    BGR = "bgr"


class DepthPolarity(str, Enum):
    """Which end of the depth range the data set drew bright."""

    NEAR_BRIGHT = "near-bright"
    FAR_BRIGHT = "far-bright"


class DepthEncoding(BaseModel):
    """How the training set turned millimetres into 8 bits; 0 mm (no return) stays 0.

    Attributes:
        near_mm: Distance drawn at one end; anything nearer is clipped to it.
        far_mm: Distance drawn at the other end; anything farther is clipped to it.
        polarity: Which end is 255. Valid depth never maps below 1, so it differs from no return.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    near_mm: int = Field(ge=1, le=65534)
    far_mm: int = Field(ge=2, le=65535)
    polarity: DepthPolarity

    @model_validator(mode="after")
    def _ordered(self) -> DepthEncoding:
        if self.near_mm >= self.far_mm:
            raise ValueError(f"near_mm {self.near_mm} must be less than far_mm {self.far_mm}")
        return self


class PreprocessSpec(BaseModel):
    """One modality's way from frame to tensor; it travels in the bundle.

    Attributes:
        width: Tensor width in pixels.
        height: Tensor height in pixels.
        crop: Whole frame, or the face box enlarged by `crop_scale` and kept inside the frame.
        crop_scale: Factor on the face box's width and height, about its centre.
        channel_order: Order of the tensor's colour planes; grey frames are replicated.
        depth: How millimetres become 8 bits; only, and always, for depth.
        mean: Subtracted from each tensor plane, in 8-bit units, in `channel_order`.
        std: Divides each tensor plane after that, in 8-bit units.
        missing_value: What the whole tensor holds when the modality is absent, after normalisation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=4096)
    height: int = Field(ge=1, le=4096)
    crop: CropRule
    crop_scale: float = Field(default=1.0, gt=0.0, le=16.0, allow_inf_nan=False)
    channel_order: ChannelOrder = ChannelOrder.RGB
    depth: DepthEncoding | None = None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    missing_value: float = Field(default=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _finite(self) -> PreprocessSpec:
        with np.errstate(all="ignore"):  # the results say whether it worked
            if not np.isfinite(np.float32(self.missing_value)):
                raise ValueError(f"missing_value {self.missing_value} does not fit a float32")
            if not np.isfinite(self.table).all():
                raise ValueError(
                    f"mean {self.mean} and std {self.std} do not normalise 8-bit levels to finite "
                    "float32: give finite values and no std of 0"
                )
        return self

    @property
    def table(self) -> NDArray[np.float32]:
        """The normalisation as float32 [3, 256]: one value per tensor plane and 8-bit level.

        Every implementation looks values up here, so host and device cannot round differently.
        """
        return _table(self.mean, self.std)


@lru_cache(maxsize=64)
def _table(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    levels = np.arange(256, dtype=np.float32)[None, :]
    offset, scale = np.array([mean, std], np.float32)[:, :, None]
    table: NDArray[np.float32] = (levels - offset) / scale
    table.setflags(write=False)
    return table


@lru_cache(maxsize=16)
def _depth_levels(encoding: DepthEncoding) -> NDArray[np.uint8]:
    """Return uint8 [65536]: the 8-bit level of every depth in millimetres."""
    depth_mm = np.arange(65536, dtype=np.float64)
    span = encoding.far_mm - encoding.near_mm
    fraction = (np.clip(depth_mm, encoding.near_mm, encoding.far_mm) - encoding.near_mm) / span
    if encoding.polarity is DepthPolarity.NEAR_BRIGHT:
        fraction = 1.0 - fraction
    levels = np.maximum(np.rint(255.0 * fraction), 1).astype(np.uint8)
    levels[0] = 0
    levels.setflags(write=False)
    return levels


def depth_to_8bit(depth_mm: NDArray[np.uint16], encoding: DepthEncoding) -> NDArray[np.uint8]:
    """Return depth as the training set drew it.

    Args:
        depth_mm: uint16 [H, W], millimetres; 0 where the sensor saw nothing.
        encoding: Range and polarity of the data set.

    Returns:
        uint8 [H, W]; 0 exactly where `depth_mm` is 0.
    """
    return np.asarray(_depth_levels(encoding)[depth_mm])


def crop_box(frame_size: tuple[int, int], face: FaceBox, scale: float) -> tuple[int, int, int, int]:
    """Return the enlarged face box, moved and shrunk so that it stays inside the frame.

    The rule is the one the Silent-Face checkpoints were trained with, edges truncated towards 0.

    Args:
        frame_size: (width, height) in pixels.
        face: The face in that frame.
        scale: Factor on width and height; reduced where the enlarged box would exceed the frame.

    Returns:
        left, top, right, bottom in pixels, right and bottom inclusive.
    """
    last_x, last_y = frame_size[0] - 1, frame_size[1] - 1
    scale = min(last_y / face.height, last_x / face.width, scale)
    width, height = face.width * scale, face.height * scale
    centre_x, centre_y = face.width / 2 + face.x, face.height / 2 + face.y
    left, top = centre_x - width / 2, centre_y - height / 2
    right, bottom = centre_x + width / 2, centre_y + height / 2
    if left < 0:
        left, right = 0.0, right - left
    if top < 0:
        top, bottom = 0.0, bottom - top
    if right > last_x:
        left, right = left - (right - last_x), float(last_x)
    if bottom > last_y:
        top, bottom = top - (bottom - last_y), float(last_y)
    return int(left), int(top), int(right), int(bottom)


def region_of(
    frame_size: tuple[int, int], face: FaceBox | None, spec: PreprocessSpec
) -> tuple[int, int, int, int]:
    """Return the part of the frame `spec` looks at: left, top, right, bottom, inclusive.

    Raises:
        PreprocessError: The spec crops to the face and no face box was given.
    """
    if spec.crop is CropRule.FRAME:
        return 0, 0, frame_size[0] - 1, frame_size[1] - 1
    if face is None:
        raise PreprocessError(
            "this model looks at the face and the capture has no face box: "
            "give Capture(face=(x, y, width, height)) or --face x,y,width,height"
        )
    return crop_box(frame_size, face, spec.crop_scale)


@cache
def _native() -> ModuleType | None:
    try:
        from fasdk import _native as module
    except ImportError:  # no compiler where it was installed
        return None
    return module


def implementation() -> Implementation:
    """Return what `to_tensor` uses here: the native pass wherever it was built."""
    return Implementation.NUMPY if _native() is None else Implementation.NATIVE


def to_tensor(
    frame: NDArray[Any],
    face: FaceBox | None,
    spec: PreprocessSpec,
    *,
    out: NDArray[np.float32] | None = None,
    using: Implementation | None = None,
) -> NDArray[np.float32]:
    """Return one frame as the model's input.

    Args:
        frame: uint8 [H, W, 3] red first, uint8 [H, W], or uint16 [H, W] in millimetres where
            `spec.depth` is set. Any strides.
        face: The face in pixels of this frame; needed when `spec.crop` is the face.
        spec: The modality's preprocessing.
        out: float32 [3, spec.height, spec.width], C-contiguous, to write to; None makes a new one.
        using: The implementation, or None for `implementation()`. The tensor is the same.

    Returns:
        float32 [3, spec.height, spec.width], normalised; `out` where it was given.

    Raises:
        PreprocessError: The frame, `out` and the spec do not fit, the face box is missing, or the
            native pass was asked for and not built.
    """
    _require_frame(frame, spec)
    region = region_of((frame.shape[1], frame.shape[0]), face, spec)
    if out is None:
        out = np.empty((3, spec.height, spec.width), np.float32)
    else:
        _require_out(out, spec)
    if (using or implementation()) is Implementation.NUMPY:
        _numpy_pass(frame, region, spec, out)
    else:
        _native_pass(frame, region, spec, out)
    return out


def _require_frame(frame: NDArray[Any], spec: PreprocessSpec) -> None:
    shape_fits = frame.ndim == 2 or (spec.depth is None and frame.shape[2:] == (3,))
    dtype = np.dtype(np.uint8 if spec.depth is None else np.uint16)
    if frame.dtype != dtype or not shape_fits or 0 in frame.shape:
        expected = "uint8 [H, W, 3] or [H, W]" if spec.depth is None else "uint16 [H, W] depth"
        raise PreprocessError(
            f"frame is {frame.dtype} {list(frame.shape)}, its spec describes {expected}: "
            "give the frame of the modality the spec is for"
        )


def _require_out(out: NDArray[np.float32], spec: PreprocessSpec) -> None:
    shape = (3, spec.height, spec.width)
    fits = out.dtype == np.float32 and out.shape == shape
    if not (fits and out.flags.c_contiguous and out.flags.writeable):
        raise PreprocessError(
            f"out is {out.dtype} {list(out.shape)}, expected a writeable C-contiguous "
            f"float32 {list(shape)}"
        )


def _native_pass(
    frame: NDArray[Any],
    region: tuple[int, int, int, int],
    spec: PreprocessSpec,
    out: NDArray[np.float32],
) -> None:
    module = _native()
    if module is None:
        raise PreprocessError(
            "the native pass was not built here: install a C++17 compiler and reinstall fasdk, "
            "or use Implementation.NUMPY, which gives the same tensor"
        )
    if spec.depth is None:
        swap = spec.channel_order is ChannelOrder.BGR
        module.image_to_tensor(frame, region, spec.table, out, swap=swap)
    else:
        module.depth_to_tensor(frame, region, _depth_levels(spec.depth), spec.table, out)


def _numpy_pass(
    frame: NDArray[Any],
    region: tuple[int, int, int, int],
    spec: PreprocessSpec,
    out: NDArray[np.float32],
) -> None:
    left, top, right, bottom = region
    pixels = frame[top : bottom + 1, left : right + 1]
    if spec.depth is not None:
        pixels = depth_to_8bit(pixels, spec.depth)
    resized = resize_bilinear(pixels, spec.width, spec.height)
    planes = [resized] * 3 if resized.ndim == 2 else [resized[..., c] for c in range(3)]
    if spec.channel_order is ChannelOrder.BGR:
        planes.reverse()
    for plane, levels in enumerate(planes):
        np.take(spec.table[plane], levels, out=out[plane], mode="clip")  # "raise" would copy


def input_shapes(
    specs: Mapping[Modality, PreprocessSpec], presence: Sequence[Modality] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shape of what `to_batch` makes by name, without the batch axis."""
    shapes: dict[str, tuple[int, ...]] = {
        m.value: (3, spec.height, spec.width) for m, spec in specs.items()
    }
    if presence is not None:
        shapes[PRESENCE] = (len(presence),)
    return shapes


def fill_row(
    capture: Capture,
    specs: Mapping[Modality, PreprocessSpec],
    presence: Sequence[Modality] | None,
    inputs: Mapping[str, NDArray[np.float32]],
    row: int,
) -> None:
    """Write one capture into a row of a batch's buffers; an absent modality's `missing_value` too.

    Args:
        capture: Any mixture of present and absent modalities.
        specs: Preprocessing by modality.
        presence: Column order of the presence input, for a graph that takes one.
        inputs: The buffers by input name, C-contiguous: float32 [B, 3, H, W] for each spec; with
            `presence` also `present`, float32 [B, modalities].
        row: The row to write, in [0, B).

    Raises:
        PreprocessError: A frame or a buffer does not fit its spec. What the row holds is then
            undefined.
    """
    present = capture.present
    for modality, spec in specs.items():
        tensor = inputs[modality.value][row]
        if modality in present:
            to_tensor(capture.frame(modality), capture.face_in(modality), spec, out=tensor)
        else:
            _require_out(tensor, spec)
            tensor.fill(spec.missing_value)
    if presence is not None:
        inputs[PRESENCE][row] = [m in present for m in presence]


def to_batch(
    captures: list[Capture],
    specs: Mapping[Modality, PreprocessSpec],
    presence: Sequence[Modality] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return a batch of captures as the graph's inputs; absent modalities hold `missing_value`.

    Args:
        captures: Any mixture of present and absent modalities.
        specs: Preprocessing by modality.
        presence: Column order of the presence input, for a graph that takes one.

    Returns:
        float32 [B, 3, H, W] by modality name, one entry per spec; with `presence`, also `present`,
        float32 [B, modalities], 1 where a capture holds the modality and 0 where not.

    Raises:
        PreprocessError: A frame does not fit its spec.
    """
    batch = {
        name: np.empty((len(captures), *shape), np.float32)
        for name, shape in input_shapes(specs, presence).items()
    }
    for row, capture in enumerate(captures):
        fill_row(capture, specs, presence, batch, row)
    return batch

"""Preprocessing specification of one modality, as the bundle's manifest states it."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from fasdk.added_fields import OmitsDefaults, added, omitted_defaults

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]  # x, y in pixels


class CropRule(str, Enum):
    """Part of the frame that the model sees."""

    FRAME = "frame"
    FACE = "face"
    LANDMARKS = "landmarks"
    """The face turned, scaled and moved so that its landmarks lie at `landmark_positions`."""


class CropShape(str, Enum):
    """Shape of a face crop before `crop_scale` enlarges it about the box's center."""

    BOX = "box"
    """The face box's own width and height."""
    SQUARE = "square"
    """A square of the box's longer side."""


class CropBounds(str, Enum):
    """What becomes of a face crop that leaves the frame."""

    SHIFT = "shift"
    """It is enlarged less where the frame is too small, and moved inside."""
    CLIP = "clip"
    """It ends at the frame's edge."""
    PAD = "pad"
    """What lies outside is made by `border`."""


class Border(str, Enum):
    """Pixels outside an image, by OpenCV's names of border types."""

    CONSTANT = "constant"
    """Of one level, `border_level`."""
    REPLICATE = "replicate"
    """The nearest pixel: aaa|abcd|ddd."""
    REFLECT = "reflect"
    """Mirrored, the last pixel twice: cba|abcd|dcb."""
    REFLECT_101 = "reflect-101"
    """Mirrored at the last pixel: dcb|abcd|cba."""


class Fit(str, Enum):
    """How a crop becomes as large as the tensor."""

    STRETCH = "stretch"
    """Both axes are resized to the tensor's."""
    LETTERBOX = "letterbox"
    """Resized with its aspect kept, its sides rounded, and centered; `border` fills the rest."""
    LETTERBOX_FLOOR = "letterbox-floor"
    """The same with its sides rounded down."""


class Interpolation(str, Enum):
    """Interpolation of the resize, as OpenCV's of that name on 8-bit images."""

    BILINEAR = "bilinear"
    AREA = "area"


class ChannelOrder(str, Enum):
    """Order of the color planes in the tensor."""

    RGB = "rgb"
    BGR = "bgr"


class DepthPolarity(str, Enum):
    """End of the depth range that the data set draws bright."""

    NEAR_BRIGHT = "near-bright"
    FAR_BRIGHT = "far-bright"


class IrComposite(str, Enum):
    """Contents of the three infrared planes; published checkpoints differ."""

    PLAIN = "plain"
    """Infrared in all three."""
    IR_HOG_PLGF = "ir-hog-plgf"
    """Infrared, its histogram of oriented gradients, and its pattern of local gravitational force.

    Both maps are drawn in 8 bits at the crop's own size (`composite.py`), then resized.
    """


class DepthEncoding(BaseModel):
    """Encoding of millimeters in 8 bits, as in the training set; 0 mm (no return) stays 0.

    Attributes:
        near_mm: Distance drawn at one end; anything nearer is clipped to it.
        far_mm: Distance drawn at the other end; anything farther is clipped to it.
        polarity: End of the range that is 255. Valid depth never maps below 1, so it differs from
            no return.
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


# Where InsightFace puts eyes, nose tip and corners of the mouth in an image of 112x112 pixels.
INSIGHTFACE_112: tuple[Point, ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


class PreprocessSpec(OmitsDefaults):
    """Preprocessing of one modality from frame to tensor; part of the bundle's manifest.

    Attributes:
        width: Tensor width in pixels.
        height: Tensor height in pixels.
        crop: Whole frame, the face box enlarged by `crop_scale`, or the face aligned by landmarks.
        crop_scale: Factor on the face crop's width and height, about its center.
        crop_shape: Shape of a face crop.
        crop_bounds: What becomes of a face crop that leaves the frame.
        landmark_positions: Tensor positions, (x, y) in pixels with 0 the middle of the first one,
            of the landmarks in the order of `Capture.landmarks`, null (in TOML []) for one that is
            not used; at least two. Only, and always, for `crop` landmarks, where a square tensor of
            a multiple of 112 or 128 pixels has InsightFace's as its default.
        border: Pixels outside the frame where `crop_bounds` is pad or `crop` is landmarks, and
            around the image where `fit` is a letterbox.
        border_level: 8-bit level of a constant border, in all planes; for depth its encoded level.
        fit: How the crop becomes as large as the tensor.
        interpolation: Interpolation of the resize; an aligned face is always bilinear.
        channel_order: Order of the tensor's color planes; gray frames are replicated.
        depth: Encoding of millimeters in 8 bits; only, and always, for depth.
        ir_composite: Contents of the three planes; another than plain only for infrared.
        mean: Values subtracted from the tensor planes, in 8-bit units, in `channel_order`.
        std: Divisors of the tensor planes after that, in 8-bit units.
        missing_value: Value of the whole tensor when the modality is absent, after normalization.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=4096)
    height: int = Field(ge=1, le=4096)
    crop: CropRule
    crop_scale: float = Field(default=1.0, gt=0.0, le=16.0, allow_inf_nan=False)
    crop_shape: CropShape = added(CropShape.BOX)
    crop_bounds: CropBounds = added(CropBounds.SHIFT)
    landmark_positions: tuple[Point | None, ...] | None = added(None, min_length=5, max_length=5)
    border: Border = added(Border.CONSTANT)
    border_level: int = added(0, ge=0, le=255)
    fit: Fit = added(Fit.STRETCH)
    interpolation: Interpolation = added(Interpolation.BILINEAR)
    channel_order: ChannelOrder = ChannelOrder.RGB
    depth: DepthEncoding | None = None
    ir_composite: IrComposite = IrComposite.PLAIN
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    missing_value: float = Field(default=0.0, allow_inf_nan=False)

    @field_validator("landmark_positions", mode="before")
    @classmethod
    def _empty_is_not_used(cls, given: Any) -> Any:
        """Take an empty pair for an unused landmark: TOML has no null."""
        if not isinstance(given, (list, tuple)):
            return given
        # Tuples, since a strict validation of what this returns takes no list for one.
        points = (tuple(point) if isinstance(point, list) else point for point in given)
        return tuple(None if point == () else point for point in points)

    @model_validator(mode="after")
    def _insightface_is_the_default(self) -> PreprocessSpec:
        if self.crop is CropRule.LANDMARKS and self.landmark_positions is None:
            # Not a validator that runs before: strict JSON would be Python's strictness after it.
            self.__dict__["landmark_positions"] = insightface_positions(self.width, self.height)
        return self

    @model_validator(mode="after")
    def _finite(self) -> PreprocessSpec:
        with np.errstate(all="ignore"):  # the results show whether it worked
            if not np.isfinite(np.float32(self.missing_value)):
                raise ValueError(f"missing_value {self.missing_value} does not fit a float32")
            if not np.isfinite(self.table).all():
                raise ValueError(
                    f"mean {self.mean} and std {self.std} do not normalize 8-bit levels to finite "
                    "float32: give finite values and no std of 0"
                )
        return self

    @model_validator(mode="after")
    def _in_8_bit_units(self) -> PreprocessSpec:
        largest_mean, largest_std = (max(map(abs, v)) for v in (self.mean, self.std))
        if largest_mean <= 1.0 and (largest_std < 1.0 or (largest_mean > 0 and largest_std <= 1)):
            mean, std = ([round(255.0 * v, 4) for v in values] for values in (self.mean, self.std))
            raise ValueError(
                f"mean {list(self.mean)} and std {list(self.std)} are in units of 0 to 1, expected "
                f"8-bit levels: multiply by 255 and write mean = {mean} and std = {std}"
            )
        return self

    @model_validator(mode="after")
    def _composite_is_infrared(self) -> PreprocessSpec:
        if self.ir_composite is not IrComposite.PLAIN:
            if self.depth is not None:
                raise ValueError(f"ir_composite {self.ir_composite.value} is not for depth")
            if self.channel_order is not ChannelOrder.RGB:
                raise ValueError("the planes of an infrared composite have one order: leave it rgb")
            if self.crop is CropRule.LANDMARKS or self.crop_bounds is CropBounds.PAD:
                raise ValueError(
                    "the maps of an infrared composite are drawn on a crop inside the frame: "
                    "leave out crop_bounds pad and crop landmarks"
                )
        return self

    @model_validator(mode="after")
    def _crop_is_used(self) -> PreprocessSpec:
        """Refuse a setting that another one leaves without effect."""
        is_default = {
            name: getattr(self, name) == d for name, d in omitted_defaults(PreprocessSpec).items()
        }
        if self.crop is not CropRule.FACE:
            self._refuse(is_default, ("crop_shape", "crop_bounds"), "crop = face")
        if self.crop is CropRule.LANDMARKS:
            self._require_positions()
            if self.crop_scale != 1.0:
                raise ValueError(
                    f"crop_scale {self.crop_scale} has no effect on aligned faces: leave it out, "
                    "and give landmark_positions nearer to each other or farther apart"
                )
            self._refuse(is_default, ("fit", "interpolation"), "crop = face or frame")
        else:
            self._refuse(is_default, ("landmark_positions",), "crop = landmarks")
            if self.fit is Fit.STRETCH and self.crop_bounds is not CropBounds.PAD:
                why = "crop_bounds = pad, crop = landmarks or a letterbox"
                self._refuse(is_default, ("border", "border_level"), why)
        if self.border is not Border.CONSTANT:
            self._refuse(is_default, ("border_level",), "border = constant")
        return self

    def _refuse(self, is_default: dict[str, bool], names: tuple[str, ...], needs: str) -> None:
        for name in names:
            if not is_default[name]:
                value = getattr(self, name)
                shown = value.value if isinstance(value, Enum) else value
                raise ValueError(f"{name} {shown} has no effect without {needs}: leave it out")

    def _require_positions(self) -> None:
        positions = self.landmark_positions
        if positions is None:
            raise ValueError(
                f"crop landmarks needs landmark_positions for a tensor of {self.width}x"
                f"{self.height}: five (x, y) in its pixels; only squares of a multiple of 112 or "
                "128 pixels have InsightFace's as their default"
            )
        used = {point for point in positions if point is not None}
        if len(used) < 2 or not np.isfinite(list(used)).all():
            raise ValueError("landmark_positions must be finite, two or more of them different")

    @property
    def table(self) -> NDArray[np.float32]:
        """The normalization as float32 [3, 256]: one value per tensor plane and 8-bit level.

        (level - mean) / std in float32, a rounding each: IEEE 754 leaves every implementation, host
        or device, the same value.
        """
        return _table(self.mean, self.std)


def insightface_positions(width: int, height: int) -> tuple[Point, ...] | None:
    """Return where InsightFace puts the landmarks in a square image, None for a size it has not.

    Sizes are multiples of 112 pixels, or of 128, where the face lies 8/128 of the side further
    right (InsightFace, python-package/insightface/utils/face_align.py).
    """
    if width != height:
        return None
    if width % 112 == 0:
        scale, shift = width / 112, 0.0
    elif width % 128 == 0:
        scale, shift = width / 128, 8.0 * (width / 128)
    else:
        return None
    return tuple((x * scale + shift, y * scale) for x, y in INSIGHTFACE_112)


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
def depth_levels(encoding: DepthEncoding) -> NDArray[np.uint8]:
    """Return uint8 [65536], read-only: the 8-bit level of every depth in millimeters."""
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
        depth_mm: uint16 [H, W], millimeters; 0 where the sensor saw nothing.
        encoding: Range and polarity of the data set.

    Returns:
        uint8 [H, W]; 0 exactly where `depth_mm` is 0.
    """
    return np.asarray(depth_levels(encoding)[depth_mm])

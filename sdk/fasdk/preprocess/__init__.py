"""Preprocessing of camera frames into the tensors a model was trained on.

`spec` is what travels in a bundle, `geometry` the part of a frame that it looks at, `tensors` the
way from frame to tensor and batch; `native` picks the compiled pass where it was built, and
`alignment`, `area`, `borders`, `composite` and `resize` give the same bits without it.
"""

from fasdk.preprocess.geometry import crop_box, region_of, view_of
from fasdk.preprocess.native import Implementation, implementation
from fasdk.preprocess.spec import (
    Border,
    ChannelOrder,
    CropBounds,
    CropRule,
    CropShape,
    DepthEncoding,
    DepthPolarity,
    Fit,
    Interpolation,
    IrComposite,
    PreprocessSpec,
    depth_to_8bit,
)
from fasdk.preprocess.tensors import (
    PRESENCE,
    fill_row,
    input_shapes,
    to_batch,
    to_tensor,
)

__all__ = [
    "PRESENCE",
    "Border",
    "ChannelOrder",
    "CropBounds",
    "CropRule",
    "CropShape",
    "DepthEncoding",
    "DepthPolarity",
    "Fit",
    "Implementation",
    "Interpolation",
    "IrComposite",
    "PreprocessSpec",
    "crop_box",
    "depth_to_8bit",
    "fill_row",
    "implementation",
    "input_shapes",
    "region_of",
    "to_batch",
    "to_tensor",
    "view_of",
]

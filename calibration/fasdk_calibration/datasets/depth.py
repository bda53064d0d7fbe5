"""Conversion of 8-bit depth levels to the millimeters that a model encodes as the same levels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import DatasetError
from fasdk.preprocess import DepthEncoding, PreprocessSpec, depth_to_8bit

if TYPE_CHECKING:
    from numpy.typing import NDArray


def depth_encoding(specs: Mapping[Any, PreprocessSpec]) -> DepthEncoding | None:
    """Return the depth encoding of a model, None where it looks at no depth.

    Args:
        specs: Preprocessing by modality.
    """
    return next((spec.depth for spec in specs.values() if spec.depth is not None), None)


def levels_to_millimeters(levels: NDArray[np.uint8], encoding: DepthEncoding) -> NDArray[np.uint16]:
    """Return nominal depth that `encoding` draws as exactly these levels.

    The published benchmark keeps depth as 8-bit levels without stating their distances; a model
    trained on them sees the very tensor it was trained on, whatever its encoding's range.

    Args:
        levels: uint8 [H, W]; 0 where the sensor saw nothing.
        encoding: Depth encoding of the model that will score the capture.

    Returns:
        uint16 [H, W], millimeters; `depth_to_8bit(result, encoding)` is `levels`.

    Raises:
        DatasetError: The encoding's range has fewer millimeters than there are levels.
    """
    return np.asarray(_nominal_millimeters(encoding)[levels])


@lru_cache(maxsize=16)
def _nominal_millimeters(encoding: DepthEncoding) -> NDArray[np.uint16]:
    """Return uint16 [256]: the middle of what each level stands for, in millimeters."""
    millimeters = np.arange(encoding.near_mm, encoding.far_mm + 1, dtype=np.uint16)
    drawn = depth_to_8bit(millimeters, encoding)
    nominal = np.zeros(256, np.uint16)  # level 0 is 0 mm in every encoding
    for level in range(1, 256):
        alike = millimeters[drawn == level]
        if alike.size == 0:
            raise DatasetError(
                f"depth from {encoding.near_mm} to {encoding.far_mm} mm has no distance that is "
                f"drawn as level {level}, so 8-bit depth cannot be turned back: the model's range "
                f"spans {encoding.far_mm - encoding.near_mm} mm, at least 255 mm are needed"
            )
        nominal[level] = alike[alike.size // 2]
    nominal.setflags(write=False)
    return nominal

"""HOG and PLGF maps of the published data sets, by scikit-image, SciPy and Pillow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import correlate
from skimage.feature import hog

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stored(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return what Pillow stores of a float image: uint8 [H, W]."""
    return np.asarray(Image.fromarray(image).convert("RGB"))[..., 0]


def hog_map(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return scikit-image's visualization, uint8 [H, W]."""
    _, drawn = hog(
        gray, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), visualize=True
    )
    return stored(drawn)


def _kernel(part: np.ufunc) -> NDArray[np.float64]:
    kernel = np.zeros((5, 5))
    for row in range(5):
        for column in range(5):
            up, right = 2 - row, column - 2
            if up or right:
                kernel[row, column] = part(math.atan2(up, right)) / (up**2 + right**2)
    return kernel


_ACROSS, _ALONG = _kernel(np.cos), _kernel(np.sin)


def plgf_map(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the published formula's map with SciPy's correlation in float64, uint8 [H, W]."""
    level = np.where(gray > 2, gray, 2).astype(np.float64)
    across, along = (correlate(level, k, mode="constant") for k in (_ACROSS, _ALONG))
    by = level + 0.0001
    angle = np.arctan(np.sqrt((across / by) ** 2 + (along / by) ** 2))
    return stored((angle - angle.min()) / (angle.max() - angle.min()) * (255 - 1) + 1)

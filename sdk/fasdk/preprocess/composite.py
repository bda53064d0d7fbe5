"""HOG and PLGF maps, which stand beside infrared in some checkpoints, in NumPy.

The published data sets were made by `skimage.feature.hog(gray, orientations=9, pixels_per_cell=(8,
8), cells_per_block=(2, 2), visualize=True)` and by the formula at `plgf_map`, at the crop's own
size, each stored through Pillow's conversion of floats to RGB: rounded to float32, clipped to [0,
255], truncated. The native pass draws the same maps (`sdk/native/include/fasdk/composite.hpp`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import PreprocessError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL = 8  # pixels along a side
BINS = 9  # of 20 degrees; opposite gradients share one
SMALLEST = 2 * CELL  # a block of 2x2 cells; scikit-image refuses less

# Per bin the pixels of a cell that its line covers, bit x of byte y: what Bresenham's algorithm
# draws across the cell's center, perpendicular to the bin's middle direction, radius 3.
_LINES = (
    (0x00, 0x10, 0x10, 0x10, 0x08, 0x08, 0x08, 0x00),
    (0x00, 0x20, 0x10, 0x10, 0x08, 0x08, 0x04, 0x00),
    (0x00, 0x00, 0x40, 0x30, 0x0C, 0x02, 0x00, 0x00),
    (0x00, 0x00, 0x40, 0x30, 0x0C, 0x02, 0x00, 0x00),
    (0x00, 0x00, 0x00, 0x00, 0xFE, 0x00, 0x00, 0x00),
    (0x00, 0x00, 0x02, 0x0C, 0x30, 0x40, 0x00, 0x00),
    (0x00, 0x00, 0x02, 0x0C, 0x30, 0x40, 0x00, 0x00),
    (0x00, 0x04, 0x08, 0x08, 0x10, 0x10, 0x20, 0x00),
    (0x00, 0x08, 0x08, 0x08, 0x10, 0x10, 0x10, 0x00),
)


def require_composite_size(width: int, height: int) -> None:
    """Check that a crop is large enough for the maps.

    Raises:
        PreprocessError: It is not.
    """
    if width < SMALLEST or height < SMALLEST:
        raise PreprocessError(
            f"the infrared composite looks at a crop of {width}x{height} pixels and needs at least "
            f"{SMALLEST}x{SMALLEST}: bring the face closer, or give a larger infrared frame"
        )


def hog_map(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the histogram of oriented gradients of each 8x8 cell, drawn as scikit-image does.

    Args:
        gray: uint8 [H, W], at least 16x16.

    Returns:
        uint8 [H, W]; 0 to the right of and below the last whole cell.

    Raises:
        PreprocessError: The image is smaller.
    """
    height, width = gray.shape
    require_composite_size(width, height)
    level = gray.astype(np.int32)
    across, down = np.zeros_like(level), np.zeros_like(level)
    across[:, 1:-1] = level[:, 2:] - level[:, :-2]
    down[1:-1] = level[2:] - level[:-2]

    rows, columns = height // CELL, width // CELL
    magnitude = _cells(np.sqrt((across * across + down * down).astype(np.float64)), rows, columns)
    orientation = _cells(_orientation_bins()[down + 255, across + 255], rows, columns)
    histogram = np.zeros((rows * columns, BINS), np.float32)
    cells = np.arange(rows * columns)
    for pixel in range(CELL * CELL):  # in order: scikit-image rounds to float32 after each
        bins = orientation[:, pixel]
        histogram[cells, bins] = histogram[cells, bins].astype(np.float64) + magnitude[:, pixel]
    strength = (histogram / np.float32(CELL * CELL)).astype(np.float64)

    drawn = np.zeros((height, width))
    lines = np.unpackbits(np.array(_LINES, np.uint8), axis=1, bitorder="little")
    cell_images = (strength @ lines.astype(np.float64)).reshape(rows, columns, CELL, CELL)
    whole = cell_images.transpose(0, 2, 1, 3).reshape(rows * CELL, columns * CELL)
    drawn[: rows * CELL, : columns * CELL] = whole
    return _clipped(drawn)


def plgf_map(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pattern of local gravitational force.

    With I = max(gray, 2), neighbors at (dx, dy), two at most away, pull with I dx / r^3 and
    I dy / r^3; outside the image nothing pulls. The angle atan(sqrt((gx / (I + 1e-4))^2 + (gy / (I
    + 1e-4))^2)) is stretched from its range to [1, 255].

    Args:
        gray: uint8 [H, W], at least 16x16.

    Returns:
        uint8 [H, W], at least 1.

    Raises:
        PreprocessError: The image is smaller.
    """
    height, width = gray.shape
    require_composite_size(width, height)
    level = np.maximum(gray, 2).astype(np.int32)
    padded = np.pad(level, 2)
    across, along = _force(padded), _force(padded.T).T
    by = level + 0.0001
    angle = np.arctan(np.sqrt((across / by) ** 2 + (along / by) ** 2))
    low, span = angle.min(), np.ptp(angle)
    if span <= 0.0:
        return np.ones_like(gray)
    return _clipped((angle - low) / span * 254.0 + 1.0)


def _force(padded: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return what pulls along columns; neighbors of one weight are summed exactly first."""
    height, width = padded.shape[0] - 4, padded.shape[1] - 4

    def difference(ahead: int, beside: int) -> NDArray[np.int32]:
        def at(dx: int, dy: int) -> NDArray[np.int32]:
            return padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]

        sides = {beside, -beside}
        return np.asarray(sum(at(ahead, side) - at(-ahead, side) for side in sides))

    plain = 4 * difference(1, 0) + difference(2, 0)
    diagonal = 4 * difference(1, 1) + difference(2, 2)
    knight = difference(1, 2) + 2 * difference(2, 1)
    return np.asarray(
        0.25 * plain + (0.25 * 0.35355339059327379) * diagonal + 0.089442719099991588 * knight
    )


@lru_cache(maxsize=1)
def _orientation_bins() -> NDArray[np.uint8]:
    """Return uint8 [511, 511]: the bin of a gradient (down + 255, across + 255)."""
    steps = np.arange(-255.0, 256.0)
    degrees = np.rad2deg(np.arctan2(steps[:, None], steps[None, :])) % 180.0
    return np.asarray(degrees // 20.0, np.uint8)


def _cells(image: NDArray[np.generic], rows: int, columns: int) -> NDArray[np.generic]:
    """Return whole cells as [rows * columns, pixels of a cell], row by row."""
    whole = image[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    return np.asarray(whole.transpose(0, 2, 1, 3).reshape(rows * columns, CELL * CELL))


def _clipped(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(values.astype(np.float32), 0, 255), np.uint8)

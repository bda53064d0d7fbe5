"""The C++ frame pass in sdk/native; `fasdk.preprocess` is its only caller."""

import numpy as np
from numpy.typing import NDArray

def image_to_tensor(
    frame: NDArray[np.uint8],
    region: tuple[int, int, int, int],
    table: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    swap: bool,
) -> None:
    """Crop, resize, normalise and lay out one 8-bit frame.

    Args:
        frame: uint8 [H, W] or [H, W, C], C 1 or 3, any strides; one channel fills three planes.
        region: left, top, right, bottom in pixels, right and bottom inclusive.
        table: float32 [3, 256], value by plane and level.
        out: float32 [3, h, w], C-contiguous; its shape is the size to resize to.
        swap: Plane 0 takes the last channel.

    Raises:
        ValueError: The region leaves the frame, or an array has no such shape.
        TypeError: An array has another dtype or layout.
    """

def depth_to_tensor(
    frame: NDArray[np.uint16],
    region: tuple[int, int, int, int],
    levels: NDArray[np.uint8],
    table: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Map one depth frame to 8 bits inside the region, then do as `image_to_tensor`.

    Args:
        frame: uint16 [H, W], any strides.
        region: left, top, right, bottom in pixels, right and bottom inclusive.
        levels: uint8 [65536], level by depth.
        table: float32 [3, 256], value by plane and level.
        out: float32 [3, h, w], C-contiguous.

    Raises:
        ValueError: The region leaves the frame, or an array has no such shape.
        TypeError: An array has another dtype or layout.
    """

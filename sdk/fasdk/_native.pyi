"""The C++ in sdk/native; only `fasdk.preprocess` and its tests call it.

Every function raises TypeError for an array of another dtype or layout, ValueError for one of
another shape, and lets go of the GIL while it works. Threads may share everything here.
"""

import numpy as np
from numpy.typing import NDArray

TIERS: tuple[str, ...]
"""Instructions this CPU has, best first; all give the same bits."""

class Pass:
    """How the frames of one modality become tensors.

    A region is left, top, right, bottom in pixels, right and bottom inclusive. `out` is float32
    [3, h, w], C-contiguous; its shape is the size to resize to. Frames may have any strides.
    """

    def __init__(
        self,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        swap: bool,
        tier: str = "",
        interpolation: str = "bilinear",
        pad: bool = False,
        border: str = "constant",
        border_level: int = 0,
        fit: str = "stretch",
    ) -> None:
        """Set the normalization and the framing, in the words of a `PreprocessSpec`.

        Args:
            mean: Value subtracted from each plane, in 8-bit units.
            std: Divisor of each plane after that, in 8-bit units.
            swap: Whether plane 0 takes the last channel.
            tier: Instruction set, one of TIERS; the best by default.
            interpolation: Interpolation of the resize.
            pad: Whether regions may leave the frame, though not wholly.
            border: Pixels outside the frame and around a letterbox.
            border_level: Level of a constant border.
            fit: How a region becomes as large as the tensor.
        """

    def image(
        self,
        frame: NDArray[np.uint8],
        region: tuple[int, int, int, int],
        out: NDArray[np.float32],
    ) -> None:
        """Crop, resize, normalize and lay out uint8 [H, W] or [H, W, C], C 1 or 3.

        One channel fills three planes.
        """

    def depth(
        self,
        frame: NDArray[np.uint16],
        region: tuple[int, int, int, int],
        levels: NDArray[np.uint8],
        out: NDArray[np.float32],
    ) -> None:
        """Map uint16 [H, W] to 8 bits by `levels`, uint8 [65536], then do as `image`."""

    def composite(
        self,
        frame: NDArray[np.uint8],
        region: tuple[int, int, int, int],
        out: NDArray[np.float32],
    ) -> None:
        """Do as `image` with uint8 [H, W], its HOG and its PLGF: one plane each."""

    def aligned_image(
        self,
        frame: NDArray[np.uint8],
        to_frame: tuple[float, float, float, float, float, float],
        out: NDArray[np.float32],
    ) -> None:
        """Align uint8 [H, W] or [H, W, C], C 1 or 3: see `fasdk.preprocess.alignment`."""

    def aligned_depth(
        self,
        frame: NDArray[np.uint16],
        to_frame: tuple[float, float, float, float, float, float],
        levels: NDArray[np.uint8],
        out: NDArray[np.float32],
    ) -> None:
        """Map uint16 [H, W] to 8 bits by `levels`, uint8 [65536], then do as `aligned_image`."""

def resize_8(image: NDArray[np.uint8], out: NDArray[np.uint8], tier: str = "") -> None:
    """Resize uint8 [H, W] or [H, W, C], C 1, 3 or 4, into a C-contiguous `out`."""

def resize_16(image: NDArray[np.uint16], out: NDArray[np.uint16]) -> None:
    """Resize uint16 [H, W] or [H, W, C], C 1, 3 or 4, into a C-contiguous `out`."""

def hog_map(image: NDArray[np.uint8], out: NDArray[np.uint8], tier: str = "") -> None:
    """Draw the HOG of uint8 [H, W], at least 16x16, into `out` of that shape."""

def plgf_map(image: NDArray[np.uint8], out: NDArray[np.uint8], tier: str = "") -> None:
    """Draw the PLGF of uint8 [H, W], at least 16x16, into `out` of that shape."""

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

ROW_PARAMETERS: dict[str, tuple[tuple[int, int], ...]]
"""Offset and size in bytes of every parameter of a kernel in `sdk/native/cuda`, by its name."""

class RowPacker:
    """Arguments of the kernels that write one modality's frames to rows, as a launch takes them.

    Addresses are the device's. Arguments are those of `Pass`; a region may leave the frame where
    `pad` is set, and `to_frame` is an aligned face's. Raises ValueError for what a kernel would
    read or write wrongly.
    """

    def __init__(
        self,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        swap: bool,
        interpolation: str = "bilinear",
        pad: bool = False,
        border: str = "constant",
        border_level: int = 0,
        fit: str = "stretch",
    ) -> None: ...
    def image(
        self,
        *,
        frame: int,
        shape: tuple[int, int, int],
        strides: tuple[int, int, int],
        out: int,
        out_size: tuple[int, int],
        region: tuple[int, int, int, int] | None = None,
        to_frame: tuple[float, float, float, float, float, float] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> bytes:
        """Pack the arguments of fasdk_image_row, for uint8 [H, W, C], C 1 or 3.

        Args:
            frame: Address of the sample at row 0, column 0, channel 0 of the frame, or of a part
                that holds all that is read.
            shape: Height, width and channels of it.
            strides: Samples from one row, column and channel to the next.
            out: Address of the row, float32 [3, h, w].
            out_size: (h, w) of the row.
            region: What becomes the row, in pixels of what `frame` is; or `to_frame`.
            to_frame: Where the aligned face lies in the whole frame; or `region`.
            window: Left and top of the part in the frame, and the frame's width and height, for
                `to_frame`; None for a whole frame.
        """

    def depth(
        self,
        *,
        frame: int,
        shape: tuple[int, int, int],
        strides: tuple[int, int, int],
        levels: int,
        out: int,
        out_size: tuple[int, int],
        region: tuple[int, int, int, int] | None = None,
        to_frame: tuple[float, float, float, float, float, float] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> bytes:
        """Pack the arguments of fasdk_depth_row, for uint16 [H, W, 1].

        Args:
            frame: As `image` has it.
            shape: As `image` has it.
            strides: As `image` has it.
            levels: Address of uint8 [65536], the level of every depth.
            out: As `image` has it.
            out_size: As `image` has it.
            region: As `image` has it.
            to_frame: As `image` has it.
            window: As `image` has it.
        """

def constant_row(*, out: int, count: int, value: float) -> bytes:
    """Pack the arguments of fasdk_constant_row: `count` float32 at `out` become `value`."""

def present_row(*, out: int, count: int, present: int) -> bytes:
    """Pack the arguments of fasdk_present_row: float32 1 or 0 by the bits of `present`."""

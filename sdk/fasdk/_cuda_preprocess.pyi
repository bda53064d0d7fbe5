"""The CUDA kernel in sdk/native/cuda; built only where CMake finds nvcc, and used only when asked.

Work goes to the current CUDA context on the stream that is given, and returns at once: frame,
levels and input must stay as they are until the stream has run it. The kernel's body is the one the
host's tests run. Both functions raise ValueError for what cannot be read or written, and
RuntimeError with CUDA's words where the launch fails; a kernel's own fault shows on the stream.
"""

def image(
    *,
    frame: int,
    shape: tuple[int, int, int],
    strides: tuple[int, int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    swap: bool,
    input: int,  # noqa: A002 - TensorRT's name for it
    row: int,
    out_size: tuple[int, int],
    stream: int,
    region: tuple[int, int, int, int] | None = None,
    to_frame: tuple[float, float, float, float, float, float] | None = None,
    interpolation: str = "bilinear",
    pad: bool = False,
    border: str = "constant",
    border_level: int = 0,
    fit: str = "stretch",
) -> None:
    """Turn an 8-bit frame on the device into one row of an engine's input buffer.

    Args:
        frame: Device address of uint8 [height, width, channels], channels 1 or 3.
        shape: Height, width, channels.
        strides: Of the same axes, in samples; may be negative.
        mean: Subtracted from each plane, in 8-bit units.
        std: Divides each plane after that.
        swap: Plane 0 takes the last channel.
        input: Device address of the whole buffer, float32 [rows, 3, *out_size].
        row: The row to write, below the buffer's rows.
        out_size: Height and width of the tensor.
        stream: CUstream or cudaStream_t as an integer; 0 is the default stream.
        region: left, top, right, bottom in pixels, right and bottom inclusive; this or `to_frame`.
        to_frame: Alignment of the face: see `fasdk.preprocess.alignment`.
        interpolation: Interpolation of the resize; this and what follows in the words of a
            `PreprocessSpec`.
        pad: Whether the region may leave the frame, though not wholly.
        border: Pixels outside the frame and around a letterbox.
        border_level: Level of a constant border.
        fit: How the region becomes as large as the tensor.
    """

def depth(
    *,
    frame: int,
    shape: tuple[int, int, int],
    strides: tuple[int, int, int],
    levels: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    input: int,  # noqa: A002 - TensorRT's name for it
    row: int,
    out_size: tuple[int, int],
    stream: int,
    region: tuple[int, int, int, int] | None = None,
    to_frame: tuple[float, float, float, float, float, float] | None = None,
    interpolation: str = "bilinear",
    pad: bool = False,
    border: str = "constant",
    border_level: int = 0,
    fit: str = "stretch",
) -> None:
    """Do the same with a uint16 depth frame of one channel, mapped to 8 bits by `levels`.

    `levels` is the device address of uint8 [65536], `fasdk.preprocess.spec.depth_levels`.
    """

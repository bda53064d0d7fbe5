"""Size and end of an image container, held to what a frame has before anything is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from fasdk.errors import CaptureError
from fasdk.file_signatures import FirstBytes

MAX_PIXELS = 2**25
"""Most pixels of a frame, 33.5 million: a frame of 7680 x 4320 fits."""
MAX_DECODED_BYTES = 2**28
"""Most bytes of a decoded frame: of `MAX_PIXELS`, four samples of 16 bits."""
MAX_PARTS = 2**17
"""Most parts that are walked: chunks of a PNG or WebP, segments of a JPEG."""


@dataclass(frozen=True)
class Extent:
    """What a walk over a container found.

    Attributes:
        end: Number of bytes up to and with its end marker.
        size: Width and height in pixels as stored.
        channels: Most samples that a pixel has once decoded.
        sample_bytes: Bytes of a decoded sample.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        bits: Significant bits of a sample where the container states them.
        notes: What was decided about the container, each a kind of remark.
        decoded: Bytes for the decoder; None for those up to the end.
    """

    end: int
    size: tuple[int, int]
    channels: int = 1
    sample_bytes: int = 1
    orientation: int = 1
    bits: int | None = None
    notes: tuple[str, ...] = field(default=())
    decoded: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse a size that no frame has, before anything is decoded."""
        require_bounded(*self.size, self.channels * self.sample_bytes)


def require_bounded(width: int, height: int, pixel_bytes: int) -> None:
    """Refuse a picture that is empty, or larger than any camera's frame.

    Raises:
        CaptureError: It has no pixel, more than `MAX_PIXELS`, or more bytes than
            `MAX_DECODED_BYTES` once decoded.
    """
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise CaptureError(
            f"its header states {width}x{height} pixels, expected 1 to {MAX_PIXELS}: give a "
            "camera's frame"
        )
    if width * height * pixel_bytes > MAX_DECODED_BYTES:
        raise CaptureError(
            f"its header states {width}x{height} pixels of {pixel_bytes} bytes, expected at most "
            f"{MAX_DECODED_BYTES} bytes in all: give a camera's frame"
        )


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation that EXIF data state, 1 (upright) where they state none."""
    if not tiff.startswith(FirstBytes.TIFF):
        return 1
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (at,) = struct.unpack(f"{order}I", tiff[4:8])
        (count,) = struct.unpack(f"{order}H", tiff[at : at + 2])
        for index in range(count):
            entry = at + 2 + 12 * index
            tag, kind = struct.unpack(f"{order}HH", tiff[entry : entry + 4])
            if tag == 0x0112 and kind == 3:
                (value,) = struct.unpack(f"{order}H", tiff[entry + 8 : entry + 10])
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def truncated(what: str) -> CaptureError:
    """Return the error for a file that ends too early."""
    return CaptureError(f"it is truncated: {what}: copy the file again")


def too_many_parts(what: str) -> CaptureError:
    """Return the error for a file of more parts than are walked."""
    return CaptureError(f"it has more than {MAX_PARTS} {what}: store it again as PNG")

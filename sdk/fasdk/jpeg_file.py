"""JPEG files walked from their start to their end."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import CaptureError
from fasdk.image_extent import (
    MAX_PARTS,
    Extent,
    exif_orientation,
    require_bounded,
    too_many_parts,
    truncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_MAX_SCANS = 64  # of a progressive JPEG, each a pass over all pixels; encoders write 10
_COEFFICIENTS = 64  # of a block
_NO_SCAN = 16  # more than any scan leaves out of the lowest bits
_END = b"\xff\xd9"
_GRAY = 128  # what libjpeg makes of a block whose bits are not there
_CORNER_PX = 4
_MORE_BITS = b"\xaa" * 64  # begin otherwise than the zeros that libjpeg reads on with
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class _JpegFrame:
    """What a JPEG's start of frame states.

    Attributes:
        size: Width and height in pixels.
        components: Ids of its components.
        blocks: Blocks that its scans must hold.
        is_progressive: Whether several scans make up each component.
    """

    size: tuple[int, int]
    components: tuple[int, ...]
    blocks: int
    is_progressive: bool

    @property
    def channels(self) -> int:
        """Number of its components."""
        return len(self.components)

    @classmethod
    def of(cls, marker: int, body: bytes) -> _JpegFrame:
        """Read the segment.

        Raises:
            CaptureError: It is of a kind that is not decoded right, damaged, or too large.
        """
        if marker not in (0xC0, 0xC1, 0xC2) or body[:1] != b"\x08":
            raise CaptureError(
                "it is a JPEG file of a kind that is not read (arithmetic coded, without loss, "
                "hierarchical, or not of 8 bits): store it as PNG"
            )
        channels = body[5] if len(body) > 5 else 0
        if channels not in (1, 3, 4) or len(body) < 6 + 3 * channels:
            raise CaptureError("it is damaged: its JPEG header is none: copy the file again")
        height, width = struct.unpack(">HH", body[1:5])
        require_bounded(width, height, channels)
        sampling = [body[7 + 3 * i] for i in range(channels)]
        across = 8 * max(1, *(s >> 4 for s in sampling))
        down = 8 * max(1, *(s & 15 for s in sampling))
        return cls(
            (width, height),
            tuple(body[6 + 3 * i] for i in range(channels)),
            -(-width // across) * -(-height // down) * channels,
            marker == 0xC2,
        )


class _Coefficients:
    """Lowest bits of a frame's coefficients that no scan has held so far."""

    def __init__(self, frame: _JpegFrame) -> None:
        self._is_progressive = frame.is_progressive
        self._left = {component: [_NO_SCAN] * _COEFFICIENTS for component in frame.components}

    def add(self, scan: bytes) -> None:
        """Take in the header of a scan.

        Raises:
            CaptureError: It is damaged.
        """
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count or not {*scan[1 : 1 + 2 * count : 2]} <= self._left.keys():
            raise CaptureError("it is damaged: a scan's JPEG header is none: copy the file again")
        first, last, low = 0, _COEFFICIENTS - 1, 0
        if self._is_progressive:
            first, last, low = scan[1 + 2 * count], scan[2 + 2 * count], scan[3 + 2 * count] & 15
        for component in scan[1 : 1 + 2 * count : 2]:
            left = self._left[component]
            for index in range(first, min(last, _COEFFICIENTS - 1) + 1):
                left[index] = min(left[index], low)

    @property
    def is_whole(self) -> bool:
        """Whether the scans have held every bit."""
        return not any(any(left) for left in self._left.values())


def jpeg_extent(data: bytes, *, header_only: bool) -> Extent:
    """Walk the segments and scans; a thumbnail inside a segment has an end marker of its own."""
    whole, orientation, scans, coded = 0, 1, 0, 0
    frame: _JpegFrame | None = None
    coefficients: _Coefficients | None = None
    for marker, body, coded_bytes, end in _jpeg_segments(data):
        whole = end
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise CaptureError("it is damaged: it has two JPEG headers: copy the file again")
            frame = _JpegFrame.of(marker, body)
            coefficients = _Coefficients(frame)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body[6:])
        elif marker == 0xDA:
            scans, coded = scans + 1, coded + coded_bytes
            if scans > _MAX_SCANS:
                raise CaptureError(
                    f"it is a JPEG file of more than {_MAX_SCANS} scans: store it as PNG"
                )
            if coefficients is not None:
                coefficients.add(body)
        if header_only and frame is not None:
            return Extent(len(data), frame.size, frame.channels, 1, orientation)
    if frame is None or coefficients is None:
        raise CaptureError("it is damaged: its JPEG header is none: copy the file again")
    if not coefficients.is_whole:
        raise truncated("the JPEG file lacks scans of its picture")
    if 8 * coded < frame.blocks:  # a block takes a bit at least
        width, height = frame.size
        raise truncated(f"the JPEG file has {coded} bytes for {width}x{height} pixels")
    return Extent(whole, frame.size, frame.channels, 1, orientation)


def require_all_blocks(
    data: bytes,
    planes: NDArray[Any],
    decode: Callable[[bytes], NDArray[Any] | None],
    *,
    is_cmyk: bool,
) -> None:
    """Refuse a JPEG whose coded data end before its last blocks, although an end marker follows.

    libjpeg says so to stderr alone and fills the rest with gray. Where the last pixels are such,
    the file is decoded again with more bits at its end, which change a picture that lacks some. A
    file that lacks a part of its last block alone is not found, nor what a progressive one lacks
    of its last scan.

    Args:
        data: The file, up to and with its end marker.
        planes: [H, W, channels] of it, as they are stored.
        decode: Function that decodes a file.
        is_cmyk: Whether the file has four components, whose gray is another color once decoded.

    Raises:
        CaptureError: It does.
    """
    corner = planes[-_CORNER_PX:, -_CORNER_PX:]
    if not (corner == (corner[-1, -1] if is_cmyk else _GRAY)).all():
        return
    again = decode(data[: -len(_END)] + _MORE_BITS + _END)
    if again is None or not np.array_equal(again, planes):
        raise truncated(
            f"the JPEG file has no data for the last of its {planes.shape[1]}x{planes.shape[0]} "
            "pixels"
        )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield marker, body, length of the coded data that follows, and end of every segment.

    Raises:
        CaptureError: No marker stands where one must, or the end marker is not reached.
    """
    at = 2
    for _ in range(MAX_PARTS):
        if data[at : at + 2] == _END:
            yield 0xD9, b"", 0, at + 2
            return
        if at + 4 > len(data):
            break
        if data[at] != 0xFF:
            raise CaptureError("it is damaged: no JPEG marker stands where one must")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            begin, at = at + 4, at + 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
            body, coded = data[begin:at], at
            if marker == 0xDA:
                found = _END_OF_SCAN.search(data, at)
                at = len(data) if found is None else found.start()
            yield marker, body, at - coded, at
    else:
        raise too_many_parts("segments of a JPEG file")
    raise truncated("the JPEG file has no end marker")

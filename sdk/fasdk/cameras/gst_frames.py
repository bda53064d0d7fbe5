"""Frames of a capture from what a GStreamer appsink gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.cameras.pixels import PixelReader
from fasdk.capture import Modality
from fasdk.errors import CameraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.cameras.gst_library import GStreamer

_RAW_VIDEO = "video/x-raw"


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of a format lie in memory.

    Attributes:
        dtype: Type of one value, as NumPy spells it.
        channels: Number of values a pixel has.
        is_blue_first: Whether the first three are blue, green, red, and not red, green, blue.
    """

    dtype: str
    channels: int = 1
    is_blue_first: bool = False


_COLOR_FORMATS = {
    "RGB": PixelLayout("u1", 3),
    "BGR": PixelLayout("u1", 3, is_blue_first=True),
    "RGBx": PixelLayout("u1", 4),
    "BGRx": PixelLayout("u1", 4, is_blue_first=True),
    "RGBA": PixelLayout("u1", 4),
    "BGRA": PixelLayout("u1", 4, is_blue_first=True),
}
_LEVELS = {"GRAY16_LE": PixelLayout("<u2")}
FORMATS = {
    Modality.RGB: _COLOR_FORMATS,
    Modality.IR: {"GRAY8": PixelLayout("u1"), **_LEVELS},
    Modality.DEPTH: _LEVELS,
}
"""Formats that each modality is read from, as GStreamer spells them, the best first."""


def caps_of(modality: Modality) -> str:
    """Return the caps of an appsink that takes every format of a modality."""
    return f"{_RAW_VIDEO},format={{{','.join(FORMATS[modality])}}}"


class SampleReader:
    """Turns the samples of one pipeline into frames of one modality.

    Depth is read as it comes: GRAY16_LE in millimeters.

    Args:
        gst: GStreamer.
        modality: Modality of the frames.
        name: Name of the camera in errors.
        ir_shift: Number of lowest bits to leave out of infrared levels of 16 bits; None for
            unknown.

    Raises:
        UsageError: The shift is not within 0 to 8.
    """

    def __init__(
        self, gst: GStreamer, modality: Modality, name: str, ir_shift: int | None = None
    ) -> None:
        self._gst = gst
        self.modality = modality
        self._name = name
        self._levels = PixelReader(Modality.IR, name, ir_shift)

    def frame(self, sample: Any) -> NDArray[Any]:
        """Return a sample's frame, an array of its own.

        Returns:
            uint8 [H, W, 3], red first; uint8 [H, W] for infrared; uint16 [H, W], millimeters, for
            depth.

        Raises:
            CameraError: It is no raw video in system memory, is of a format that this modality is
                not read from, or is shorter than its format says.
        """
        caps = sample.get_caps()
        layout = self._layout(caps)
        array = self._array(sample.get_buffer(), caps, layout)
        if self.modality is Modality.IR:
            return self._levels.frame(array)
        if self.modality is Modality.DEPTH:
            return array.astype(np.uint16)
        colors = array[..., 2::-1] if layout.is_blue_first else array[..., :3]
        return np.array(colors, order="C")

    def _layout(self, caps: Any) -> PixelLayout:
        structure = caps.get_structure(0)
        if structure.get_name() != _RAW_VIDEO:
            raise CameraError(
                f"{self._name} gives {structure.get_name()}, expected {_RAW_VIDEO}: put what "
                "decodes it before appsink, such as decodebin ! videoconvert"
            )
        memory = caps.get_features(0).to_string()
        if "SystemMemory" not in memory and memory:
            raise CameraError(
                f"{self._name} gives frames in {memory}, expected system memory: put what copies "
                "them there before appsink, on a Jetson nvvidconv ! video/x-raw,format=RGBA"
            )
        format_ = str(structure.get_string("format"))
        layout = FORMATS[self.modality].get(format_)
        if layout is None:
            others = [other.value for other, formats in FORMATS.items() if format_ in formats]
            hint = f", or write modality={' or '.join(others)}" if others else ""
            raise CameraError(
                f"{self._name} gives {format_} where {self.modality.value} was expected, which is "
                f"read from {', '.join(FORMATS[self.modality])}: put videoconvert and "
                f"{_RAW_VIDEO},format={next(iter(FORMATS[self.modality]))} before appsink{hint}"
            )
        return layout

    def _array(self, buffer: Any, caps: Any, layout: PixelLayout) -> NDArray[Any]:
        """Return a view of the buffer's pixels [H, W, channels], or [H, W] of one channel."""
        info = self._gst.video.VideoInfo.new_from_caps(caps)
        meta = self._gst.video.buffer_get_video_meta(buffer)
        # Elements that align rows say so beside the buffer, not in the caps.
        where = info if meta is None else meta
        width, height = info.width, info.height
        stride, offset = int(where.stride[0]), int(where.offset[0])
        dtype = np.dtype(layout.dtype)
        pixel_bytes = layout.channels * dtype.itemsize
        data = buffer.extract_dup(0, buffer.get_size())
        needed = offset + stride * (height - 1) + width * pixel_bytes
        if stride < width * pixel_bytes or len(data) < needed:
            raise CameraError(
                f"{self._name} gave a buffer of {len(data)} bytes for {width}x{height} pixels in "
                f"rows of {stride} bytes, expected at least {needed}: its source or driver is "
                "faulty"
            )
        array: NDArray[Any] = np.ndarray(
            (height, width, layout.channels),
            dtype,
            data,
            offset,
            (stride, pixel_bytes, dtype.itemsize),
        )
        return array[..., 0] if layout.channels == 1 else array

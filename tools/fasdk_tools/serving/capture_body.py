"""Captures as clients send them: a header in JSON, and raw or encoded frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError
from fasdk.file_signatures import FirstBytes
from fasdk.frames import decode_noted_frame
from fasdk.image_file import stored_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_tools.serving.limits import ServeLimits

LENGTH_BYTES = 4  # of the header's length, little-endian, at the start of a binary capture
MAX_HEADER_BYTES = 2**16
BINARY_TYPE = "application/vnd.fasdk.capture"

Whole = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)]
Box = Annotated[
    list[Whole], Field(min_length=4, max_length=4, description="x, y, width, height in pixels.")
]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="x, y in pixels.")]


class FrameFormat(str, Enum):
    """Forms of a frame's bytes."""

    RGB8 = "rgb8"
    BGR8 = "bgr8"
    BGRA8 = "bgra8"
    DEPTH16_MM = "depth16-mm"
    GRAY8 = "gray8"
    PNG = "png"
    JPEG = "jpeg"


@dataclass(frozen=True)
class _Raw:
    """Layout of a raw form.

    Attributes:
        modality: Modality that has it.
        dtype: Type of a sample.
        samples: Samples of a pixel.
    """

    modality: Modality
    dtype: str
    samples: int


_RAW = {
    FrameFormat.RGB8: _Raw(Modality.RGB, "u1", 3),
    FrameFormat.BGR8: _Raw(Modality.RGB, "u1", 3),
    FrameFormat.BGRA8: _Raw(Modality.RGB, "u1", 4),
    FrameFormat.DEPTH16_MM: _Raw(Modality.DEPTH, "<u2", 1),
    FrameFormat.GRAY8: _Raw(Modality.IR, "u1", 1),
}
_ENCODED = {FrameFormat.PNG: FirstBytes.PNG, FrameFormat.JPEG: FirstBytes.JPEG}


class _Closed(BaseModel):
    """Model that takes no field it does not know, and no number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FrameHeader(_Closed):
    """Form of one frame's bytes."""

    format: FrameFormat = Field(
        description="Form of the bytes. Raw forms are rows without padding, from the top: rgb8, "
        "bgr8 and bgra8 for color; depth16-mm for depth, 16-bit little-endian millimeters, 0 where "
        "nothing was measured; gray8 for infrared. png and jpeg are whole files."
    )
    width: Annotated[int, Field(strict=True, ge=1, le=2**16)] | None = Field(
        default=None, description="Width in pixels, of a raw form."
    )
    height: Annotated[int, Field(strict=True, ge=1, le=2**16)] | None = Field(
        default=None, description="Height in pixels, of a raw form."
    )
    bytes: Annotated[int, Field(strict=True, ge=1, le=2**32)] | None = Field(
        default=None, description="Length of a png or jpeg file, where frames follow one another."
    )


class FrameHeaders(_Closed):
    """Forms of a capture's frames; their bytes follow in the order rgb, depth, ir."""

    rgb: FrameHeader | None = Field(default=None, description="Color.")
    depth: FrameHeader | None = Field(default=None, description="Depth, in millimeters.")
    ir: FrameHeader | None = Field(default=None, description="Near infrared.")


class Times(_Closed):
    """A time for each frame, in milliseconds."""

    rgb: float | None = Field(default=None, description="Of the color frame.")
    depth: float | None = Field(default=None, description="Of the depth frame.")
    ir: float | None = Field(default=None, description="Of the infrared frame.")


class Boxes(_Closed):
    """A face box for each frame, in pixels of that frame."""

    rgb: Box | None = None
    depth: Box | None = None
    ir: Box | None = None


class CaptureHeader(_Closed):
    """What a client says of a capture, besides its frames' bytes."""

    frames: FrameHeaders = Field(
        default_factory=FrameHeaders,
        description="Forms of the frames. A part of a multipart request that is a png or jpeg file "
        "needs none.",
    )
    face: Box | None = Field(
        default=None,
        description="Face box in pixels of the first frame in the order rgb, depth, ir.",
    )
    faces: Boxes | None = Field(
        default=None,
        description="Face boxes in other frames, where they are better than scaled ones.",
    )
    other_faces: Annotated[list[Box], Field(max_length=100)] = Field(
        default_factory=list, description="Boxes of further faces in that frame."
    )
    landmarks: Annotated[list[Point], Field(min_length=5, max_length=5)] | None = Field(
        default=None,
        description="The person's right eye, left eye, nose tip, right and left corner of the "
        "mouth, in pixels of the frame that `face` is in.",
    )
    taken_ms: Times | None = Field(
        default=None,
        description="Times of exposure by this machine's CLOCK_MONOTONIC; only for a client on the "
        "same machine.",
    )
    age_ms: Times | None = Field(
        default=None,
        description="Milliseconds from exposure until the client began to send; for clients that "
        "cannot give taken_ms.",
    )
    deadline_ms: Annotated[float, Field(gt=0.0, le=600_000.0)] | None = Field(
        default=None,
        description="Longest time to the answer, where it is shorter than the service's own.",
    )


@dataclass(frozen=True)
class CaptureBody:
    """Capture as it was received: nothing of it is decoded.

    Attributes:
        header: The header's JSON.
        parts: Bytes of each frame that came as a part of its own; empty where all follow one
            another in `frames`.
        frames: Bytes of all frames, one after another; empty where `parts` has them.
        arrived_ms: Time of its arrival, in milliseconds of `time.monotonic`.
    """

    header: bytes | memoryview
    parts: Mapping[Modality, bytes | bytearray | memoryview]
    frames: memoryview
    arrived_ms: float

    @classmethod
    def of_binary(cls, data: bytes | bytearray, arrived_ms: float) -> CaptureBody:
        """Return a capture in binary form: a length, a header of that length, the frames.

        Raises:
            CaptureError: It is shorter than it says.
        """
        view = memoryview(data)
        length = int.from_bytes(view[:LENGTH_BYTES], "little")
        start = LENGTH_BYTES + length
        if len(view) < LENGTH_BYTES or not 0 < length <= MAX_HEADER_BYTES or len(view) < start:
            raise CaptureError(
                f"the capture has {len(view)} bytes and begins with the length {length}, expected "
                f"{LENGTH_BYTES} bytes with the length of a JSON header of at most "
                f"{MAX_HEADER_BYTES} bytes, the header, then the frames"
            )
        return cls(view[LENGTH_BYTES:start], {}, view[start:], arrived_ms)


@dataclass(frozen=True)
class CaptureReader:
    """Reader of captures that clients sent.

    Attributes:
        limits: Limits on frames.
        same_clock: Whether clients run on this machine, so that `taken_ms` means something.
    """

    limits: ServeLimits
    same_clock: bool = True

    def header(self, body: CaptureBody) -> CaptureHeader:
        """Return a capture's header.

        Raises:
            CaptureError: It is no JSON, or a field is unknown or wrong.
        """
        if len(body.header) > MAX_HEADER_BYTES:
            raise CaptureError(f"the header has more than {MAX_HEADER_BYTES} bytes")
        try:
            return CaptureHeader.model_validate_json(bytes(body.header))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CaptureError(f"header {where or 'of the capture'}: {first['msg']}") from None

    def capture(self, body: CaptureBody, header: CaptureHeader) -> Capture:
        """Return a capture with its frames, as `fasdk.Capture` checks them.

        Raises:
            CaptureError: A frame is not as its header says, or too large, or the capture is
                unsound.
            PackageError: A frame is encoded, and OpenCV is not installed.
        """
        frames: dict[Modality, NDArray[Any]] = {}
        rest = body.frames
        for modality in Modality:
            said: FrameHeader | None = getattr(header.frames, modality.value)
            part = body.parts.get(modality)
            if part is not None:
                frames[modality] = self._frame(modality, said or _form_of(modality, part), part)
            elif said is not None:
                size = self._length(modality, said)
                if len(rest) < size:
                    raise CaptureError(
                        f"{modality.value} has {len(rest)} bytes left of the capture, expected "
                        f"{size}: is the body cut, or the order another than rgb, depth, ir?"
                    )
                frames[modality] = self._frame(modality, said, rest[:size])
                rest = rest[size:]
        if len(rest):
            raise CaptureError(
                f"{len(rest)} bytes follow the last frame: are width, height and format right?"
            )
        boxes = _by_modality(header.faces)
        return Capture(
            rgb=frames.get(Modality.RGB),
            depth=frames.get(Modality.DEPTH),
            ir=frames.get(Modality.IR),
            face=header.face,
            landmarks=_points(header.landmarks),
            faces={modality: FaceBox.of(box) for modality, box in boxes.items()},
            other_faces=tuple(FaceBox.of(box) for box in header.other_faces),
            taken_ms=self._times(header, body.arrived_ms),
        )

    def _length(self, modality: Modality, said: FrameHeader) -> int:
        """Return how many bytes a frame has by its header."""
        layout = _RAW.get(said.format)
        if layout is None:
            if said.bytes is None:
                raise CaptureError(
                    f"frames.{modality.value} is {said.format.value} without `bytes`: give the "
                    "length of the file"
                )
            return said.bytes
        if said.width is None or said.height is None:
            raise CaptureError(
                f"frames.{modality.value} is {said.format.value} without width and height: give "
                "them in pixels"
            )
        if said.width * said.height > self.limits.pixels:
            raise CaptureError(
                f"frames.{modality.value} is {said.width}x{said.height}, expected at most "
                f"{self.limits.pixels} pixels"
            )
        return said.width * said.height * layout.samples * np.dtype(layout.dtype).itemsize

    def _frame(
        self, modality: Modality, said: FrameHeader, data: bytes | bytearray | memoryview
    ) -> NDArray[Any]:
        layout = _RAW.get(said.format)
        if layout is None:
            return self._decoded(modality, said.format, bytes(data))
        if layout.modality is not modality:
            fitting = [form.value for form, each in _RAW.items() if each.modality is modality]
            raise CaptureError(
                f"frames.{modality.value} is {said.format.value}, expected "
                f"{', '.join(fitting)}, png or jpeg"
            )
        size = self._length(modality, said)
        if len(data) != size:
            raise CaptureError(
                f"{modality.value} has {len(data)} bytes, expected {size} of "
                f"{said.width}x{said.height} {said.format.value}: rows without padding"
            )
        samples = np.frombuffer(data, layout.dtype)
        if not samples.flags.aligned:
            samples = samples.copy()
        shape = (said.height, said.width) + ((layout.samples,) if layout.samples > 1 else ())
        frame = samples.reshape([int(extent or 0) for extent in shape])
        if said.format in (FrameFormat.BGR8, FrameFormat.BGRA8):
            frame = np.ascontiguousarray(frame[..., 2::-1])
        return frame

    def _decoded(self, modality: Modality, form: FrameFormat, data: bytes) -> NDArray[Any]:
        """Return an encoded frame, decoded only where its header states a size that is allowed."""
        name = "of this capture"
        if not data.startswith(_ENCODED[form]):
            raise CaptureError(f"{modality.value} begins as no {form.value} file does")
        size = stored_size(data)
        if size is None or size[0] * size[1] > self.limits.pixels:
            stated = "no size that can be read" if size is None else f"{size[0]}x{size[1]}"
            raise CaptureError(
                f"{modality.value} states {stated}, expected at most {self.limits.pixels} pixels"
            )
        return decode_noted_frame(data, modality, name).frame

    def _times(self, header: CaptureHeader, arrived_ms: float) -> dict[Modality, float]:
        taken, ages = _by_modality(header.taken_ms), _by_modality(header.age_ms)
        if taken and not self.same_clock:
            raise CaptureError(
                "taken_ms is by the clock of another machine: give age_ms, the milliseconds since "
                "the exposure"
            )
        twice = taken.keys() & ages.keys()
        if twice:
            raise CaptureError(f"{min(twice).value} has a time in taken_ms and in age_ms: give one")
        negative = [modality.value for modality, age in ages.items() if age < 0.0]
        if negative:
            raise CaptureError(f"age_ms.{negative[0]} is below 0, expected milliseconds")
        return taken | {modality: arrived_ms - age for modality, age in ages.items()}


def _form_of(modality: Modality, data: bytes | bytearray | memoryview) -> FrameHeader:
    """Return the form of a part that its header does not tell: it must be an encoded file."""
    start = bytes(data[:8])
    for form, first in _ENCODED.items():
        if start.startswith(first):
            return FrameHeader(format=form)
    raise CaptureError(
        f"{modality.value} is neither a png nor a jpeg file: give frames.{modality.value} in the "
        "header for raw frames"
    )


def _points(landmarks: list[list[float]] | None) -> NDArray[np.float32] | None:
    return None if landmarks is None else np.array(landmarks, np.float32)


def _by_modality(values: BaseModel | None) -> dict[Modality, Any]:
    if values is None:
        return {}
    given = ((modality, getattr(values, modality.value)) for modality in Modality)
    return {modality: value for modality, value in given if value is not None}

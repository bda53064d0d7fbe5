"""OpenCV camera, stream or video file, color or infrared alone."""

from __future__ import annotations

import logging
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.cameras.backlog import Backlog
from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.emitter import Emitter, LitFrames, emitter_of
from fasdk.cameras.identity import file_identity
from fasdk.cameras.mode import VideoMode, describe_mode, fourcc_of
from fasdk.cameras.pacing import Pacer
from fasdk.cameras.pixels import GRAY_FORMATS, RAW_FORMATS, PixelReader, capture_of
from fasdk.cameras.pump import Pump
from fasdk.cameras.pumped import PumpedCamera
from fasdk.cameras.source import VideoSource, backend_number, device_source
from fasdk.capture import DeviceStamp, Modality, monotonic_ms
from fasdk.errors import CameraError, EndOfStreamError, UnreadableRecordingError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Capture

_log = logging.getLogger("fasdk.cameras")
# A kernel's first time stamp that is this much older than the arrival is of another clock.
_PLAUSIBLE_DELAY_MS = 2000.0
_POSITION_MS = 0  # cv2.CAP_PROP_POS_MSEC, without loading OpenCV for it


@dataclass(frozen=True)
class _Grabbed:
    """A frame, and the kernel's time of it in milliseconds where the kernel gives one."""

    frame: NDArray[np.uint8]
    kernel_ms: float | None


@dataclass(frozen=True)
class _OpenDevice:
    """A device that is open, with what is known of its frames so far."""

    capture: Any
    pixels: PixelReader
    has_kernel_times: bool
    lit: LitFrames | None
    backlog: Backlog | None


class OpenCvCamera(PumpedCamera[_Grabbed]):
    """A camera, network stream, pipe or pipeline: frames of one modality, the newest at each read.

    A frame is stamped with the kernel's time of it where OpenCV reads Video4Linux, whose clock is
    that of `time.monotonic`, and with its arrival elsewhere. Once a kernel's times have been of
    that clock, one long past is kept: its frame was buffered in the driver, or while this process
    was stopped. Frames that piled up in a stream or a pipe are passed over: see `Backlog`. A frame
    that is not read before the next one arrives is dropped.

    The mode is asked for, and held against what the device gives, each time it is opened.

    Args:
        source: OpenCV's number of a camera, from 0, or another source.
        modality: RGB, or IR for a near-infrared camera; OpenCV gives no depth.
        mode: Frame size, rate and pixel format.
        emitter: How the infrared emitter shines; of a flashing one only lit frames are given, and a
            warning is logged where that was found out.
        ir_shift: Number of lowest bits to leave out of infrared levels of more than 8 bits.

    Raises:
        UsageError: The modality is depth, or an emitter or a shift is given for color.
    """

    def __init__(
        self,
        source: int | VideoSource,
        *,
        modality: Modality = Modality.RGB,
        mode: VideoMode | None = None,
        emitter: Emitter = Emitter.AUTO,
        ir_shift: int | None = None,
    ) -> None:
        self._source = device_source(source) if isinstance(source, int) else source
        super().__init__(self._source.name)
        self._pixels = PixelReader(modality, self.name, ir_shift)
        self._emitter = emitter_of(modality, emitter, ir_shift)
        self._mode = mode or VideoMode()
        self._kernel_is_monotonic = False

    @property
    def modality(self) -> Modality:
        """Modality of the frames."""
        return self._pixels.modality

    @property
    def is_buffered(self) -> bool:
        """Whether frames spend an unknown time on their way: those of a stream or a pipe."""
        return self._source.is_buffered

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the newest frame as a capture; see `Camera.read`.

        Raises:
            CameraError: The camera cannot be opened, gives another mode than was asked for,
                stopped, or gave nothing in time. After a failure, or five seconds without a frame,
                the next read opens it again.
        """
        arrival = self._take(timeout_ms)
        taken_ms = self._taken_ms(arrival.value.kernel_ms, arrival.arrived_ms)
        kernel_ms = arrival.value.kernel_ms
        stamp = DeviceStamp(clock_ms=kernel_ms) if self._kernel_is_monotonic else None
        return capture_of(arrival.value.frame, self._pixels.modality, taken_ms, stamp)

    def _patience_ms(self, *, is_open: bool) -> float:
        """Return after how long without a frame it is opened anew, in milliseconds.

        A pipe waits for its writer, and the opening of a stream has a limit of its own.
        """
        source = self._source
        waits = source.pipe is not None or (source.is_buffered and not is_open)
        return float("inf") if waits else super()._patience_ms(is_open=is_open)

    def _taken_ms(self, kernel_ms: float | None, arrived_ms: float) -> float:
        """Return the kernel's time of a frame where it is one, else the arrival's."""
        if kernel_ms is None or not 0.0 < kernel_ms <= arrived_ms:
            return arrived_ms
        if arrived_ms - kernel_ms <= _PLAUSIBLE_DELAY_MS:
            self._kernel_is_monotonic = True
        return kernel_ms if self._kernel_is_monotonic else arrived_ms

    def identity(self) -> str:
        """Return its device's, stream's or pipe's one name; see `Camera.identity`."""
        return self._source.identify()

    def _start_pump(self) -> Pump[_Grabbed]:
        return Pump(self._open, self._grab, _release, self.name)

    def _open(self) -> _OpenDevice:
        device = self._source.open()
        try:
            return self._prepare(device)
        except BaseException:
            device.release()
            raise

    def _prepare(self, device: Any) -> _OpenDevice:
        import cv2

        backend = device.getBackendName()
        self._mode.request(device, self.name, self._source.modes_command)
        format_ = fourcc_of(device) if backend == "V4L2" else None
        _log.info("%s gives %s by %s", self.name, describe_mode(device, format_), backend)
        pixels = self._pixels
        if backend == "V4L2":
            pixels = _with_format(pixels, device, self.name)
        buffered = self._source.is_buffered
        return _OpenDevice(
            capture=device,
            pixels=pixels,
            has_kernel_times=backend == "V4L2",
            lit=LitFrames.of(self._emitter),
            backlog=Backlog(float(device.get(cv2.CAP_PROP_FPS))) if buffered else None,
        )

    def _grab(self, device: _OpenDevice) -> _Grabbed | None:
        """Return the device's next frame, or None where it is not to be used."""
        whole, array = device.capture.read()
        if not whole or array is None:
            raise CameraError(f"{self.name} gave no frame: {_why_it_ended(self._source)}")
        arrived_ms = monotonic_ms()
        if device.backlog is not None:
            sent_ms = _sent_ms(device.capture) if self._source.has_sent_times else None
            if not device.backlog.is_fresh(arrived_ms, sent_ms):
                return None
        frame = device.pixels.frame(array)
        self._mode.require_size(frame.shape[1], frame.shape[0], self.name)
        if device.lit is not None and not device.lit.is_used(frame, arrived_ms, self.name):
            return None
        return _Grabbed(frame, _sent_ms(device.capture) if device.has_kernel_times else None)


def _sent_ms(capture: Any) -> float:
    """Return the time that a source gives its last frame, in milliseconds of its own clock."""
    return float(capture.get(_POSITION_MS))


def _with_format(pixels: PixelReader, device: Any, name: str) -> PixelReader:
    """Return the reader for the pixel format that Video4Linux gives, and ask for it unconverted.

    Raises:
        CameraError: It is gray where color was asked for.
    """
    import cv2

    fourcc = fourcc_of(device)
    if pixels.modality is Modality.RGB:
        if fourcc in GRAY_FORMATS:
            raise CameraError(
                f"{name} gives gray frames ({fourcc.strip()}) where color was expected: for an "
                "infrared camera write modality=ir"
            )
        return pixels
    if fourcc not in RAW_FORMATS:
        return pixels
    device.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    width = round(device.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = round(device.get(cv2.CAP_PROP_FRAME_HEIGHT))
    return replace(pixels, fourcc=fourcc, size=(width, height))


class OpenCvFile(Camera):
    """A video file: every frame once, in order, stamped with the time of the read.

    Args:
        path: A file OpenCV can decode.
        modality: Modality of the video: RGB or IR.
        fps: Frames a second; None gives each as soon as it is asked for.
        loop: Begin again after the last.
        emitter: How the infrared emitter shone; of a flashing one only lit frames are given, and a
            warning is logged where that was found out.
        ir_shift: Number of lowest bits to leave out of infrared levels of more than 8 bits.
        backend: OpenCV's backend that decodes it, such as ffmpeg; None for any.

    Attributes:
        position_ms: Place of the last frame in the video, in milliseconds from its start.
        loops: Whether it begins again after the last frame.

    Raises:
        UsageError: No such file, the modality is depth, an emitter or a shift is given for color,
            or this OpenCV has no such backend.
    """

    def __init__(
        self,
        path: Path,
        *,
        modality: Modality = Modality.RGB,
        fps: float | None = None,
        loop: bool = False,
        emitter: Emitter = Emitter.AUTO,
        ir_shift: int | None = None,
        backend: str | None = None,
    ) -> None:
        self._path = _existing_file(Path(path))
        self.name = f"video {path}"
        self.counts = FrameCounts()
        self.position_ms = 0.0
        self._pixels = PixelReader(modality, self.name, ir_shift)
        self._emitter = emitter_of(modality, emitter, ir_shift)
        self._backend = backend_number(backend)
        self._lit: LitFrames | None = None
        self.loops = loop
        self._pacer = Pacer(fps)
        self._video: Any = None
        self._frames_read = 0
        self._closed = False

    @property
    def modality(self) -> Modality:
        """Modality of the frames."""
        return self._pixels.modality

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next frame as a capture; see `Camera.read`.

        Raises:
            EndOfStreamError: The video is over, or what is left of it does not decode.
            UnreadableRecordingError: The file is no video, or none of it decodes.
            CameraError: The next frame is not due within the timeout.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        if self._video is None:
            self._open()
        while True:
            self._pacer.wait(timeout_ms, self.name)
            frame = self._pixels.frame(self._next_array())
            position_ms = _sent_ms(self._video)
            if self._lit is not None and not self._lit.is_used(frame, position_ms, self.name):
                continue
            self.position_ms = position_ms
            self.counts.delivered += 1
            return capture_of(frame, self._pixels.modality, monotonic_ms())

    def _next_array(self) -> NDArray[Any]:
        whole, array = self._video.read()
        if not whole and self.loops and self._frames_read:
            self._open()
            whole, array = self._video.read()
        if not whole or array is None:
            if not self._frames_read:
                raise UnreadableRecordingError(
                    f"{self.name} holds no frame that decodes: record it again, or convert it with "
                    "ffmpeg"
                )
            raise EndOfStreamError(f"{self.name} is over after {self._frames_read} frames")
        self._frames_read += 1
        return np.asarray(array)

    def identity(self) -> str:
        """Return the file's path with links followed; see `Camera.identity`."""
        return file_identity(self._path)

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        if self._video is not None:
            self._video.release()
            self._video = None

    def _open(self) -> None:
        import cv2

        if self._video is not None:
            self._video.release()
        self._frames_read = 0
        self._lit = LitFrames.of(self._emitter)
        self._video = cv2.VideoCapture(str(self._path), self._backend)
        if not self._video.isOpened():
            self._video = None
            raise UnreadableRecordingError(
                f"{self.name} cannot be decoded: {_why_not_decoded(self._path)}"
            )


def _existing_file(path: Path) -> Path:
    """Return a file's path.

    Raises:
        UsageError: There is no such file, or it is something else.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UsageError(
            f"video {path} does not exist: give a camera's number or device node, a file, or an "
            "address"
        ) from None
    except OSError as error:
        raise UsageError(f"video {path} cannot be reached: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"video {path} exists and is no file: give a file, or a named pipe")
    return path


def _why_not_decoded(path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    return "OpenCV knows no such format"


def _why_it_ended(source: VideoSource) -> str:
    if source.pipe is not None:
        return "its writer closed it, or wrote what is no video"
    if source.is_buffered:
        return (
            "it ended, or nothing came for four seconds; the address of a single picture is no "
            "stream"
        )
    return "it was unplugged or its driver failed"


def _release(device: _OpenDevice) -> None:
    device.capture.release()

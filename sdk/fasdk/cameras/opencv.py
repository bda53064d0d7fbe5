"""OpenCV camera or video file, color or infrared alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.pacing import Pacer
from fasdk.cameras.pump import Pump
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.errors import CameraError, EndOfStreamError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REOPEN_AFTER_MS = 5000.0
_RELEASE_WAIT_MS = 2000.0
# A kernel's first time stamp that is this much older than the arrival is of another clock.
_PLAUSIBLE_DELAY_MS = 2000.0


class OpenCvCamera(Camera):
    """A UVC camera by number: frames of one modality, the newest at each read.

    A frame is stamped with the kernel's time of it where OpenCV reads Video4Linux, whose clock is
    that of `time.monotonic`, and with its arrival elsewhere. Once a kernel's times have been of
    that clock, one long past is of a frame that lay about, in the driver or while this process was
    stopped, and is kept. A frame that nobody took before the next one came is dropped.

    Args:
        index: OpenCV's number of the camera, from 0.
        modality: RGB, or IR for a near-infrared camera; OpenCV gives no depth.

    Raises:
        UsageError: The modality is depth.
    """

    def __init__(self, index: int, *, modality: Modality = Modality.RGB) -> None:
        _require_one_plane_of_light(modality)
        self.name = f"OpenCV camera {index}"
        self.counts = FrameCounts()
        self._index = index
        self._modality = modality
        self._pump: Pump[tuple[NDArray[Any], float | None]] | None = None
        self._last_frame_ms = 0.0
        self._stuck: Pump[tuple[NDArray[Any], float | None]] | None = None
        self._kernel_is_monotonic = False
        self._closed = False

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the newest frame as a capture; see `Camera.read`.

        Raises:
            CameraError: The camera cannot be opened, stopped, or gave nothing in time. After a
                failure, or five seconds without a frame, the next read opens it anew.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        pump = self._running_pump()
        try:
            arrival = pump.take(timeout_ms)
        except CameraError:
            if not pump.is_running or monotonic_ms() - self._last_frame_ms > _REOPEN_AFTER_MS:
                pump.stop(0.0)
                self._stuck = pump if pump.is_running else None
                self._pump = None
            raise
        finally:
            self.counts.dropped += pump.collect_overwritten()
        frame, kernel_ms = arrival.value
        self._last_frame_ms = arrival.arrived_ms
        self.counts.delivered += 1
        taken_ms = self._taken_ms(kernel_ms, arrival.arrived_ms)
        return _capture(frame, self._modality, taken_ms, self.name)

    def _taken_ms(self, kernel_ms: float | None, arrived_ms: float) -> float:
        """Return the kernel's time of a frame where it is one, else the arrival's."""
        if kernel_ms is None or not 0.0 < kernel_ms <= arrived_ms:
            return arrived_ms
        if arrived_ms - kernel_ms <= _PLAUSIBLE_DELAY_MS:
            self._kernel_is_monotonic = True
        return kernel_ms if self._kernel_is_monotonic else arrived_ms

    def close(self) -> None:
        """Release the camera; a driver that does not let go within two seconds is left behind."""
        self._closed = True
        if self._pump is not None:
            self._pump.stop(_RELEASE_WAIT_MS)
            self._pump = None

    def _running_pump(self) -> Pump[tuple[NDArray[Any], float | None]]:
        if self._pump is None:
            if self._stuck is not None and self._stuck.is_running:
                raise CameraError(
                    f"{self.name} hangs in its driver and cannot be opened anew: unplug it, or "
                    "restart this process"
                )
            self._stuck = None
            self._last_frame_ms = monotonic_ms()
            self._pump = Pump(self._open, self._grab, _release, self.name)
        return self._pump

    def _open(self) -> object:
        import cv2

        device = cv2.VideoCapture(self._index)
        if not device.isOpened():
            raise CameraError(
                f"{self.name} cannot be opened: is it connected, may this user read it, and does "
                "no other program use it?"
            )
        return device

    def _grab(self, device: Any) -> tuple[NDArray[Any], float | None]:
        import cv2

        whole, frame = device.read()
        if not whole or frame is None:
            raise CameraError(f"{self.name} gave no frame: it was unplugged or its driver failed")
        on_kernel_clock = device.getBackendName() == "V4L2"
        return frame, float(device.get(cv2.CAP_PROP_POS_MSEC)) if on_kernel_clock else None


class OpenCvFile(Camera):
    """A video file: every frame once, in order, stamped with the time of the read.

    Args:
        path: A file OpenCV can decode.
        modality: Modality of the video: RGB or IR.
        fps: Frames a second; None gives each as soon as it is asked for.
        loop: Begin again after the last.

    Raises:
        UsageError: No such file, or the modality is depth.
    """

    def __init__(
        self,
        path: Path,
        *,
        modality: Modality = Modality.RGB,
        fps: float | None = None,
        loop: bool = False,
    ) -> None:
        _require_one_plane_of_light(modality)
        if not Path(path).is_file():
            raise UsageError(f"video {path} does not exist: give a camera's number or a file")
        self.name = f"video {path}"
        self.counts = FrameCounts()
        self._path = Path(path)
        self._modality = modality
        self._loop = loop
        self._pacer = Pacer(fps)
        self._video: Any = None
        self._frames_read = 0
        self._closed = False

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next frame as a capture; see `Camera.read`.

        Raises:
            EndOfStreamError: The video is over, or what is left of it does not decode.
            CameraError: The file is no video, or the next frame is not due within the timeout.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        if self._video is None:
            self._open()
        self._pacer.wait(timeout_ms, self.name)
        whole, frame = self._video.read()
        if not whole and self._loop and self._frames_read:
            self._open()
            whole, frame = self._video.read()
        if not whole or frame is None:
            if not self._frames_read:
                raise CameraError(f"{self.name} holds no frame that decodes")
            raise EndOfStreamError(f"{self.name} is over after {self._frames_read} frames")
        self._frames_read += 1
        self.counts.delivered += 1
        return _capture(frame, self._modality, monotonic_ms(), self.name)

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        if self._video is not None:
            _release(self._video)
            self._video = None

    def _open(self) -> None:
        import cv2

        if self._video is not None:
            _release(self._video)
        self._frames_read = 0
        self._video = cv2.VideoCapture(str(self._path))
        if not self._video.isOpened():
            self._video = None
            raise CameraError(f"{self.name} cannot be decoded: OpenCV knows no such format")


def _capture(frame: NDArray[Any], modality: Modality, taken_ms: float, name: str) -> Capture:
    """Return OpenCV's frame, blue first or gray, as a capture of one modality."""
    import cv2

    if frame.dtype != np.uint8 or not (
        frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in {1, 3})
    ):
        raise CameraError(
            f"{name} gave a {frame.dtype} {list(frame.shape)} frame, expected 8 bits with one or "
            "three channels"
        )
    color = frame.ndim == 3 and frame.shape[2] == 3
    if modality is Modality.RGB:
        code = cv2.COLOR_BGR2RGB if color else cv2.COLOR_GRAY2RGB
        return Capture(rgb=np.asarray(cv2.cvtColor(frame, code)), taken_ms={modality: taken_ms})
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if color else frame.reshape(frame.shape[:2])
    return Capture(ir=np.asarray(gray), taken_ms={modality: taken_ms})


def _require_one_plane_of_light(modality: Modality) -> None:
    if modality is Modality.DEPTH:
        raise UsageError("OpenCV gives no depth in millimeters: choose modality rgb or ir")


def _release(device: Any) -> None:
    device.release()

"""RealSense cameras and their recordings: color, depth and infrared of one moment."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import is_file
from fasdk.cameras.camera import READ_TIMEOUT_MS, Camera, FrameCounts
from fasdk.cameras.clock import DeviceClock
from fasdk.cameras.identity import file_identity
from fasdk.cameras.pin import CameraPin
from fasdk.cameras.profiles import StreamRequest, choose_profiles
from fasdk.cameras.realsense_rig import rig_of
from fasdk.cameras.v4l2 import Detour
from fasdk.capture import Capture, DeviceStamp, Modality, monotonic_ms
from fasdk.errors import CameraError, EndOfStreamError, UnreadableRecordingError, UsageError
from fasdk.extras import how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fasdk.registration import Rig

_REOPEN_AFTER_MS = 5000.0
# So long at most until the end of a recording is noticed.
_SLICE_MS = 100.0
RECORDING_SUFFIXES = (".bag", ".db3")
_NETWORK_WAYS = frozenset({"DDS", "Ethernet"})  # connection types of librealsense


class RealSenseCamera(Camera):
    """A RealSense camera, or anything librealsense shows as one; made by `attached` or `recording`.

    Every capture is one set of frames that librealsense matched: by frame number where one chip
    makes them (depth and infrared), by the device's time otherwise. A set that lacks a stream the
    device has, or holds a frame that was returned before, is dropped.

    Frames come as the sensors saw them and are not warped onto each other: warping leaves holes in
    the picture wherever depth has none, which no model was trained on. Depth and left infrared
    share one view; color stands beside them, so the face box goes through
    `rig()`, which is the device's own calibration.

    Depth is converted from the device's unit to millimeters in integers, halves up; 0 stays 0 and
    what lies beyond 65,535 mm becomes that. Time stamps on the device's own clock go through
    `DeviceClock`; stamps on the computer's clock are moved to `time.monotonic` by the difference
    of the two at arrival.

    Args:
        connect: Returns the librealsense device to read; called at the first read and after a
            fault. A RuntimeError is reported as the reason why there is no camera.
        name: Name in errors.
        request: Requested frame sizes and rate.
        is_recording: Whether it plays a file: its clock is then never the computer's.
        loop: Play a recording again from the start.
        identify: Returns its one name; None for `name`.
        pin: What the device must be; None for any camera of this machine.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        name: str,
        *,
        identify: Callable[[], str] | None = None,
        request: StreamRequest | None = None,
        is_recording: bool = False,
        loop: bool = False,
        pin: CameraPin | None = None,
    ) -> None:
        self.name = name
        self.counts = FrameCounts()
        self._connect = connect
        self._identify = identify
        self._request = request or StreamRequest()
        self._is_recording = is_recording
        self._pin = pin or CameraPin()
        self._loop = loop
        self._session: _Session | None = None
        self._last_frame_ms = 0.0
        self._closed = False

    @classmethod
    def attached(
        cls,
        serial: str | None = None,
        *,
        request: StreamRequest | None = None,
        pin: CameraPin | None = None,
    ) -> RealSenseCamera:
        """Return the camera with that serial number, or the only one attached.

        Raises:
            UsageError: pyrealsense2 is not installed.
        """
        rs = require_realsense()
        name = "RealSense camera" if serial is None else f"RealSense camera {serial}"
        return cls(
            lambda: _attached_device(rs, serial),
            name,
            request=request,
            identify=lambda: _identity_of(rs, serial),
            pin=pin,
        )

    @classmethod
    def recording(cls, path: Path, *, loop: bool = False) -> RealSenseCamera:
        """Return a camera that plays a recording at its own pace, dropping frames as a camera does.

        Raises:
            UsageError: pyrealsense2 is not installed, or there is no such file.
        """
        rs = require_realsense()
        path = Path(path)
        if not is_file(path):
            raise UsageError(f"RealSense recording {path} does not exist")
        return cls(
            lambda: rs.context().load_device(str(path)),
            f"RealSense recording {path}",
            identify=lambda: f"realsense:{file_identity(path)}",
            is_recording=True,
            loop=loop,
        )

    def read(self, timeout_ms: float = READ_TIMEOUT_MS) -> Capture:
        """Return the next matched set as a capture; see `Camera.read`.

        Raises:
            EndOfStreamError: The recording is over.
            UnreadableRecordingError: The recording cannot be opened, or fails on the way.
            CameraError: No such camera, it was unplugged, or no complete set came in time. After
                an unplugging, or five seconds without a set, the next read connects again.
        """
        if self._closed:
            raise CameraError(f"{self.name} is closed: make a new camera")
        deadline_ms = monotonic_ms() + timeout_ms
        while True:
            if self._session is None:
                self._session = self._start()
            try:
                return self._next(self._session, deadline_ms, timeout_ms)
            except EndOfStreamError:
                self._stop()
                if not self._loop:
                    raise
            except RuntimeError as error:
                self._stop()
                raise self._fault(f"failed: {error}") from error

    def rig(self) -> Rig | None:
        """Return the factory calibration of the open streams; see `Camera.rig`."""
        return None if self._session is None else self._session.rig

    def identity(self) -> str:
        """Return the device's serial number or the recording's path; see `Camera.identity`."""
        return self.name if self._identify is None else self._identify()

    def close(self) -> None:
        """Stop the streams and release the device."""
        self._closed = True
        self._stop()

    def _start(self) -> _Session:
        try:
            rs, device = require_realsense(), self._connect()
            if not self._is_recording:
                self._require_pinned(rs, device)
            session = _Session(rs, device, self._request, self.name)
        except RuntimeError as error:
            raise self._fault(f"cannot be opened: {error}") from error
        self._last_frame_ms = monotonic_ms()
        return session

    def _require_pinned(self, rs: Any, device: Any) -> None:
        """Check that a device is what it must be.

        Raises:
            ForeignCameraError: It is another one, or stands in the network.
        """
        info = rs.camera_info
        way = _stated(device, getattr(info, "connection_type", None))
        detour = Detour.NETWORK if way in _NETWORK_WAYS else None
        self._pin.require_allowed(detour, f"{self.name} is connected by {way}")
        self._pin.require(
            {
                "serial": _stated(device, info.serial_number),
                "firmware": _stated(device, info.firmware_version),
            },
            self.name,
        )

    def _fault(self, what: str) -> CameraError:
        """Return the error for a fault of librealsense, which is final for a recording."""
        kind = UnreadableRecordingError if self._is_recording else CameraError
        return kind(f"{self.name} {what}")

    def _stop(self) -> None:
        if self._session is not None:
            self._session.stop()
            self._session = None

    def _next(self, session: _Session, deadline_ms: float, timeout_ms: float) -> Capture:
        lacking = ""
        while True:
            left_ms = deadline_ms - monotonic_ms()
            if left_ms <= 0.0:
                break
            frames = session.wait(min(left_ms, _SLICE_MS))
            arrived_ms = monotonic_ms()
            if frames is None:
                if session.is_over():
                    raise EndOfStreamError(
                        f"{self.name} is over after {self.counts.delivered} captures"
                    )
                continue
            absent = [m.value for m in session.modalities if m not in frames]
            if absent or not session.are_new(frames):  # the next set's numbers reveal it
                lacking = f"; the last set lacked {', '.join(absent)}" if absent else ""
                continue
            self.counts.dropped += session.skipped(frames)
            self.counts.delivered += 1
            self._last_frame_ms = arrived_ms
            return session.capture(frames, arrived_ms, on_host_clock=not self._is_recording)
        if not session.is_connected():
            self._stop()
            raise CameraError(f"{self.name} was unplugged: plug it in again")
        if monotonic_ms() - self._last_frame_ms > _REOPEN_AFTER_MS:
            self._stop()
        raise CameraError(
            f"no complete set of {', '.join(m.value for m in session.modalities)} from {self.name} "
            f"within {timeout_ms:.0f} ms{lacking}"
        )


@dataclass(frozen=True)
class DepthScale:
    """Length of one step of a device's raw depth.

    Attributes:
        nanometers: Length in nanometers. librealsense gives meters as float32, and every device's
            step is a whole number of nanometers.
    """

    nanometers: int

    @classmethod
    def of_meters(cls, meters: float) -> DepthScale:
        """Return the unit librealsense calls `meters`, such as 0.001.

        Raises:
            CameraError: It is not a positive length of at least one nanometer.
        """
        nanometers = round(meters * 1e9) if np.isfinite(meters) else 0
        if nanometers < 1:
            raise CameraError(f"the camera's depth unit is {meters!r} m: its depth has no meaning")
        return cls(nanometers)

    def to_millimeters(self, raw: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return depth in millimeters, halves up, at most 65,535; a new array [H, W]."""
        if self.nanometers == 1_000_000:
            return np.array(raw)
        return np.asarray(_millimeters_by_step(self.nanometers)[raw])


@lru_cache(maxsize=4)
def _millimeters_by_step(nanometers: int) -> NDArray[np.uint16]:
    """Return uint16 [65536]: every raw depth in millimeters."""
    steps = np.arange(65_536, dtype=np.uint64) * np.uint64(nanometers)
    rounded = (steps + np.uint64(500_000)) // np.uint64(1_000_000)
    return np.asarray(np.minimum(rounded, np.uint64(65_535)), np.uint16)


class _Session:
    """A device's running streams, from connecting to unplugging."""

    def __init__(self, rs: Any, device: Any, request: StreamRequest, name: str) -> None:
        self._rs = rs
        self._device = device
        self._playback = device.as_playback() if device.is_playback() else None
        self._started: list[Any] = []
        self._clocks: dict[Any, DeviceClock] = {}
        self._numbers: dict[Modality, int] = {}
        self._syncer = rs.syncer(1)  # the newest set alone
        self._streams = {
            Modality.RGB: rs.stream.color,
            Modality.DEPTH: rs.stream.depth,
            Modality.IR: rs.stream.infrared,
        }
        chosen = choose_profiles(rs, device.query_sensors(), request, name)
        self._profiles = {m: p for sensor in chosen for m, p in sensor.profiles.items()}
        self.modalities = tuple(m for m in Modality if m in self._profiles)
        try:
            for sensor in chosen:
                sensor.sensor.open(list(sensor.profiles.values()))
                self._started.append(sensor.sensor)
            for sensor in chosen:
                sensor.sensor.start(self._syncer)
        except BaseException:
            self.stop()
            raise

    @cached_property
    def rig(self) -> Rig | None:
        """Geometry of the open streams relative to color."""
        return rig_of(self._rs, self._profiles)

    def wait(self, timeout_ms: float) -> dict[Modality, Any] | None:
        """Return the next set's frames, or None where none came in time."""
        came, found = self._syncer.try_wait_for_frames(max(1, round(timeout_ms)))
        if not came:
            return None
        types = {frame.get_profile().stream_type(): frame for frame in found}
        return {m: types[stream] for m, stream in self._streams.items() if stream in types}

    def is_over(self) -> bool:
        """Return whether a recording has been played to its end."""
        if self._playback is None:
            return False
        return bool(self._playback.current_status() == self._rs.playback_status.stopped)

    def is_connected(self) -> bool:
        """Return whether the device is still there."""
        return self._playback is not None or bool(self._device.is_connected())

    def are_new(self, frames: dict[Modality, Any]) -> bool:
        """Return whether no frame of the set was returned before."""
        return all(self._numbers.get(m) != f.get_frame_number() for m, f in frames.items())

    def skipped(self, frames: dict[Modality, Any]) -> int:
        """Return how many sets were never delivered, by the frame numbers; remember them."""
        numbers = {m: int(f.get_frame_number()) for m, f in frames.items()}
        gaps = [n - self._numbers[m] - 1 for m, n in numbers.items() if m in self._numbers]
        self._numbers = numbers
        return max(0, *gaps) if gaps else 0

    def capture(
        self, frames: dict[Modality, Any], arrived_ms: float, *, on_host_clock: bool
    ) -> Capture:
        """Return the set as a capture that owns its arrays."""
        arrays = {m: np.array(f.get_data()) for m, f in frames.items()}
        if Modality.DEPTH in frames:
            scale = DepthScale.of_meters(frames[Modality.DEPTH].as_depth_frame().get_units())
            arrays[Modality.DEPTH] = scale.to_millimeters(arrays[Modality.DEPTH])
        if Modality.RGB in frames:
            format_ = frames[Modality.RGB].get_profile().format()
            if format_ == self._rs.format.bgr8:
                arrays[Modality.RGB] = np.ascontiguousarray(arrays[Modality.RGB][..., ::-1])
        return Capture(
            rgb=arrays.get(Modality.RGB),
            depth=arrays.get(Modality.DEPTH),
            ir=arrays.get(Modality.IR),
            taken_ms=self._stamps(frames, arrived_ms, on_host_clock=on_host_clock),
            stamps={
                m: DeviceStamp(int(f.get_frame_number()), float(f.get_timestamp()))
                for m, f in frames.items()
            },
        )

    def stop(self) -> None:
        """Stop the streams; a device that is gone already is no fault here."""
        for sensor in self._started:
            for step in (sensor.stop, sensor.close):
                with suppress(RuntimeError):  # unplugged, or never started
                    step()
        self._started = []

    def _stamps(
        self, frames: dict[Modality, Any], arrived_ms: float, *, on_host_clock: bool
    ) -> dict[Modality, float]:
        stamps: dict[Modality, float] = {}
        by_domain: dict[Any, dict[Modality, float]] = {}
        for modality, frame in frames.items():
            domain = frame.get_frame_timestamp_domain()
            by_domain.setdefault(domain, {})[modality] = frame.get_timestamp()
        for domain, times in by_domain.items():
            latest_ms = max(times.values())
            if on_host_clock and domain != self._rs.timestamp_domain.hardware_clock:
                # The computer's clock of the day; it may be set at any moment, so it is compared
                # now, and no frame was taken after it arrived.
                offset_ms = min(monotonic_ms() - time.time_ns() / 1e6, arrived_ms - latest_ms)
            else:
                clock = self._clocks.setdefault(domain, DeviceClock())
                offset_ms = clock.observe(latest_ms, arrived_ms)
            stamps |= {m: stamp + offset_ms for m, stamp in times.items()}
        return stamps


def _stated(device: Any, what: Any) -> str | None:
    """Return what a device states of itself, or None where it does not."""
    if what is None or not device.supports(what):
        return None
    return str(device.get_info(what))


def require_realsense() -> Any:
    """Return the pyrealsense2 module.

    Raises:
        UsageError: It is not installed, or a system library of its is absent.
    """
    try:
        import pyrealsense2
    except ImportError as error:
        raise UsageError(
            f"pyrealsense2 cannot be loaded ({error}): {how_to_install('realsense')}, "
            "and libusb-1.0 from the system's packages"
        ) from error
    return pyrealsense2


def _identity_of(rs: Any, serial: str | None) -> str:
    """Return the name of an attached camera; without a number where none or several are there."""
    if serial is None:
        try:
            serial = _attached_device(rs, None).get_info(rs.camera_info.serial_number)
        except (CameraError, RuntimeError):
            return "realsense"
    return f"realsense:{serial}"


def _attached_device(rs: Any, serial: str | None) -> Any:
    devices = list(rs.context().query_devices())
    serials = [device.get_info(rs.camera_info.serial_number) for device in devices]
    attached = ", ".join(serials) or "none"
    if serial is None and len(devices) > 1:
        raise CameraError(
            f"several RealSense cameras are attached ({attached}): name one, as in "
            f"realsense:{serials[0]}"
        )
    for device, found in zip(devices, serials, strict=True):
        if serial in {None, found}:
            return device
    wanted = "RealSense camera" if serial is None else f"RealSense camera {serial}"
    raise CameraError(f"no {wanted} is attached; attached: {attached}")

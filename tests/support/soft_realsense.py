"""Software RealSense camera: librealsense's software device, fed by the test."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.requirements import Requirement

# The wheel is there, the system library it loads may not be.
rs: Any = Requirement.LIBUSB.module("pyrealsense2", whole_module=True)

DEPTH_SIZE, COLOR_SIZE = (64, 48), (96, 72)
ALL = ("depth", "ir", "rgb")
# A clock that began long ago: of a software device librealsense takes frame number over time for
# the frame rate, and matches nothing once that is a whole number in its units.
CLOCK_MS = 1e12


def _stream(kind, pixel_format, bytes_per_pixel, size, *, index=0, number=0, coeffs=None):
    stream = rs.video_stream()
    stream.type, stream.fmt, stream.bpp = kind, pixel_format, bytes_per_pixel
    stream.index, stream.uid, stream.fps = index, number, 30
    stream.width, stream.height = size
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height = size
    intrinsics.ppx, intrinsics.ppy = size[0] / 2, size[1] / 2
    intrinsics.fx = intrinsics.fy = 60.0
    intrinsics.model = rs.distortion.inverse_brown_conrady  # what the D400 series says
    intrinsics.coeffs = coeffs or [0.0] * 5
    stream.intrinsics = intrinsics
    return stream


@dataclass
class SoftRealSense:
    """A device with depth and left infrared on one sensor, color on another.

    Attributes:
        color_format: Pixel format of the color stream.
        distortion: Coefficients of its color lens; None for none.
        rotation: Rotation from depth to color, 3x3, column by column as librealsense has it.
        plugged: Answer of `is_connected`.
        connections: Number of times a camera connected to it.
    """

    color_format: object = rs.format.rgb8
    distortion: list | None = None
    rotation: tuple = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    plugged: bool = True
    connections: int = 0
    _kept: list = field(default_factory=list)

    def __post_init__(self):
        self._make()

    def _make(self):
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, "software")
        self.device.register_info(rs.camera_info.serial_number, "0123")
        self.stereo = self.device.add_sensor("Stereo Module")
        self.color = self.device.add_sensor("RGB Camera")
        self.stereo.add_read_only_option(rs.option.depth_units, 0.001)
        self.profiles = {
            "depth": self.stereo.add_video_stream(
                _stream(rs.stream.depth, rs.format.z16, 2, DEPTH_SIZE, number=1), True
            ),
            "ir": self.stereo.add_video_stream(
                _stream(rs.stream.infrared, rs.format.y8, 1, DEPTH_SIZE, index=1, number=2), True
            ),
            "rgb": self.color.add_video_stream(
                _stream(
                    rs.stream.color,
                    self.color_format,
                    3,
                    COLOR_SIZE,
                    number=3,
                    coeffs=self.distortion,
                ),
                True,
            ),
        }
        beside = rs.extrinsics()
        beside.rotation, beside.translation = list(self.rotation), [0.015, 0, 0]
        self.profiles["depth"].register_extrinsics_to(self.profiles["rgb"], beside)
        self.profiles["ir"].register_extrinsics_to(self.profiles["rgb"], beside)
        self.device.create_matcher(rs.matchers.default)

    def connect(self):
        """Return the device as a camera connects to it; unplugged, say so as librealsense does."""
        if not self.plugged:
            raise RuntimeError("No device connected")
        self.connections += 1
        if self.connections > 1:
            self._make()  # plugged in again, librealsense shows a new device
        return _Pluggable(self)

    def shoot(self, number, *, at_ms, streams=ALL, raw_depth=None, units=0.001, **settings):
        """Inject one set: depth `at_ms` after CLOCK_MS, infrared 1 ms, color 2 ms later."""
        if "domain" not in settings:
            at_ms += CLOCK_MS
        width, height = DEPTH_SIZE
        frames = {
            "depth": np.full((height, width), 1000 + number, np.uint16)
            if raw_depth is None
            else np.ascontiguousarray(raw_depth),
            "ir": np.full((height, width), number % 256, np.uint8),
            "rgb": np.full((*COLOR_SIZE[::-1], 3), (number % 256, 100, 200), np.uint8),
        }
        for late_ms, name in enumerate(ALL):
            if name in streams:
                self._inject(name, frames[name], number, at_ms + late_ms, units, **settings)

    def _inject(
        self, name, array, number, stamp_ms, units, domain=rs.timestamp_domain.hardware_clock
    ):
        frame = rs.software_video_frame()
        frame.pixels, frame.stride = array, array.strides[0]
        frame.bpp = array.itemsize * (array.shape[2] if array.ndim == 3 else 1)
        frame.timestamp, frame.domain, frame.frame_number = stamp_ms, domain, number
        frame.profile = self.profiles[name].as_video_stream_profile()
        if name == "depth":
            frame.depth_units = units
        self._kept.append(array)  # librealsense reads it later
        (self.color if name == "rgb" else self.stereo).on_video_frame(frame)


class _Pluggable:
    """The software device, which librealsense always shows as connected, with a plug."""

    def __init__(self, soft):
        self._soft = soft
        self._device = soft.device

    def __getattr__(self, name):
        return getattr(self._device, name)

    def is_connected(self):
        return self._soft.plugged


def record(folder, sets, *, every_s=0.05, incomplete=()):
    """Record that many sets, some without infrared, from a software device; return the file."""
    soft = SoftRealSense()
    for suffix in ("db3", "bag"):  # releases from 2.58 on write the first, older ones the second
        path = folder / f"recording.{suffix}"
        try:
            recorder = rs.recorder(str(path), soft.device)
        except RuntimeError:
            continue
        break
    sensors = recorder.query_sensors()
    sink = rs.frame_queue(1)
    for sensor in sensors:
        sensor.open(sensor.get_stream_profiles())
    for sensor in sensors:
        sensor.start(sink)
    for number in range(1, sets + 1):
        soft.shoot(
            number,
            at_ms=number * every_s * 1000,
            streams=("depth", "rgb") if number in incomplete else ALL,
        )
        time.sleep(every_s)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    return path

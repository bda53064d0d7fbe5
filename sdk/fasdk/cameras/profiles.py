"""Choice among a RealSense device's stream profiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasdk.capture import Modality
from fasdk.errors import CameraError

if TYPE_CHECKING:
    from collections.abc import Sequence

Size = tuple[int, int]


@dataclass(frozen=True)
class StreamRequest:
    """Requested sizes and rate; None leaves one to the device's default.

    Attributes:
        depth_size: Width and height of depth and infrared in pixels.
        color_size: Width and height of color in pixels.
        fps: Sets of frames a second.
    """

    depth_size: Size | None = None
    color_size: Size | None = None
    fps: int | None = None


@dataclass(frozen=True)
class SensorProfiles:
    """A librealsense sensor and the profiles to open on it."""

    sensor: Any
    profiles: dict[Modality, Any]


def choose_profiles(
    rs: Any, sensors: Sequence[Any], request: StreamRequest, name: str
) -> list[SensorProfiles]:
    """Return what to open: color in 8 bits, depth in 16, infrared in 8, of those the device has.

    Infrared takes the size and rate of depth and the lower index, which is the left imager and
    therefore depth's own view.

    Raises:
        CameraError: The device has none of the three, or not the size or rate asked for.
    """
    kinds = {
        Modality.RGB: (rs.stream.color, (rs.format.rgb8, rs.format.bgr8)),
        Modality.DEPTH: (rs.stream.depth, (rs.format.z16,)),
        Modality.IR: (rs.stream.infrared, (rs.format.y8,)),
    }
    # Sensor number and profile, by modality.
    offered: dict[Modality, list[tuple[int, Any]]] = {modality: [] for modality in Modality}
    for number, sensor in enumerate(sensors):
        for profile in sensor.get_stream_profiles():
            for modality, (stream, formats) in kinds.items():
                if profile.stream_type() == stream and profile.format() in formats:
                    offered[modality].append((number, profile.as_video_stream_profile()))
    if not any(offered.values()):
        raise CameraError(
            f"{name} has no stream of color (rgb8, bgr8), depth (z16) or infrared (y8)"
        )
    sizes = {Modality.RGB: request.color_size, Modality.DEPTH: request.depth_size}
    chosen: dict[Modality, tuple[int, Any]] = {}
    for modality in (Modality.RGB, Modality.DEPTH):
        if offered[modality]:
            chosen[modality] = _choose(
                offered[modality], sizes[modality], request.fps, f"{name}: {modality.value}"
            )
    if offered[Modality.IR]:
        depth = chosen[Modality.DEPTH][1] if Modality.DEPTH in chosen else None
        size = request.depth_size if depth is None else _size(depth)
        fps = request.fps if depth is None else depth.fps()
        chosen[Modality.IR] = _choose(offered[Modality.IR], size, fps, f"{name}: ir")
    return [
        SensorProfiles(
            sensor, {m: profile for m, (number, profile) in chosen.items() if number == index}
        )
        for index, sensor in enumerate(sensors)
        if any(number == index for number, _ in chosen.values())
    ]


def _choose(
    offered: list[tuple[int, Any]], size: Size | None, fps: int | None, what: str
) -> tuple[int, Any]:
    """Return the device's default among those that fit, else the first of the lowest index."""
    fitting = [
        (number, profile)
        for number, profile in offered
        if (size is None or _size(profile) == size) and (fps is None or profile.fps() == fps)
    ]
    if not fitting:
        asked = " ".join(
            ([] if size is None else [f"{size[0]}x{size[1]}"])
            + ([] if fps is None else [f"at {fps} a second"])
        )
        known = sorted({(*_size(profile), profile.fps()) for _, profile in offered})
        raise CameraError(
            f"{what} is not offered {asked}: choose among "
            + ", ".join(f"{width}x{height} at {rate}" for width, height, rate in known)
        )
    return min(fitting, key=lambda item: (not item[1].is_default(), item[1].stream_index()))


def _size(profile: Any) -> Size:
    return profile.width(), profile.height()

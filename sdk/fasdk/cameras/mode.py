"""Video mode asked of a camera, held against the one it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fasdk.errors import CameraError, UsageError

# Drivers tell 29.97 or 30.00003 frames a second where 30 were asked for.
_FPS_TOLERANCE = 0.5


@dataclass(frozen=True)
class VideoMode:
    """A camera's frame size, rate and pixel format; None leaves one to the camera.

    Attributes:
        width_px: Width of the frames in pixels; given together with the height.
        height_px: Height of the frames in pixels.
        fps: Frames a second.
        fourcc: Pixel format by its four characters, such as MJPG or YUYV; a shorter one, such as
            Y16, is filled up with spaces.

    Raises:
        UsageError: A width without a height, a size or rate below 1, or no four characters.
    """

    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    fourcc: str | None = None

    def __post_init__(self) -> None:
        """Check every setting on construction."""
        if (self.width_px is None) != (self.height_px is None):
            raise UsageError("a camera's width and height are set together: give both or neither")
        for name in ("width_px", "height_px", "fps"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 100_000:
                # No number format: one of hundreds of digits is no float.
                raise UsageError(f"a camera's {name} is {value!s:.24}, expected 1 to 100000")
        if self.fourcc is not None:
            padded = self.fourcc.ljust(4)
            if len(padded) != 4 or not padded.isascii() or not padded.isprintable():
                raise UsageError(
                    f"fourcc {self.fourcc!r} is no pixel format: expected four characters, such as "
                    "MJPG, YUYV, GREY or Y16"
                )
            object.__setattr__(self, "fourcc", padded)

    def request(self, device: Any, name: str, modes_command: str) -> None:
        """Ask an open device for this mode.

        Args:
            device: The cv2.VideoCapture, before its first frame.
            name: Name of the camera in errors.
            modes_command: How to list the camera's modes, in errors.

        Raises:
            CameraError: The device gives another mode, or does not say which.
        """
        import cv2

        # The format first, since it decides on the sizes, and the rate last, since a new size
        # resets it.
        if self.fourcc is not None:
            device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self.fourcc))
        if self.width_px is not None and self.height_px is not None:
            device.set(cv2.CAP_PROP_FRAME_WIDTH, self.width_px)
            device.set(cv2.CAP_PROP_FRAME_HEIGHT, self.height_px)
        if self.fps is not None:
            device.set(cv2.CAP_PROP_FPS, self.fps)
        wrong = [*self._wrong_format(device), *self._wrong_size(device), *self._wrong_rate(device)]
        if wrong:
            raise CameraError(
                f"{name} does not give what was asked of it: {'; '.join(wrong)}; {modes_command}, "
                "ask for one of those, or leave the option out"
            )

    def _wrong_format(self, device: Any) -> list[str]:
        if self.fourcc is None or fourcc_of(device) == self.fourcc:
            return []
        given = (fourcc_of(device) or "an unknown format").strip()
        return [f"fourcc {self.fourcc.strip()} was asked for, it gives {given}"]

    def _wrong_size(self, device: Any) -> list[str]:
        import cv2

        if self.width_px is None:
            return []
        width = round(device.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = round(device.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if (width, height) == (self.width_px, self.height_px):
            return []
        return [f"{self.width_px}x{self.height_px} was asked for, it gives {width}x{height}"]

    def _wrong_rate(self, device: Any) -> list[str]:
        import cv2

        if self.fps is None:
            return []
        fps = float(device.get(cv2.CAP_PROP_FPS))
        if not fps > 0.0:
            return [f"{self.fps:g} fps was asked for, it does not say what it gives"]
        if abs(fps - self.fps) <= _FPS_TOLERANCE:
            return []
        return [f"{self.fps:g} fps was asked for, it gives {fps:g}"]

    def require_size(self, width: int, height: int, name: str) -> None:
        """Check a frame, since a driver may tell one size and give another.

        Raises:
            CameraError: The frame has another size than was asked for.
        """
        if self.width_px is not None and (width, height) != (self.width_px, self.height_px):
            raise CameraError(
                f"{name} says it gives {self.width_px}x{self.height_px} and gave a frame of "
                f"{width}x{height}: ask for that size, or leave width and height out"
            )


def fourcc_of(device: Any) -> str | None:
    """Return the pixel format an open device gives, or None where it does not say."""
    import cv2

    number = round(device.get(cv2.CAP_PROP_FOURCC))
    if number <= 0:
        return None
    text = "".join(chr(number >> shift & 0xFF) for shift in (0, 8, 16, 24))
    return text if text.isascii() and text.isprintable() else None


def describe_mode(device: Any, fourcc: str | None) -> str:
    """Return what an open device gives, such as `640x480 at 30 fps as YUYV`."""
    import cv2

    width, height = (
        round(device.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    what = "" if fourcc is None else f" as {fourcc.strip()}"
    return f"{width}x{height} at {device.get(cv2.CAP_PROP_FPS):g} fps{what}"

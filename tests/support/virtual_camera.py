"""Video nodes and a sysfs tree that stand in for the kernel's, and a door behind a camera.

No kernel module can be loaded for a test, so a node is a link to a character device that every
machine has, and what VIDIOC_QUERYCAP answers comes from here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2

from fasdk.cameras import open_camera, v4l2
from fasdk.capture_loop import run_captures
from fasdk.reasons import Reason

from support.attack_door import AttackDoor
from support.fake_video_device import FakeVideoDevice, color_frame
from support.track_fakes import plain_bundle

_NODES = ("/dev/null", "/dev/zero", "/dev/full")
USB_HOST = "pci0000:00/0000:00:14.0/usb1"


class VideoNodes:
    """A machine's cameras, in a folder of a test.

    Args:
        folder: Empty folder.
        monkeypatch: What puts it in the kernel's place.
    """

    def __init__(self, folder: Path, monkeypatch) -> None:
        self._dev, self._sys = folder / "dev", folder / "sys"
        self._answers: dict[int, bytes] = {}
        self._dev.mkdir()
        (self._sys / "dev" / "char").mkdir(parents=True)
        monkeypatch.setattr(v4l2, "_SYSTEM", self._sys)
        monkeypatch.setattr(v4l2, "_capability", self._capability)

    def plug(
        self,
        name: str,
        *,
        driver: str = "uvcvideo",
        card: str = "HD Camera",
        port: str = "usb-0000:00:14.0-2",
        serial: str | None = "A1B2C3",
        place: str = f"{USB_HOST}/1-2/1-2:1.0",
        device: int = 0,
    ) -> Path:
        """Attach a camera and return its node; one that was there under this name is unplugged.

        Args:
            name: Name of the node, such as video0.
            driver: What QUERYCAP answers, as well as `card` and `port`.
            card: See `driver`.
            port: See `driver`.
            serial: Serial number of the USB device; None where it has none.
            place: Place below /sys/devices.
            device: Which of the machine's own character devices stands for it.
        """
        number = Path(_NODES[device]).stat().st_rdev
        folder = self._sys / "devices" / place / "video4linux" / name
        folder.mkdir(parents=True, exist_ok=True)
        if "usb" in place:
            usb = self._sys / "devices" / Path(place).parent
            (usb / "idVendor").write_text("046d\n")
            (usb / "serial").unlink(missing_ok=True)
            if serial is not None:
                (usb / "serial").write_text(f"{serial}\n")
        for link, target in (
            (self._dev / name, _NODES[device]),
            (self._sys / "dev" / "char" / f"{os.major(number)}:{os.minor(number)}", folder),
        ):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        words = [word.encode() for word in (driver, card, port)]
        self._answers[number] = v4l2._CAPABILITY.pack(*words, 0x60000, 0x84A00001, 0x4200001)
        return self._dev / name

    def _capability(self, descriptor: int) -> bytes:
        try:
            return self._answers[os.fstat(descriptor).st_rdev]
        except KeyError:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY)) from None


# What a door says to a capture of color alone, where its model wants three sensors: one came.
TAKEN = (Reason.MODALITY_MISSING,)


class WatchedDoor:
    """A door whose camera may be opened or not.

    Attributes:
        opened: What OpenCV opened in place of a device, one each time.
    """

    def __init__(self, monkeypatch) -> None:
        self.opened: list[FakeVideoDevice] = []
        monkeypatch.setattr(cv2, "VideoCapture", self.open)

    def open(self, *arguments):
        """Return a device that gives two frames and then fails, as cv2.VideoCapture returns one."""
        device = FakeVideoDevice()
        device.kernel_ms = None  # that of the reading
        device.give(color_frame(1), color_frame(2), None)
        self.opened.append(device)
        return device(*arguments)

    def answer(self, spec: str):
        """Return the first decision on a camera, from the first turn of the capture loop."""
        door = AttackDoor(plain_bundle())
        with open_camera(spec) as camera:
            found = run_captures(camera, door.track, timeout_ms=5_000.0, sleep=lambda _: None)
            return next(found).decision

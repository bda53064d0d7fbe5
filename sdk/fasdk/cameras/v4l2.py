"""What the kernel says of a Video4Linux node: driver, serial number, port, and whether it is real.

The driver and the port come from the ioctl VIDIOC_QUERYCAP, the serial number and the way to the
device from sysfs. Both are the kernel's word: root can make them say anything.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_SYSTEM = Path("/sys")
# _IOR('V', 0, struct v4l2_capability), linux/videodev2.h: driver, card, bus_info, version,
# capabilities, device_caps and three reserved words.
_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_VIRTUAL_BUS = "virtual"  # /sys/devices/virtual: a device without hardware
_LONGEST = 256


class Detour(str, Enum):
    """Way to a camera that is refused unless its name is allowed: software can give the frames.

    - NETWORK: A stream of the network.
    - V4L2LOOPBACK: The driver v4l2loopback, which shows what another program writes.
    - AKVCAM: The driver akvcam, likewise.
    - VIVID: The kernel's test driver vivid, which makes up pictures.
    - VIMC: The kernel's test driver vimc, likewise.
    - USBIP: A USB device of another machine (vhci_hcd).
    - GADGET: A USB device that this machine itself plays (dummy_hcd).
    - VIRTUAL: Any other device without hardware.
    """

    NETWORK = "network"
    V4L2LOOPBACK = "v4l2loopback"
    AKVCAM = "akvcam"
    VIVID = "vivid"
    VIMC = "vimc"
    USBIP = "usbip"
    GADGET = "gadget"
    VIRTUAL = "virtual"


_DRIVERS = {
    "v4l2loopback": Detour.V4L2LOOPBACK,
    "akvcam": Detour.AKVCAM,
    "vivid": Detour.VIVID,
    "vimc": Detour.VIMC,
}
_HOSTS = {"vhci_hcd": Detour.USBIP, "dummy_hcd": Detour.GADGET, "dummy_udc": Detour.GADGET}


@dataclass(frozen=True)
class V4l2Device:
    """A Video4Linux device, as the kernel describes it.

    Attributes:
        number: The kernel's number of the node, which another device may get later.
        driver: Name of its driver, such as uvcvideo.
        card: Name of the camera, which it chooses itself.
        port: Where it is attached, such as usb-0000:00:14.0-2.
        serial: Serial number that the USB device states; None where it states none.
        detour: Kind of the software that stands for it; None for hardware.
    """

    number: int
    driver: str
    card: str
    port: str
    serial: str | None
    detour: Detour | None

    def describe(self) -> str:
        """Return it in words, with what a pin of it would say."""
        serial = "no serial number" if self.serial is None else f"serial={self.serial}"
        return f"{self.card!r}, {serial}, driver={self.driver}, port={self.port}"


def device_of(node: Path) -> V4l2Device | None:
    """Return what the kernel says of a node; None where it is no Video4Linux device.

    Args:
        node: Device node, or a link to one, such as /dev/video0.
    """
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISCHR(found.st_mode):
            return None
        answer = _capability(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    driver, card, port, *_ = _CAPABILITY.unpack(answer)
    names = [_text(raw) for raw in (driver, card, port)]
    path = _path_of(found.st_rdev)
    return V4l2Device(
        found.st_rdev, names[0], names[1], names[2], _serial(path), _detour(names[0], path)
    )


def _capability(descriptor: int) -> bytes:
    """Return the kernel's struct v4l2_capability of an open node."""
    return fcntl.ioctl(descriptor, _QUERYCAP, bytes(_CAPABILITY.size))


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace").strip()


def _path_of(number: int) -> Path | None:
    """Return a device's place in sysfs with links followed; None where sysfs is not there."""
    link = _SYSTEM / "dev" / "char" / f"{os.major(number)}:{os.minor(number)}"
    try:
        return link.resolve(strict=True)
    except OSError:
        return None


def _serial(path: Path | None) -> str | None:
    """Return the serial number of the USB device that a place in sysfs belongs to."""
    for folder in () if path is None else (path, *path.parents):
        if (folder / "idVendor").is_file():
            try:
                with (folder / "serial").open("rb") as file:
                    return _text(file.read(_LONGEST)) or None
            except OSError:
                return None
    return None


def _detour(driver: str, path: Path | None) -> Detour | None:
    """Return what kind of software stands for a device, by its driver and its place in sysfs."""
    named = _DRIVERS.get(driver.replace(" ", "").lower())
    if named is not None or path is None:
        return named
    parts = path.parts[len(_SYSTEM.resolve().parts) :]
    for part in parts:
        for host, detour in (_HOSTS | _DRIVERS).items():
            if part.startswith(host):
                return detour
    return Detour.VIRTUAL if parts[:2] == ("devices", _VIRTUAL_BUS) else None

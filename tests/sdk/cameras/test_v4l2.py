"""Video4Linux nodes as the kernel describes them, in the kernel's layout."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from fasdk.cameras import v4l2
from fasdk.cameras.v4l2 import Detour, device_of

from support.virtual_camera import VideoNodes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="device nodes as Linux has them")


class Capability(ctypes.Structure):
    """struct v4l2_capability, as linux/videodev2.h has it."""

    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    return VideoNodes(tmp_path, monkeypatch)


def test_the_request_is_the_kernels():
    assert ctypes.sizeof(Capability) == v4l2._CAPABILITY.size
    read, size = 2, ctypes.sizeof(Capability)
    assert read << 30 | size << 16 | ord("V") << 8 | 0 == v4l2._QUERYCAP
    written = Capability(b"uvcvideo", b"HD Camera", b"usb-1", 1, 2, 3)
    assert v4l2._CAPABILITY.unpack(bytes(written))[3:] == (1, 2, 3)


def test_a_camera_is_described(nodes):
    found = device_of(nodes.plug("video0"))
    assert (found.driver, found.card, found.port) == (
        "uvcvideo",
        "HD Camera",
        "usb-0000:00:14.0-2",
    )
    assert (found.serial, found.detour) == ("A1B2C3", None)
    assert found.number == os.stat(os.devnull).st_rdev  # noqa: PTH116 - as the kernel counts
    assert found.describe() == (
        "'HD Camera', serial=A1B2C3, driver=uvcvideo, port=usb-0000:00:14.0-2"
    )
    assert (
        device_of(nodes.plug("video0", serial=None))
        .describe()
        .startswith("'HD Camera', no serial number")
    )


def test_without_sysfs_the_driver_alone_tells(nodes, monkeypatch):
    loopback = nodes.plug("video0", driver="v4l2 loopback", place="virtual")
    monkeypatch.setattr(v4l2, "_SYSTEM", Path("/nowhere"))
    found = device_of(loopback)
    assert (found.detour, found.serial) == (Detour.V4L2LOOPBACK, None)
    assert device_of(nodes.plug("video0")).detour is None


def test_what_is_no_camera_is_none(tmp_path):
    (tmp_path / "file").touch()
    for path in (Path(os.devnull), tmp_path / "file", tmp_path, tmp_path / "absent", Path("\0")):
        assert device_of(path) is None


def test_every_way_is_documented_and_can_be_named():
    assert {*v4l2._DRIVERS.values(), *v4l2._HOSTS.values()} < set(Detour)
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "integrate.md").read_text("utf-8")
    section = guide.split("\n### Pin a camera\n")[1].split("\n## ")[0]
    assert [each.value for each in Detour if f"`{each.value}`" not in section] == []

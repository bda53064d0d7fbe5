"""Device nodes that cannot be opened: what the system says is what the message says."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from fasdk.cameras import device_node, open_camera
from fasdk.cameras.device_node import why_not_opened
from fasdk.errors import CameraError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="device nodes as Linux has them")
NULL = Path(os.devnull)


def refusing(monkeypatch, number):
    def opened(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(device_node.os, "open", opened)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "exists, and this user may not open it: add the user to its group"),
        (errno.EPERM, "exists, and this user may not open it"),
        (errno.EBUSY, "exists and is busy: end the other program"),
        (errno.ENODEV, "exists, and no device answers there: plug the camera in again"),
        (errno.ENXIO, "exists, and no device answers there"),
        (errno.EIO, "exists: Input/output error"),
    ],
)
def test_a_node_that_refuses_says_why(monkeypatch, number, words):
    refusing(monkeypatch, number)
    assert why_not_opened(NULL).startswith(f"{NULL} {words}")


def test_a_node_that_is_no_camera_is_not_said_to_be_absent():
    with (
        open_camera(f"opencv:{NULL}") as camera,
        pytest.raises(CameraError, match=r"null exists and this user may open it, but it gives no"),
    ):
        camera.read(5000)


def test_an_absent_node_names_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(device_node, "_DEVICES", tmp_path)
    assert "this machine has no /dev/video* at all" in why_not_opened(tmp_path / "video9")
    (tmp_path / "video0").touch()
    message = why_not_opened(tmp_path / "video9")
    assert message.startswith(f"{tmp_path}/video9 does not exist: plug the camera in; there are ")
    assert message.endswith("/video0")
    by_id = tmp_path / "v4l" / "by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-Maker_Camera-video-index0").touch()
    assert why_not_opened(tmp_path / "video9").endswith("usb-Maker_Camera-video-index0")
    assert "video0 exists and is no device node" in why_not_opened(tmp_path / "video0")


def test_an_absent_camera_by_number_and_by_path():
    for spec in ("opencv:63", "opencv:/dev/v4l/by-id/usb-nobody-video-index0"):
        with (
            open_camera(spec) as camera,
            pytest.raises(CameraError, match=r"cannot be opened: /dev/\S+ does not exist"),
        ):
            camera.read(5000)

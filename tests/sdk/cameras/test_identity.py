"""Names of cameras: one account of attempts, whichever of its names a camera was given by."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fasdk.cameras import identity, open_camera
from fasdk.cameras.identity import device_identity, pipeline_identity, stream_identity

from support.scripted_camera import ScriptedCamera

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="device nodes as Linux has them")


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """A folder of devices: two cameras, of which the first has a link that names it."""
    monkeypatch.setattr(identity, "_DEVICES", tmp_path)
    (tmp_path / "v4l" / "by-id").mkdir(parents=True)
    (tmp_path / "video0").symlink_to(os.devnull)
    (tmp_path / "video1").symlink_to("/dev/zero")
    (tmp_path / "v4l" / "by-id" / "usb-lobby-index0").symlink_to("../../video0")
    (tmp_path / "gone").symlink_to(tmp_path / "v4l" / "by-id" / "usb-garage")
    return tmp_path


@on_linux
def test_a_device_has_one_name_by_node_link_and_pipeline(devices):
    lobby = f"{devices}/v4l/by-id/usb-lobby-index0"
    for given in (f"{devices}/video0", lobby, os.devnull):
        assert device_identity(Path(given)) == lobby
        assert pipeline_identity(f"v4l2src device={given} ! appsink") == lobby
        assert pipeline_identity(f'v4l2src io-mode=2 device="{given}" ! appsink') == lobby
        assert open_camera(f"opencv:{given}?width=64&height=48").identity() == lobby
    assert device_identity(devices / "video1") == f"{devices}/video1"


@on_linux
def test_a_camera_by_its_number_is_the_one_of_its_node(monkeypatch):
    asked = []
    monkeypatch.setattr("fasdk.cameras.source.device_identity", asked.append)
    open_camera("opencv:3?fps=30").identity()
    open_camera("opencv:/dev/video3").identity()
    assert asked == [Path("/dev/video3")] * 2


@on_linux
def test_a_device_that_is_not_there_keeps_its_name_with_links_followed(devices):
    assert device_identity(devices / "video7") == f"{devices}/video7"
    assert device_identity(devices / "gone") == f"{devices}/v4l/by-id/usb-garage"


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://door.example/ch%31",
        "RTSP://DOOR.example:554/ch1",
        "rtsp://joe:hush@door.example/ch1",
        "rtsp://joe:h/us@h@door.example./ch1#t",
    ],
)
def test_a_stream_has_one_name_with_and_without_credentials(address):
    assert stream_identity(address) == "rtsp://door.example/ch1"
    assert pipeline_identity(f"rtspsrc location={address} ! decodebin") == (
        "rtsp://door.example/ch1"
    )


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://door.example:8554/ch1", "rtsp://door.example:8554/ch1"),
        ("rtsps://door.example/ch1", "rtsps://door.example/ch1"),
        ("http://door.example:80", "http://door.example/"),
        ("http://door.example/v?token=hush", "http://door.example/v?***"),
        ("http://door.example/v?token=a@b", "http://b/"),  # may be a password that holds a ?
        ("http://[::1]:8080/v", "http://[::1]:8080/v"),
    ],
)
def test_what_else_tells_streams_apart_stays(address, name):
    assert stream_identity(address) == name


def test_files_are_named_by_where_their_links_lead(tmp_path):
    (tmp_path / "door.avi").write_bytes(b"video")
    (tmp_path / "link.avi").symlink_to(tmp_path / "door.avi")
    for name in ("door.avi", "link.avi", "../" + tmp_path.name + "/door.avi"):
        assert open_camera(f"opencv:{tmp_path}/{name}").identity() == f"{tmp_path}/door.avi"


def test_other_pipelines_are_named_by_their_source_or_without_their_secrets(tmp_path):
    assert pipeline_identity("nvarguscamerasrc  sensor-id=1 !\n nvvidconv ! appsink") == "csi:1"
    assert pipeline_identity("nvarguscamerasrc ! appsink") == "csi:0"
    assert pipeline_identity(f"filesrc location={tmp_path}/a.avi ! appsink") == f"{tmp_path}/a.avi"
    first = pipeline_identity("mysrc user-pw=hush ! videoconvert ! appsink")
    assert first.startswith("mysrc ! videoconvert ! appsink ")
    assert pipeline_identity("mysrc  user-pw=hush ! videoconvert !  appsink") == first
    assert pipeline_identity("mysrc user-pw=hushed ! videoconvert ! appsink") != first


def test_a_camera_of_ones_own_is_named_by_its_name():
    assert ScriptedCamera().identity() == "scripted"

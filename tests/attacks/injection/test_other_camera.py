"""An attacker who plugs in a camera of his own, or a device that plays a film as one, at its place.

The node, the driver and the port are those of the real camera. Its serial number is not, and a
camera that was pinned is opened only where what it states is what was written down: ERROR
(foreign-camera), also where the device is changed between the look at it and its opening. What was
gathered before is dropped. A device that states the same number passes: it has to be known.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fasdk.cameras import open_camera
from fasdk.cameras.pin import CameraPin
from fasdk.capture_loop import run_captures
from fasdk.decision import Verdict
from fasdk.errors import ForeignCameraError, UsageError
from fasdk.reasons import Reason

from support.attack_door import AttackDoor
from support.scripted_camera import ScriptedCamera
from support.sequential_tests import sigmoid
from support.track_fakes import capture, plain_bundle, scored
from support.virtual_camera import TAKEN, VideoNodes, WatchedDoor

FOREIGN = (Verdict.ERROR, (Reason.FOREIGN_CAMERA,))
PIN = "serial=A1B2C3&driver=uvcvideo&port=usb-0000:00:14.0-2"


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    return VideoNodes(tmp_path, monkeypatch)


@pytest.fixture
def door(monkeypatch):
    return WatchedDoor(monkeypatch)


def test_the_pinned_camera_is_taken(nodes, door, tmp_path):
    node = nodes.plug("video0")
    file = tmp_path / "pin.json"
    file.write_text(json.dumps({"serial": "A1B2C3", "driver": "uvcvideo"}))
    for options in (PIN, "serial=A1B2C3", f"pin={file}"):
        assert door.answer(f"opencv:{node}?{options}").codes == TAKEN


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"serial": "999"}, "its serial is '999', expected 'A1B2C3'"),
        ({"serial": None}, "its serial is none, expected 'A1B2C3'"),
        ({"driver": "gspca"}, "its driver is 'gspca', expected 'uvcvideo'"),
        ({"port": "usb-0000:00:14.0-3"}, "its port is 'usb-0000:00:14.0-3', expected"),
    ],
)
def test_another_camera_at_its_place_is_refused(nodes, door, fields, found):
    node = nodes.plug("video0", **fields)
    answer = door.answer(f"opencv:{node}?{PIN}")
    assert (answer.verdict, answer.codes) == FOREIGN
    assert found in answer.reasons[0]
    assert door.opened == []


def test_a_node_that_is_no_camera_is_refused_where_one_is_pinned(nodes, door, tmp_path):
    answer = door.answer(f"opencv:/dev/null?{PIN}")
    assert (answer.verdict, answer.codes) == FOREIGN
    assert "is no Video4Linux device" in answer.reasons[0]


def test_a_device_that_changes_while_it_is_opened_is_refused(nodes, door, monkeypatch):
    import cv2

    node = nodes.plug("video0")

    def opened(*arguments):
        nodes.plug("video0", device=1)  # the same words by another device
        return door.open(*arguments)

    monkeypatch.setattr(cv2, "VideoCapture", opened)
    answer = door.answer(f"opencv:{node}?serial=A1B2C3")
    assert (answer.verdict, answer.codes) == FOREIGN
    assert "became another device while it was opened" in answer.reasons[0]
    assert [device.released for device in door.opened] == [1]


def test_frames_before_another_camera_count_for_nothing():
    door = AttackDoor(plain_bundle())
    door.answer = lambda: scored(sigmoid(9.0))

    def frame():
        door.clock.now_ms += 100.0
        return capture()

    swapped = ForeignCameraError("another camera")
    camera = ScriptedCamera(frame, frame, swapped, *[frame] * 3)
    found = [result.decision for result in run_captures(camera, door.track, sleep=lambda _: None)]
    assert (found[2].verdict, found[2].codes) == FOREIGN
    assert not any(answer.is_live for answer in found[:5])


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"serial_number": "0123", "firmware_version": "5.16"}, None),
        ({"serial_number": "77", "firmware_version": "5.16"}, "its serial is '77'"),
        ({"serial_number": "0123", "firmware_version": "5.12"}, "its firmware is '5.12'"),
        ({"serial_number": "0123"}, "its firmware is none"),
        (
            {"serial_number": "0123", "firmware_version": "5.16", "connection_type": "DDS"},
            "allow=network",
        ),
    ],
)
def test_a_realsense_is_known_by_serial_and_firmware(stated, message):
    from fasdk.cameras.realsense import RealSenseCamera

    names = ("serial_number", "firmware_version", "connection_type")
    rs = SimpleNamespace(camera_info=SimpleNamespace(**{name: name for name in names}))
    device = SimpleNamespace(supports=stated.__contains__, get_info=stated.__getitem__)
    pin = CameraPin(serial="0123", firmware="5.16")
    camera = RealSenseCamera(lambda: device, "RealSense camera", pin=pin)
    if message is None:
        camera._require_pinned(rs, device)
        return
    with pytest.raises(ForeignCameraError, match=message):
        camera._require_pinned(rs, device)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opencv:0?serial=", "serial is '', expected the camera's serial"),
        ("opencv:0?allow=loopback", "allow is 'loopback', expected names with commas"),
        ("opencv:0?firmware=5.16", "has no option 'firmware'"),
        ("opencv:0?pin=absent.json", "absent.json: cannot be read"),
    ],
)
def test_a_pin_that_says_nothing_is_refused_at_once(spec, message):
    with pytest.raises(UsageError, match=message):
        open_camera(spec)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ('{"serail": "1"}', "", "serail: Extra inputs are not permitted"),
        ('{"serial": ""}', "", "serial: String should have at least 1 character"),
        ('{"allow": ["all"]}', "", "allow"),
        ('{"firmware": "5.16"}', "", "firmware: a camera such as .* does not state it"),
        ('{"serial": "1"}', "&driver=uvcvideo", "has pin and driver"),
    ],
)
def test_a_pin_file_that_is_wrong_is_refused_at_once(tmp_path, text, options, message):
    file = tmp_path / "pin.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        open_camera(f"opencv:0?pin={file}{options}")

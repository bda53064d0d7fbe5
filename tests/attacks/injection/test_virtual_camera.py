"""An attacker who loads v4l2loopback, or another driver without hardware, and plays a film into it.

The node has the name of the real camera, and the driver may call itself as the real one's. A device
that has no hardware behind it, or whose USB cable leads to another machine, is refused before
OpenCV opens it: ERROR (foreign-camera). An integrator who means it writes `allow=` and its name.
"""

from __future__ import annotations

import pytest

from fasdk.decision import Verdict
from fasdk.reasons import Reason

from support.virtual_camera import TAKEN, USB_HOST, VideoNodes, WatchedDoor

FOREIGN = (Verdict.ERROR, (Reason.FOREIGN_CAMERA,))
LOOPBACK = {
    "driver": "v4l2 loopback",
    "card": "HD Camera",
    "port": "platform:v4l2loopback-000",
    "place": "virtual",
}


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    return VideoNodes(tmp_path, monkeypatch)


@pytest.fixture
def door(monkeypatch):
    return WatchedDoor(monkeypatch)


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        (LOOPBACK, "v4l2loopback"),
        # A module that was changed to call itself as the real camera's does.
        (LOOPBACK | {"driver": "uvcvideo", "port": "usb-0000:00:14.0-2"}, "virtual"),
        ({"driver": "akvcam", "place": "virtual"}, "akvcam"),
        ({"driver": "vivid", "place": "platform/vivid.0"}, "vivid"),
        ({"driver": "test", "place": "platform/vimc.0"}, "vimc"),
        ({"place": "platform/vhci_hcd.0/usb5/5-1/5-1:1.0"}, "usbip"),
        ({"place": "platform/dummy_hcd.0/usb6/6-1/6-1:1.0"}, "gadget"),
    ],
)
def test_a_device_without_hardware_is_refused_unless_it_is_named(nodes, door, fields, allowed):
    node = nodes.plug("video0", **fields)
    answer = door.answer(f"opencv:{node}")
    assert (answer.verdict, answer.codes) == FOREIGN
    assert answer.reasons[0].endswith(f"write allow={allowed} where this is meant")
    assert door.opened == []
    other = door.answer(f"opencv:{node}?allow=network")
    assert (other.verdict, other.codes) == FOREIGN
    meant = door.answer(f"opencv:{node}?allow=network,{allowed}")
    assert meant.codes == TAKEN


def test_a_camera_of_this_machine_is_taken(nodes, door):
    for place in (f"{USB_HOST}/1-2/1-2:1.0", "platform/soc/fe801000.csi"):
        node = nodes.plug("video0", place=place)
        assert door.answer(f"opencv:{node}").codes == TAKEN


def test_a_pipeline_that_reads_it_is_refused_too(nodes):
    from fasdk.cameras.source import pipeline_nodes

    node = nodes.plug("video0", **LOOPBACK)
    pipelines = {
        f"v4l2src device={node} ! videoconvert ! appsink": (node,),
        f'v4l2src io-mode=2 device="{node}" ! appsink': (node,),
        f"videotestsrc ! mix. v4l2src device={node} ! compositor name=mix ! appsink": (node,),
        "videotestsrc ! appsink": (),
    }
    assert {text: pipeline_nodes(text) for text in pipelines} == pipelines

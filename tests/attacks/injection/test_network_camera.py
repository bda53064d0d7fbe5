"""An attacker on the network who answers in the place of a camera there, or changes its stream.

A stream of the network proves nothing about who sends it, so an address, a pipeline that reads one
and a RealSense camera at a network are refused: the specification at once, in one line, unless it
says `allow=network`. Passwords stay out of the line.
"""

from __future__ import annotations

import pytest

from fasdk.cameras import open_camera
from fasdk.cameras.identity import takes_network
from fasdk.errors import UsageError

ADDRESSES = [
    "opencv:rtsp://joe:hush@10.0.0.7/cam",
    "opencv:http://joe:hush@10.0.0.7/cam.mjpg",
    "pair:rgb='opencv:0';ir='opencv:rtsp://joe:hush@10.0.0.7/cam'",
    "gst:rtspsrc location=rtsp://joe:hush@10.0.0.7/cam ! decodebin ! appsink",
]


@pytest.mark.parametrize("spec", ADDRESSES)
def test_a_stream_of_the_network_is_refused(spec):
    with pytest.raises(UsageError, match="is a stream of the network") as refused:
        open_camera(spec)
    assert "write allow=network where this is meant" in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("spec", [f"{each}?allow=network" for each in ADDRESSES[:2]])
def test_one_that_is_meant_is_taken(spec):
    open_camera(spec).close()


@pytest.mark.parametrize(
    ("pipeline", "is_one"),
    [
        ("udpsrc port=5000 ! rtph264depay ! avdec_h264 ! appsink", True),
        ("srtsrc uri=srt://:7001 ! decodebin ! appsink", True),
        ("uridecodebin uri=https://h/x ! appsink", True),
        ("ndisrc ndi-name=door ! ndisrcdemux ! appsink", True),
        ("uridecodebin uri=file:///tmp/x.mp4 ! appsink", False),
        ("v4l2src device=/dev/video0 ! videoconvert ! appsink", False),
        ("nvarguscamerasrc sensor-id=0 ! nvvidconv ! appsink", False),
    ],
)
def test_a_pipeline_says_by_its_text_whether_it_reads_the_network(pipeline, is_one):
    assert takes_network(pipeline) is is_one

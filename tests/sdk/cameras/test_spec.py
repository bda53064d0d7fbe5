"""Camera specifications of the command line, and errors on wrong ones."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from fasdk.cameras import open_camera
from fasdk.cameras.opencv import OpenCvCamera
from fasdk.cameras.realsense import RealSenseCamera
from fasdk.cameras.replay import ReplayCamera
from fasdk.cameras.spec import KINDS
from fasdk.errors import UsageError

from support.requirements import Requirement


@pytest.fixture
def folder(tmp_path):
    cv2.imwrite(str(tmp_path / "0.rgb.png"), np.zeros((4, 4, 3), np.uint8))
    return tmp_path


def test_each_kind(folder):
    replay = open_camera(f"replay:{folder}?fps=12.5&loop=1")
    assert isinstance(replay, ReplayCamera)
    assert (replay._pacer.fps, replay._loop) == (12.5, True)
    assert isinstance(open_camera("opencv:3"), OpenCvCamera)


def test_every_form_of_every_kind_is_described():
    forms = [form for kind in KINDS for form in kind.forms]
    assert [form for form in forms if f"`{form}`" not in open_camera.__doc__] == []


def test_realsense_by_serial_and_sizes():
    Requirement.LIBUSB.module("pyrealsense2")
    camera = open_camera("realsense:0123?depth=640x480&color=1280x720&fps=30")
    assert isinstance(camera, RealSenseCamera)
    assert camera.name == "RealSense camera 0123"
    assert camera._request.depth_size == (640, 480)
    assert camera._request.color_size == (1280, 720)
    assert open_camera("realsense").name == "RealSense camera"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "is of no known kind: choose among replay:DIR"),
        ("webcam:0", "'webcam:0' is of no known kind: choose among replay:DIR"),
        ("replay", "names no source: expected replay:DIR or replay:LIST.jsonl"),
        ("opencv:", "names no source: expected opencv:NUMBER or opencv:/dev/NODE or"),
        ("opencv:-1", "video -1 does not exist"),
        ("opencv:0?modality=depth", "OpenCV gives no depth"),
        ("opencv:0?modality=x", "modality is 'x', expected rgb or ir"),
        (
            "opencv:0?size=5",
            "has no option 'size': choose among modality, emitter, ir_shift, backend, width, "
            "height, fps, fourcc",
        ),
        ("opencv:0?width=640", "width and height are set together: give both or neither"),
        ("opencv:0?width=640&height=tall", "height is 'tall', expected pixels"),
        ("opencv:0?width=640&width=320&height=480", "option 'width' twice"),
        ("opencv:0?fourcc=MJPEG", "fourcc 'MJPEG' is no pixel format: expected four characters"),
        ("opencv:0?fps=0", "fps is 0.0, expected 1 to 100000"),
        ("opencv:0?backend=winnt", "has no backend 'winnt': choose among"),
        ("opencv:0?backend", "'backend', expected ?OPTION=VALUE"),
        ("opencv:0?emitter=flashing", "a flashing emitter is for infrared: add modality=ir"),
        ("opencv:0?ir_shift=2", "a shift of levels is for infrared: add modality=ir"),
        ("opencv:0?modality=ir&ir_shift=9", "ir_shift is 9, expected the bits to leave out"),
        ("opencv:0?modality=ir&emitter=on", "emitter is 'on', expected auto, steady or flashing"),
        ("opencv:{folder}", "exists and is no file"),
        ("opencv:'/tmp/x.avi", "the quote ' opens and does not close"),
        ("opencv:ftp://host/x", "unknown scheme: choose among rtsp, rtsps, http, https"),
        ("opencv:rtsp:///x", "has no host"),
        ("opencv:rtsp://h:x/y", "or a port that is no number"),
        ("opencv:rtsp://h/x?transport=quic", "transport is 'quic', expected tcp or udp"),
        ("opencv:http://h/x?transport=tcp", "has no option 'transport': choose among modality"),
        ("opencv:http://h/x?channel=1", "needs the whole address in quotes"),
        ("pair:", "expected NAME=SPEC;NAME=SPEC"),
        ("pair:rgb=opencv:0", "has rgb: expected pair:rgb=SPEC;ir=SPEC"),
        ("pair:rgb=opencv:0;ir=opencv:1;depth=opencv:2", "has rgb, ir, depth: expected pair:"),
        ("pair:rgb=opencv:0;rgb=opencv:1", "each name once"),
        (
            "pair:rgb=opencv:0?width=640;ir=opencv:2",
            "has no option 'width': choose among skew_ms; put quotes around a member",
        ),
        ("pair:rgb=opencv:0;ir=opencv:1?skew_ms=0", "skew_ms 0 is no limit"),
        ("pair:rgb=opencv:0;ir=opencv:1?skew_ms=nan", "skew_ms nan is no limit"),
        ("pair:rgb=opencv:0;ir=opencv:1?lag=1", "has no option 'lag': choose among skew_ms"),
        ("pair:rgb=opencv:0;ir='opencv:1?modality=rgb'", "gives rgb and stands for ir"),
        ("pair:rgb=opencv:0;ir=opencv:", "names no source: expected opencv:TARGET"),
        ("pair:rgb=opencv:0;ir=realsense", "cannot be one of a pair: expected opencv:"),
        ("pair:rgb=opencv:0;ir=opencv:{folder}/0.rgb.png", "have no common clock"),
        (
            "pair:rgb=opencv:0;ir='opencv:rtsp://h/x?allow=network'",
            "have no common clock: pair a camera with",
        ),
        ("opencv:" + "9" * 5000, "cannot be reached: File name too long"),
        ("opencv:a\0b", "does not exist"),
        ("opencv:{folder}/0.rgb.png/x", "does not exist"),
        ("opencv:" + "x" * 300, "cannot be reached: File name too long"),
        ("replay:{folder}?fps=quick", "fps is 'quick', expected frames a second"),
        ("replay:{folder}?fps=0", "fps 0 is no frame rate"),
        ("replay:{folder}?fps=nan", "fps nan is no frame rate"),
        ("replay:{folder}?loop=yes", "loop is 'yes', expected 1 or 0"),
        ("replay:{folder}?size=3", "has no option 'size': choose among fps, loop"),
        ("realsense:/nowhere.bag", "recording /nowhere.bag does not exist"),
        ("realsense:/nowhere", "neither a serial number nor a recording"),
        ("realsense?depth=wide", "depth is 'wide', expected WIDTHxHEIGHT"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(folder, spec, message):
    if spec.startswith("realsense"):
        Requirement.LIBUSB.module("pyrealsense2")
    with pytest.raises(UsageError) as raised:
        open_camera(spec.format(folder=folder))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_pyrealsense2_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[realsense\]'"):
        open_camera("realsense")


def test_a_camera_loads_no_other_kinds_library():
    program = (
        "import sys; from fasdk.cameras import open_camera; open_camera('opencv:0'); "
        "print([m for m in ('pyrealsense2', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"

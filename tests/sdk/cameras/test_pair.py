"""Pairs of cameras: frames of one moment, never an old one with a new one, lit ones alone."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

import fasdk
from fasdk.cameras import open_camera
from fasdk.cameras.opencv import OpenCvCamera, OpenCvFile
from fasdk.cameras.pair import PairCamera
from fasdk.capture import Capture, Modality
from fasdk.capture_loop import run_captures
from fasdk.decision import Verdict
from fasdk.errors import CameraError, EndOfStreamError, UsageError
from fasdk.quality import QualityLimits
from fasdk.reasons import Reason

from support import tiny_bundle
from support.fake_video_device import FakeVideoDevice, color_frame
from support.scripted_camera import ScriptedCamera
from support.video_servers import Picture, serving

RGB, IR = Modality.RGB, Modality.IR


def video(path, levels, fps=30):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for level in levels:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def gray_frame(level):
    return np.full((48, 64), level, np.uint8)


@pytest.fixture
def devices(monkeypatch):
    """A color camera 0 and an infrared camera 2."""
    rgb, ir = FakeVideoDevice(), FakeVideoDevice()
    ir.formats = ["GREY"]
    by_number = {0: rgb, 2: ir}
    monkeypatch.setattr(cv2, "VideoCapture", lambda number, *rest: by_number[number](number, *rest))
    yield rgb, ir
    rgb.give(None)
    ir.give(None)


def now_ms():
    return time.monotonic() * 1000.0


def test_a_pair_is_named_by_its_two_cameras(tmp_path):
    rgb, ir = (video(tmp_path / name, [9]) for name in ("rgb.avi", "ir.avi"))
    pair = open_camera(f"pair:ir=opencv:{ir};rgb=opencv:{rgb}?skew_ms=5")
    assert pair.identity() == f"pair:rgb={rgb};ir={ir}"


def test_two_frames_of_one_moment_make_a_capture(devices):
    rgb, ir = devices
    with open_camera("pair:rgb=opencv:0;ir=opencv:2?skew_ms=15") as camera:
        moment = now_ms()
        rgb.give((color_frame(9), moment - 10.0))
        ir.give((gray_frame(7), moment))
        capture = camera.read(2000)
        assert capture.present == (RGB, IR)
        assert (capture.rgb[0, 0, 0], capture.ir[0, 0]) == (9, 7)
        assert capture.taken_ms == {RGB: moment - 10.0, IR: moment}
        assert camera.name == "pair of OpenCV camera 0 and OpenCV camera 2"
        rgb.give(None)
        ir.give(None)


def test_an_old_frame_never_meets_a_new_one(devices):
    rgb, ir = devices
    with open_camera("pair:rgb=opencv:0;ir=opencv:2?skew_ms=15") as camera:
        moment = now_ms()
        rgb.give((color_frame(1), moment - 100.0))
        ir.give((gray_frame(2), moment - 40.0))
        with pytest.raises(CameraError):
            camera.read(60)
        ir.give((gray_frame(3), moment))
        with pytest.raises(CameraError):  # the color frame of before is gone
            camera.read(60)
        rgb.give((color_frame(4), moment + 30.0))
        ir.give((gray_frame(5), moment + 33.0))
        capture = camera.read(2000)
        assert (capture.rgb[0, 0, 0], capture.ir[0, 0]) == (4, 5)
        rgb.give(None)
        ir.give(None)


def test_frames_that_are_never_close_say_how_close_they_were(devices):
    rgb, ir = devices
    stop = threading.Event()

    def shoot():
        while not stop.wait(0.01):
            moment = now_ms()
            rgb.give((color_frame(1), moment - 400.0))
            ir.give((gray_frame(1), moment))

    thread = threading.Thread(target=shoot, daemon=True)
    thread.start()
    with (
        open_camera("pair:rgb=opencv:0;ir=opencv:2?skew_ms=1") as camera,
        pytest.raises(CameraError, match=r"less than 1 ms apart, the closest \d+ ms; set both"),
    ):
        camera.read(150)
    stop.set()
    thread.join()


def test_a_fault_of_either_camera_is_a_fault_of_the_pair(devices):
    rgb, ir = devices
    with open_camera("pair:rgb=opencv:0;ir=opencv:2") as camera:
        rgb.give((color_frame(1), now_ms()))
        ir.give(None)
        with pytest.raises(CameraError, match="camera 2 gave no frame: it was unplugged"):
            camera.read(2000)
        moment = now_ms()
        rgb.give((color_frame(2), moment))
        ir.give((gray_frame(3), moment))
        capture = camera.read(2000)
        assert (capture.rgb[0, 0, 0], capture.ir[0, 0]) == (2, 3)
        rgb.give(None)
        ir.give(None)
    assert (rgb.opened, ir.opened) == (1, 2)
    with pytest.raises(CameraError, match="is closed"):
        camera.read()


def test_lit_frames_of_a_flashing_emitter_are_paired_with_color_of_that_moment(devices):
    """Two free-running cameras at 30 frames a second, 10 ms apart, for one second."""
    rgb, ir = devices
    stop = threading.Event()

    def shoot(device, frame_of, late_s):
        for number in range(200):
            due = began + late_s + number / 30.0
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            device.give((frame_of(number), due * 1000.0))

    def infrared(number):
        return gray_frame(100 + number if number % 2 else 3)

    began = time.monotonic() + 0.05
    threads = [
        threading.Thread(target=shoot, args=(rgb, color_frame, 0.0), daemon=True),
        threading.Thread(target=shoot, args=(ir, infrared, 0.01), daemon=True),
    ]
    for thread in threads:
        thread.start()
    captures = []
    spec = "pair:rgb=opencv:0;ir='opencv:2?emitter=flashing'?skew_ms=20"
    with open_camera(spec) as camera:
        while time.monotonic() < began + 1.0:
            captures.append(camera.read(1000))
    stop.set()
    for thread in threads:
        thread.join()
    assert len(captures) >= 8
    for capture in captures:
        assert abs(capture.taken_ms[RGB] - capture.taken_ms[IR]) <= 20.0
        assert capture.ir[0, 0] >= 100
        # A color frame is of the same number, or of the one before or after it.
        assert abs(int(capture.rgb[0, 0, 0]) - (int(capture.ir[0, 0]) - 100)) <= 1


def test_two_videos_are_matched_by_their_own_times(tmp_path):
    numbers = range(0, 40, 2)
    color = video(tmp_path / "color.avi", [5 * n for n in numbers], fps=15)
    infrared = video(tmp_path / "ir.avi", [100 + 3 * n if n % 4 else 2 for n in range(40)])
    spec = f"pair:rgb=opencv:{color};ir='opencv:{infrared}?emitter=flashing'?skew_ms=5"
    camera = open_camera(spec)
    captures = list(camera)
    assert len(captures) >= 8
    for capture in captures:
        number = (float(capture.ir.mean()) - 100.0) / 3.0
        assert float(capture.rgb.mean()) / 5.0 == pytest.approx(number, abs=0.7)
        assert 0.0 <= now_ms() - max(capture.taken_ms.values()) < 60_000.0
    with pytest.raises(EndOfStreamError):
        camera.read()
    camera.close()


def test_videos_that_loop_and_cameras_of_two_clocks_are_no_pair(tmp_path, devices):
    path = video(tmp_path / "a.avi", [1, 2])
    ir = OpenCvFile(path, modality=IR)
    with pytest.raises(UsageError, match="a pair of videos cannot loop"):
        PairCamera(OpenCvFile(path, loop=True), ir)
    with pytest.raises(UsageError, match="no common clock: pair a camera with a camera"):
        PairCamera(OpenCvCamera(0), ir)
    with pytest.raises(UsageError, match="gives ir and stands for rgb"):
        PairCamera(ir, ir)


def test_two_network_streams_make_a_pair():
    color, infrared = Picture(), Picture()
    color.show(150)
    infrared.show(90)
    with serving("http", color) as one, serving("rtsp", infrared) as other:
        color_spec = f"'opencv:http://{one}/a?allow=network'"
        infrared_spec = f"'opencv:rtsp://{other}/b?allow=network'"
        spec = f"pair:rgb={color_spec};ir={infrared_spec}?skew_ms=50"
        with open_camera(spec) as camera:
            captures = []
            deadline = time.monotonic() + 15.0
            while len(captures) < 5:
                assert time.monotonic() < deadline
                try:
                    captures.append(camera.read(500))
                except CameraError:
                    continue
    assert {int(c.rgb[5, 5, 0]) for c in captures} == {150}
    assert {int(c.ir[5, 5]) for c in captures} == {90}


def person(number, *, lit, color=150):
    """A person at a door whose infrared emitter flashes; SPOOF where it is dark and judged."""
    rng = np.random.default_rng(number)
    level = 200 if lit else 2
    return Capture(
        rgb=rng.normal(color, 5, (24, 32, 3)).clip(0, 255).astype(np.uint8),
        ir=rng.normal(level, 2, (24, 32)).clip(0, 255).astype(np.uint8),
        face=(4, 3, 20, 15),
        taken_ms=dict.fromkeys((RGB, IR), now_ms()),
    )


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """A bundle that is tuned for color and infrared."""
    return tiny_bundle.write(
        tmp_path_factory.mktemp("door") / "door.fasb",
        operating_points=(tiny_bundle.point(), tiny_bundle.point(modalities=(RGB, IR))),
    )


@pytest.mark.parametrize("limits", [None, QualityLimits.faults()])
def test_a_dark_infrared_frame_is_a_retry_and_never_a_spoof(door, limits):
    with fasdk.open(door, backend="onnxruntime", missing="degrade", limits=limits) as session:
        found = [session.check(person(n, lit=bool(n % 2))) for n in range(8)]
    assert [decision.verdict for decision in found] == [Verdict.RETRY, Verdict.LIVE] * 4
    assert {decision.codes for decision in found[::2]} == {(Reason.IR_UNLIT,)}


def test_without_the_gate_it_would_be_a_spoof(door):
    with fasdk.open(
        door, backend="onnxruntime", missing="degrade", limits=QualityLimits.off()
    ) as session:
        assert session.check(person(0, lit=False)).verdict is Verdict.SPOOF


def test_a_person_before_a_flashing_emitter_passes_the_door(door):
    captures = [lambda n=n: person(n, lit=bool(n % 2)) for n in range(12)]
    with fasdk.open(door, backend="onnxruntime", missing="degrade") as session:
        track = session.track("door", fasdk.TrackPolicy(missing="degrade", attempts=None))
        results = list(run_captures(ScriptedCamera(*captures), track))
    verdicts = [result.decision.verdict for result in results]
    assert Verdict.LIVE in verdicts
    assert Verdict.SPOOF not in verdicts
    assert Verdict.ERROR not in verdicts


def test_an_attack_before_a_flashing_emitter_is_a_spoof_in_each_lit_frame(door):
    with fasdk.open(door, backend="onnxruntime", missing="degrade") as session:
        found = [session.check(person(n, lit=bool(n % 2), color=60)) for n in range(8)]
    assert [decision.verdict for decision in found] == [Verdict.RETRY, Verdict.SPOOF] * 4

"""GStreamer cameras on a real GStreamer: frames, times, the end, faults, restart, closing."""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import numpy as np
import pytest

from fasdk.cameras import open_camera, pumped
from fasdk.cameras.gstreamer import GStreamerCamera, csi_pipeline
from fasdk.cameras.mode import VideoMode
from fasdk.capture import Modality, monotonic_ms
from fasdk.errors import CameraError, EndOfStreamError

from support.gstreamer import gstreamer
from support.requirements import Requirement

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR
SMALL = "video/x-raw,format=RGB,width=16,height=12"
LIVE = f"videotestsrc is-live=true ! {SMALL},framerate=100/1"
PATIENT_MS = 20_000.0


@pytest.fixture(autouse=True)
def gst():
    return gstreamer()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_recording_gives_300_frames_once_and_plays_again():
    source = f"videotestsrc num-buffers=300 ! {SMALL}"
    with open_camera(f"gst:{source} ! appsink sync=false") as camera:
        captures = [*camera]
        stamps = [capture.taken_ms[RGB] for capture in captures]
        assert len(captures) == camera.counts.delivered == 300
        assert all(a < b for a, b in pairwise(stamps))
        assert camera.counts.dropped == 0
        assert sum(1 for _ in camera) == 300
    with pytest.raises(CameraError, match="is closed"):
        camera.read()


def test_a_reader_that_pauses_misses_no_frame_of_a_recording():
    source = f"videotestsrc num-buffers=3 pattern=blink ! {SMALL}"
    with open_camera(f"gst:{source} ! appsink sync=false") as camera:
        first = camera.read(PATIENT_MS).rgb.mean()
        wait_until(lambda: camera._pump._newest is not None)
        time.sleep(0.02)
        second, third = camera.read(1).rgb.mean(), camera.read(PATIENT_MS).rgb.mean()
        assert abs(first - second) > 200  # black and white take turns
        assert first == third
        with pytest.raises(EndOfStreamError, match="is over after 3 frames"):
            camera.read(PATIENT_MS)


def test_a_live_pipelines_stamps_are_its_buffers_times():
    with open_camera(f"gst:{LIVE} ! appsink") as camera:
        before_ms = monotonic_ms()
        captures = [camera.read(PATIENT_MS) for _ in range(8)]
        stamps = [capture.taken_ms[RGB] for capture in captures]
        assert before_ms <= stamps[0] <= stamps[-1] <= monotonic_ms()
        steps = np.diff(stamps) / 10.0  # periods of the source, however late the reader was
        assert (np.round(steps) >= 1).all()
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_a_live_pipeline_gives_the_newest_frame():
    with open_camera(f"gst:{LIVE} ! appsink") as camera:
        first_ms = camera.read(PATIENT_MS).taken_ms[RGB]
        wait_until(lambda: camera._pump.overwritten >= 3)
        assert camera.read(PATIENT_MS).taken_ms[RGB] >= first_ms + 30.0
        assert camera.counts.dropped >= 3


def fault_of_a_read(camera):
    """Return what a read ends in: None for a frame, else the fault."""
    try:
        camera.read(PATIENT_MS)
    except CameraError as error:
        return str(error)
    return None


def faults_and_frames(camera, reads):
    return [fault_of_a_read(camera) for _ in range(reads)]


@pytest.mark.parametrize(
    ("ending", "fault"),
    [
        (
            "videotestsrc is-live=true num-buffers=1 ! {} ! appsink",
            "ended: its source was unplugge",
        ),
        (
            "videotestsrc is-live=true ! {} ! identity error-after=2 ! appsink",
            "failed: Failed after iterations as requested (identity)",
        ),
    ],
)
def test_a_camera_that_goes_away_is_a_fault_and_comes_back(ending, fault):
    with open_camera(f"gst:{ending.format(SMALL)}") as camera:
        assert camera.read(PATIENT_MS).rgb.shape == (12, 16, 3)
        found = faults_and_frames(camera, 4)
    assert [each is None for each in found] == [False, True, False, True]
    assert all(fault in each for each in found if each is not None)


def test_below_errorignore_an_element_may_fail(caplog, gst):
    if gst.core.ElementFactory.find("errorignore") is None:
        Requirement.PYGOBJECT.skip("errorignore is not installed")
    recorder = "errorignore convert-to=ok ! identity error-after=3 ! fakesink async=false"
    with (
        caplog.at_level(logging.WARNING, "fasdk.cameras"),
        open_camera(f"gst:{LIVE} ! tee name=t ! queue ! appsink t. ! {recorder}") as camera,
    ):
        wait_until(lambda: fault_of_a_read(camera) is None and caplog.records)
        assert faults_and_frames(camera, 4) == [None] * 4
    assert [record.message.partition(" goes on ")[2] for record in caplog.records] == [
        "after a fault below errorignore: Failed after iterations as requested (identity)"
    ]


def test_a_source_before_errorignore_may_not_fail(gst):
    if gst.core.ElementFactory.find("errorignore") is None:
        Requirement.PYGOBJECT.skip("errorignore is not installed")
    source = f"videotestsrc is-live=true ! {SMALL} ! identity error-after=2"
    with open_camera(f"gst:{source} ! errorignore convert-to=ok ! appsink") as camera:
        found = faults_and_frames(camera, 2)
    assert found[0] is None
    assert "failed: Failed after iterations" in found[1]


@pytest.mark.parametrize(
    "pipeline",
    [
        "videotestsrc is-live=true ! valve drop=true ! appsink",  # starts, and gives nothing
        "appsrc ! appsink",  # waits for a first frame while it starts
    ],
)
def test_a_blocked_pipeline_is_closed_at_once(pipeline):
    camera = open_camera(f"gst:{pipeline}")
    with pytest.raises(CameraError, match=r"no frame from pipeline .* within 300 ms"):
        camera.read(300)
    pump = camera._pump
    camera.close()
    pump._thread.join(10)
    assert not pump.is_running


def test_an_element_that_hangs_never_holds_the_caller(monkeypatch):
    monkeypatch.setattr(pumped, "_REOPEN_AFTER_MS", 50.0)
    monkeypatch.setattr(pumped, "_RELEASE_WAIT_MS", 50.0)
    hang = "identity sleep-time=1500000"  # an element is stopped no sooner than it lets go
    camera = open_camera(f"gst:{LIVE} ! {hang} ! appsink")
    found = ""
    until = time.monotonic() + 20
    while "hangs in its driver" not in found:
        assert time.monotonic() < until
        with pytest.raises(CameraError) as raised:
            camera.read(60)
        found = str(raised.value)
    stuck = camera._stuck
    camera.close()
    stuck._thread.join(20)
    assert not stuck.is_running


@pytest.mark.parametrize("format_", ["RGB", "BGR", "RGBx", "BGRx", "RGBA", "BGRA"])
def test_color_is_red_first_whatever_the_format(format_):
    source = "videotestsrc pattern=solid-color foreground-color=0xffc86414 num-buffers=1"
    caps = f"video/x-raw,format={format_},width=5,height=3"  # rows of 15 bytes are padded to 16
    with open_camera(f"gst:{source} ! {caps} ! appsink") as camera:
        frame = camera.read(PATIENT_MS).rgb
    assert (frame.shape, frame.dtype, frame.flags.writeable) == ((3, 5, 3), np.uint8, True)
    assert (frame == (200, 100, 20)).all()


@pytest.mark.parametrize(
    ("format_", "options", "modality", "white"),
    [
        ("GRAY8", "modality=ir", IR, 235),
        ("GRAY16_LE", "modality=ir&ir_shift=8", IR, 235),
        ("GRAY16_LE", "modality=depth", DEPTH, 235 * 257),
    ],
)
def test_infrared_and_depth(format_, options, modality, white):
    caps = f"video/x-raw,format={format_},width=7,height=3"
    with open_camera(
        f"gst:videotestsrc pattern=white num-buffers=1 ! {caps} ! appsink?{options}"
    ) as camera:
        capture = camera.read(PATIENT_MS)
    assert capture.present == (modality,)
    frame = capture.frame(modality)
    assert frame.shape == (3, 7)
    assert frame.dtype == (np.uint16 if modality is DEPTH else np.uint8)
    assert (frame == white).all()


def test_an_appsink_without_caps_gets_those_of_its_modality():
    source = "videotestsrc ! video/x-raw,format=NV12,width=16,height=12 ! videoconvert"
    with open_camera(f"gst:{source} ! appsink") as camera:
        assert camera.read(PATIENT_MS).rgb.shape == (12, 16, 3)


def test_a_pair_of_pipelines_gives_captures_of_one_moment():
    infrared = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=16,height=12"
    spec = f"pair:rgb='gst:{LIVE} ! appsink';ir='gst:{infrared},framerate=100/1 ! appsink'"
    with open_camera(spec) as camera:
        capture = camera.read(PATIENT_MS)
    assert capture.present == (RGB, IR)
    assert abs(capture.taken_ms[RGB] - capture.taken_ms[IR]) <= 20.0


@pytest.mark.parametrize(("modality", "shape"), [(RGB, (48, 64, 3)), (IR, (48, 64))])
def test_a_csi_cameras_pipeline_runs_with_gstreamers_own_elements(modality, shape):
    text = csi_pipeline(3, modality, VideoMode(width_px=64, height_px=48, fps=29.97))
    for nvidias, own in {
        "nvarguscamerasrc sensor-id=3": "videotestsrc is-live=true",
        "(memory:NVMM)": "",
        "nvvidconv": "videoconvert",
    }.items():
        assert nvidias in text
        text = text.replace(nvidias, own)
    with GStreamerCamera(text, modality=modality) as camera:
        assert camera.read(PATIENT_MS).frame(modality).shape == shape


def test_the_emitter_is_found_to_flash():
    # Black and white take turns.
    source = "videotestsrc pattern=blink is-live=true ! video/x-raw,format=GRAY8,framerate=100/1"
    with open_camera(f"gst:{source} ! appsink?modality=ir&emitter=flashing") as camera:
        assert isinstance(camera, GStreamerCamera)
        assert all(camera.read(PATIENT_MS).ir.mean() > 200 for _ in range(3))

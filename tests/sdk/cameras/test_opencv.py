"""OpenCV cameras and video files: color order, fresh frames, bounded waits."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from fasdk.cameras import open_camera, pumped
from fasdk.cameras.opencv import OpenCvCamera, OpenCvFile
from fasdk.capture import Modality
from fasdk.errors import CameraError, EndOfStreamError, UnreadableRecordingError, UsageError

from support.fake_video_device import FakeVideoDevice, color_frame

RGB, IR = Modality.RGB, Modality.IR


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Eight frames of MJPEG: red 200, green 100, blue 20 times the frame's number."""
    path = tmp_path_factory.mktemp("video") / "face.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(8):
        writer.write(np.full((48, 64, 3), (20 * number, 100, 200), np.uint8))
    writer.release()
    return path


def test_a_video_gives_every_frame_once_red_first(video):
    with OpenCvFile(video) as camera:
        captures = list(camera)
    assert len(captures) == camera.counts.delivered == 8
    for number, capture in enumerate(captures):
        assert capture.present == (RGB,)
        assert capture.rgb.shape == (48, 64, 3)
        # JPEG rounds colors by a few levels.
        assert np.abs(capture.rgb[24, 32].astype(int) - [200, 100, 20 * number]).max() <= 6
    stamps = [capture.taken_ms[RGB] for capture in captures]
    assert stamps == sorted(stamps)


def test_infrared_is_the_luma_of_a_gray_video(tmp_path):
    path = tmp_path / "ir.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.full((48, 64, 3), 77, np.uint8))
    writer.release()
    capture = open_camera(f"opencv:{path}?modality=ir").read()
    assert capture.present == (IR,)
    assert np.abs(capture.ir.astype(int) - 77).max() <= 2


def test_the_end_of_a_video_and_a_loop(video):
    camera = OpenCvFile(video)
    list(camera)
    with pytest.raises(EndOfStreamError, match="over after 8 frames"):
        camera.read()
    looping = open_camera(f"opencv:{video}?loop=1&fps=500")
    assert sum(1 for _ in zip(range(20), looping, strict=False)) == 20
    looping.close()
    with pytest.raises(CameraError, match="is closed"):
        looping.read()


def test_opencv_refuses_a_file_that_is_not_a_video(tmp_path, video):
    with pytest.raises(UsageError, match="does not exist"):
        OpenCvFile(tmp_path / "x.avi")
    with pytest.raises(UsageError, match="OpenCV gives no depth"):
        OpenCvFile(video, modality=Modality.DEPTH)
    (tmp_path / "x.avi").write_bytes(b"no video" * 100)
    with pytest.raises(
        UnreadableRecordingError, match=r"x\.avi (cannot be decoded|holds no frame)"
    ):
        OpenCvFile(tmp_path / "x.avi").read()


def test_a_video_cut_short_ends_early(tmp_path, video):
    data = video.read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CameraError):
        camera = OpenCvFile(path)
        for _ in range(9):
            camera.read()


@pytest.fixture
def device(monkeypatch):
    fake = FakeVideoDevice()
    monkeypatch.setattr(cv2, "VideoCapture", fake)
    yield fake
    fake.hang.set()
    fake.give(None)


def _wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_camera_gives_the_newest_frame_once(device):
    with OpenCvCamera(0) as camera:
        device.give(color_frame(1))
        assert camera.read(2000).rgb[0, 0].tolist() == [1, 0, 0]
        device.give(color_frame(2), color_frame(3), color_frame(4))
        _wait_until(lambda: camera._pump.overwritten == 2)
        assert int(camera.read(2000).rgb[0, 0, 0]) == 4
        with pytest.raises(CameraError, match="no frame from OpenCV camera 0 within 30 ms"):
            camera.read(30)
        device.give(color_frame(5))
        assert int(camera.read(2000).rgb[0, 0, 0]) == 5
        assert (camera.counts.delivered, camera.counts.dropped) == (3, 2)
        device.give(None)
    assert device.opened == device.released == 1


def test_a_frame_that_waited_longer_than_the_timeout_is_old(device):
    with OpenCvCamera(0) as camera:
        device.give(color_frame(1))
        camera.read(2000)
        device.give(color_frame(2))
        _wait_until(lambda: camera._pump._newest is not None)
        time.sleep(0.06)
        with pytest.raises(CameraError, match="within 20 ms"):
            camera.read(20)
        assert camera.counts.dropped == 1
        device.give(None)


def test_the_kernels_time_is_taken_where_it_is_plausible(device):
    with OpenCvCamera(0) as camera:
        device.kernel_ms = time.monotonic() * 1000 - 8
        device.give(color_frame(1))
        capture = camera.read(2000)
        assert capture.taken_ms[RGB] == capture.stamps[RGB].clock_ms == device.kernel_ms
        for implausible in (0.0, time.monotonic() * 1000 + 1e6):
            device.kernel_ms = implausible
            device.give(color_frame(2))
            capture = camera.read(2000)
            assert capture.taken_ms[RGB] == pytest.approx(time.monotonic() * 1000, abs=500)
            assert capture.stamps[RGB].clock_ms == implausible  # for a track to find
        device.give(None)


def test_a_frame_that_lay_about_for_long_is_not_stamped_as_new(device):
    with OpenCvCamera(0) as camera:
        device.kernel_ms = time.monotonic() * 1000 - 8
        device.give(color_frame(1))
        camera.read(2000)
        # As after a stop: the driver's buffers still hold what was seen before it.
        device.kernel_ms -= 10_000.0
        device.give(color_frame(2))
        assert camera.read(2000).taken_ms[RGB] == device.kernel_ms
        device.give(None)


def test_a_kernel_of_another_clock_stamps_the_arrival(device):
    with OpenCvCamera(0) as camera:
        device.kernel_ms = time.monotonic() * 1000 - 10_000.0
        device.give(color_frame(1))
        capture = camera.read(2000)
        assert capture.taken_ms[RGB] > device.kernel_ms + 9000.0
        assert capture.stamps == {}
        device.give(None)


def test_other_backends_stamp_the_arrival(device):
    device.backend, device.kernel_ms = "FFMPEG", time.monotonic() * 1000 - 500
    with OpenCvCamera(0) as camera:
        device.give(color_frame(1))
        assert camera.read(2000).taken_ms[RGB] > device.kernel_ms + 400
        device.give(None)


def test_unplugged_and_plugged_in_again(device):
    with OpenCvCamera(0) as camera:
        device.give(color_frame(1))
        camera.read(2000)
        device.give(None)
        with pytest.raises(CameraError, match="gave no frame: it was unplugged"):
            camera.read(2000)
        device.is_there = False
        with pytest.raises(CameraError, match="camera 0 cannot be opened"):
            camera.read(2000)
        device.is_there = True
        device.give(color_frame(2))
        assert int(camera.read(2000).rgb[0, 0, 0]) == 2
        device.give(None)
    assert device.opened == 3


def test_a_driver_that_hangs_never_holds_the_caller(device, monkeypatch):
    monkeypatch.setattr(pumped, "_REOPEN_AFTER_MS", 50.0)
    monkeypatch.setattr(pumped, "_RELEASE_WAIT_MS", 50.0)
    device.hang.clear()
    started = time.monotonic()
    camera = OpenCvCamera(0)
    with pytest.raises(CameraError, match="within 60 ms"):
        camera.read(60)
    with pytest.raises(CameraError, match="hangs in its driver"):
        camera.read(60)
    stuck = camera._stuck
    device.hang.set()
    device.give(None)
    _wait_until(lambda: not stuck.is_running)
    device.give(color_frame(7))
    assert int(camera.read(2000).rgb[0, 0, 0]) == 7
    device.hang.clear()
    camera.close()
    assert time.monotonic() - started < 5
    with pytest.raises(CameraError, match="is closed"):
        camera.read()


def test_a_drivers_exception_is_a_camera_error(device, monkeypatch):
    monkeypatch.setattr(device, "read", lambda: 1 / 0)
    with OpenCvCamera(0) as camera, pytest.raises(CameraError, match="ZeroDivisionError"):
        camera.read(2000)


def test_frames_of_another_kind_are_refused(device):
    with OpenCvCamera(0, modality=IR) as camera:
        device.give(np.full((48, 64), 9, np.uint8))
        assert int(camera.read(2000).ir[0, 0]) == 9
        device.give(np.zeros((48, 64), np.uint16))
        with pytest.raises(CameraError, match="uint16"):
            camera.read(2000)
        device.give(None)
    with pytest.raises(UsageError, match="no depth"):
        OpenCvCamera(0, modality=Modality.DEPTH)

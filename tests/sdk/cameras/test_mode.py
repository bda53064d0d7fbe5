"""Video modes: what was asked of a device is what it gives, also after it was plugged in again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fasdk.cameras import open_camera
from fasdk.errors import CameraError, UsageError

from support.fake_video_device import FakeVideoDevice, color_frame
from support.requirements import Requirement

HD = (1280, 720)


@pytest.fixture
def device(monkeypatch):
    fake = FakeVideoDevice()
    fake.sizes, fake.rates, fake.formats = [(640, 480), HD], [30.0, 15.0], ["YUYV", "MJPG"]
    monkeypatch.setattr(cv2, "VideoCapture", fake)
    yield fake
    fake.give(None)


def test_the_mode_is_asked_for_in_the_order_drivers_need(device, caplog):
    caplog.set_level("INFO", logger="fasdk.cameras")
    with open_camera("opencv:0?fps=15&width=1280&height=720&fourcc=MJPG") as camera:
        device.give(color_frame(7, HD))
        assert camera.read(2000).rgb.shape == (720, 1280, 3)
        device.give(None)
    asked = [name for name, _ in device.set_properties]
    assert asked == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ]
    assert caplog.messages == ["OpenCV camera 0 gives 1280x720 at 15 fps as MJPG by V4L2"]


def test_the_mode_is_asked_for_again_after_the_camera_was_away(device):
    with open_camera("opencv:0?fps=15&width=1280&height=720&fourcc=MJPG") as camera:
        device.give(color_frame(1, HD))
        camera.read(2000)
        device.give(None)
        with pytest.raises(CameraError, match="gave no frame: it was unplugged"):
            camera.read(2000)
        device.give(color_frame(2, HD))
        assert int(camera.read(2000).rgb[0, 0, 0]) == 2
        assert (device._size, device._rate, device._format) == (HD, 15.0, "MJPG")
        device.sizes = [(640, 480)]  # plugged into a slower port
        device.give(None)
        with pytest.raises(CameraError):
            camera.read(2000)
        with pytest.raises(CameraError, match="1280x720 was asked for, it gives 640x480"):
            camera.read(2000)
    assert device.opened == device.released == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("width=1920&height=1080", r"1920x1080 was asked for, it gives 640x480; `v4l2-ctl -d"),
        ("fps=60", "60 fps was asked for, it gives 30"),
        ("fourcc=GREY", "fourcc GREY was asked for, it gives YUYV"),
        (
            "fourcc=H264&width=8&height=8&fps=5",
            "gives YUYV; 8x8 was asked for, it gives 640x480; 5 fps was asked for, it gives 30",
        ),
    ],
)
def test_another_mode_than_was_asked_for_is_said(device, options, words):
    with open_camera(f"opencv:0?{options}") as camera:
        for _ in range(2):
            with pytest.raises(CameraError, match=words):
                camera.read(2000)
    assert device.opened == device.released == 2


def test_a_rate_that_a_device_does_not_tell_is_no_answer(device):
    device.rates = []
    with (
        open_camera("opencv:0?fps=30") as camera,
        pytest.raises(CameraError, match="30 fps was asked for, it does not say what it gives"),
    ):
        camera.read(2000)


def test_a_rate_next_to_the_one_asked_for_is_it(device):
    device.rates = [30_000 / 1001]
    with open_camera("opencv:0?fps=30") as camera:
        device.give(color_frame(3))
        assert int(camera.read(2000).rgb[0, 0, 0]) == 3
        device.give(None)


def test_a_frame_of_another_size_than_the_device_tells_is_refused(device):
    with open_camera("opencv:0?width=1280&height=720") as camera:
        device.give(color_frame(1, (640, 480)))
        with pytest.raises(CameraError, match="says it gives 1280x720 and gave a frame of 640x480"):
            camera.read(2000)


@pytest.mark.parametrize(
    ("fourcc", "options", "array", "expected"),
    [
        ("GREY", "", np.full((480, 640), 77, np.uint8), 77),
        ("YUYV", "", np.full((480, 640, 2), (77, 128), np.uint8), 77),
        ("UYVY", "", np.full((480, 640, 2), (128, 77), np.uint8), 77),
        ("Y10 ", "", np.full((480, 640), 77 << 2, np.uint16), 77),
        ("Y12 ", "", np.full((1, 640 * 480 * 2), (208, 4) * (640 * 480), np.uint8), 77),
        ("Y16 ", "&ir_shift=8", np.full((480, 640), 77 << 8, np.uint16), 77),
        ("Y16 ", "&ir_shift=2", np.full((480, 640), 77 << 2, np.uint16), 77),
        ("MJPG", "", np.full((480, 640, 3), 77, np.uint8), 77),
    ],
)
def test_infrared_levels_come_as_the_sensor_gave_them(device, fourcc, options, array, expected):
    device.formats = [fourcc]
    spec = f"opencv:0?modality=ir&fourcc={fourcc.strip()}{options}"
    with open_camera(spec) as camera:
        device.give(array)
        ir = camera.read(2000).ir
        device.give(None)
    assert ir.shape == (480, 640)
    assert ir.dtype == np.uint8
    assert (ir == expected).all()
    assert ((cv2.CAP_PROP_CONVERT_RGB, 0) in device.set_properties) == (fourcc != "MJPG")


@pytest.mark.parametrize(
    ("options", "level", "words"),
    [
        ("", 900, r"uint16 frame up to level 900.*write ir_shift=2 for 10-bit"),
        (
            "&ir_shift=2",
            4095,
            r"up to level 4095, more than ir_shift=2 leaves room for: write ir_shift=4",
        ),
    ],
)
def test_levels_of_unknown_width_are_not_guessed(device, options, level, words):
    device.formats = ["Y16 "]
    with open_camera(f"opencv:0?modality=ir{options}") as camera:
        device.give(np.full((480, 640), level, np.uint16))
        with pytest.raises(CameraError, match=words):
            camera.read(2000)


@pytest.mark.parametrize("fourcc", ["GREY", "Y10 ", "Y16 "])
def test_an_infrared_camera_is_not_taken_for_a_color_camera(device, fourcc):
    device.formats = [fourcc]
    with (
        open_camera("opencv:0") as camera,
        pytest.raises(CameraError, match=r"gives gray frames.*write modality=ir"),
    ):
        camera.read(2000)


@pytest.mark.parametrize("spec", ["opencv:/dev/v4l/by-id/usb-x-index0", "opencv:/dev/video7"])
def test_a_camera_is_opened_by_its_device_node(device, spec):
    with open_camera(f"{spec}?backend=v4l2") as camera:
        device.give(color_frame(4))
        assert int(camera.read(2000).rgb[0, 0, 0]) == 4
        device.give(None)
    assert device.asked[0][:2] == (spec.partition(":")[2], cv2.CAP_V4L2)


PIPELINE = "nvarguscamerasrc ! video/x-raw(memory:NVMM),width=1280 ! nvvidconv ! appsink drop=true"


def test_a_pipeline_is_refused_where_opencv_lacks_gstreamer(monkeypatch):
    has = cv2.videoio_registry.hasBackend
    monkeypatch.setattr(
        cv2.videoio_registry, "hasBackend", lambda n: n != cv2.CAP_GSTREAMER and has(n)
    )
    for spec in (f"opencv:{PIPELINE}", f"opencv:'{PIPELINE}'?backend=gstreamer"):
        with pytest.raises(UsageError, match=r"built without GStreamer.*into a named pipe"):
            open_camera(spec)
    with pytest.raises(UsageError, match="built without GStreamer"):
        open_camera("opencv:0?backend=gstreamer")


def test_a_pipeline_is_started_where_opencv_has_gstreamer(device, monkeypatch):
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    device.backend = "GSTREAMER"
    with open_camera(f"opencv:{PIPELINE}") as camera:
        device.give(color_frame(9))
        assert int(camera.read(2000).rgb[0, 0, 0]) == 9
        device.give(None)
        assert (
            camera.name
            == "pipeline nvarguscamerasrc ! video/x-raw(memory:NVMM) ! nvvidconv ! appsink"
        )
    assert device.asked[0][:2] == (PIPELINE, cv2.CAP_GSTREAMER)
    with pytest.raises(UsageError, match="ends nowhere: append ! appsink"):
        open_camera("opencv:videotestsrc ! autovideosink")
    device.is_there = False
    with (
        open_camera(f"opencv:{PIPELINE}") as camera,
        pytest.raises(CameraError, match="cannot be started: try it with gst-launch"),
    ):
        camera.read(2000)


@Requirement.GSTREAMER.mark(
    "not in this OpenCV", lacking=not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)
)
@pytest.mark.parametrize(
    ("caps", "options", "shape"),
    [
        ("BGR", "", (48, 64, 3)),
        ("GRAY8", "?modality=ir", (48, 64)),
        ("GRAY16_LE", "?modality=ir&ir_shift=8", (48, 64)),
    ],
)
def test_a_pipeline_that_runs_gives_frames(caps, options, shape):
    source = f"videotestsrc is-live=true ! video/x-raw,format={caps},width=64,height=48"
    with open_camera(f"opencv:{source} ! appsink drop=true max-buffers=1{options}") as camera:
        capture = camera.read(10_000)
    assert capture.frame(capture.present[0]).shape == shape

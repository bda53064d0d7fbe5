"""Network streams and pipes: real servers in this process, loss, and no password in any message."""

from __future__ import annotations

import os
import threading
import time

import cv2
import numpy as np
import pytest

from fasdk.cameras import open_camera, pumped
from fasdk.cameras.address import without_credentials
from fasdk.cameras.opencv import OpenCvCamera
from fasdk.capture import Modality
from fasdk.errors import CameraError, UsageError

from support.video_servers import SIZE, Picture, serving

LOGIN, WRITTEN = "joe:pa?s@s/#", "joe:pa%3Fs%40s%2F%23"


def read_until(camera, accepted, seconds=15.0):
    """Return the first capture that is accepted; a fault is read over, as the capture loop does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            capture = camera.read(500)
        except CameraError:
            capture = None
        if capture is not None and accepted(capture):
            return capture
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("http", ""), ("rtsp", ""), ("rtsp", "&transport=tcp"), ("rtsp", "&transport=udp")],
)
def test_a_stream_gives_fresh_frames_and_keeps_its_password(kind, options, capfd):
    picture = Picture(LOGIN)
    picture.show(60)
    with serving(kind, picture) as where:
        spec = f"opencv:{kind}://{WRITTEN}@{where}/cam?allow=network{options}"
        with open_camera(spec) as camera:
            first = read_until(camera, lambda _: True)
            assert first.present == (Modality.RGB,)
            assert first.rgb.shape == (SIZE[1], SIZE[0], 3)
            changed_ms = time.monotonic() * 1000.0
            picture.show(200)
            later = read_until(camera, lambda capture: capture.rgb[5, 5, 0] > 190)
            assert later.taken_ms[Modality.RGB] >= changed_ms
            assert camera.name == f"stream {kind}://***@{where}/cam"
    said = "".join(capfd.readouterr())
    assert "pa?s" not in said
    assert WRITTEN not in said
    asked = next((each for each in picture.requests if each.startswith("RTP")), None)
    expected = {"http": None, "rtsp": "UDP" if "udp" in options else "TCP"}[kind]
    assert asked is expected or f"RTP/AVP/{expected}" in asked
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_a_lost_stream_is_a_fault_and_comes_back(kind):
    picture = Picture()
    picture.show(60)
    with serving(kind, picture) as where:
        camera = open_camera(f"opencv:{kind}://{where}/cam?modality=ir&allow=network")
        assert read_until(camera, lambda _: True).ir.shape == SIZE[::-1]
    with pytest.raises(CameraError, match="gave no frame: it ended, or nothing came for four"):
        for _ in range(200):
            camera.read(500)
    with pytest.raises(CameraError, match=r"127\.0\.0\.1 does not answer at port \d+ \(Connection"):
        camera.read(5000)
    picture.show(180)
    with serving(kind, picture, port=int(where.split(":")[1])), camera:
        assert read_until(camera, lambda _: True).ir[5, 5] > 170


def test_a_wrong_password_is_told_from_a_server_that_is_away(capfd):
    with (
        serving("rtsp", Picture(LOGIN)) as where,
        open_camera(f"opencv:rtsp://joe:nonsense@{where}/cam?allow=network") as camera,
        pytest.raises(CameraError, match=r"answers at port \d+ and gives no video; check the path"),
    ):
        camera.read(10_000)
    assert "nonsense" not in "".join(capfd.readouterr())


def test_options_for_ffmpeg_that_were_there_stay(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")
    seen = []

    def looks(*_):
        seen.append(os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"])
        raise CameraError("enough")

    monkeypatch.setattr(cv2, "VideoCapture", looks)
    with (
        open_camera("opencv:rtsp://h/x?transport=udp&allow=network") as camera,
        pytest.raises(CameraError),
    ):
        camera.read(2000)
    assert seen == ["threads;1|rtsp_transport;udp"]
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "threads;1"


def test_an_address_with_a_query_of_its_own_is_quoted():
    camera = open_camera(
        'opencv:"rtsp://h/cam?channel=1&subtype=0"?transport=udp&modality=ir&allow=network'
    )
    assert isinstance(camera, OpenCvCamera)
    assert camera._source.target == "rtsp://h/cam?channel=1&subtype=0"
    assert camera._source.ffmpeg_options == ("rtsp_transport;udp",)
    assert camera.name == "stream rtsp://h/cam?***"


def test_a_password_may_hold_an_exclamation_mark():
    camera = open_camera("opencv:rtsp://joe:pa!ss@h/x?allow=network")
    assert (camera.name, camera._source.target) == (
        "stream rtsp://***@h/x",
        "rtsp://joe:pa!ss@h/x",
    )


SECRETS = [
    "opencv:rtsp://joe:hush@h/x?transport=quic",
    "opencv:rtsp://joe:hush@h/x?channel=1",
    "opencv:rtsp://joe:hu?hush@h/x",
    "opencv:rtsp://joe:hu/hush@h:x/x",
    "opencv:rtsp://joe:hush@:554/x",
    "opencv:ftp://joe:hush@h/x",
    "opencv:'http://h/x?token=hush'?size=1",
    "opencv:'http://h/x?token=hush",
    "webcam:rtsp://joe:hush@h/x",
    "pair:rgb=opencv:rtsp://joe:hush@h/x;ir=opencv:2;ir=opencv:3",
    "pair:rgb=opencv:rtsp://joe:hush@h/x;ir=opencv:2?lag=1",
    "pair:rgb=rtsp://joe:hush@h/x;ir=opencv:2",
    "pair:rgb='opencv:rtsp://joe:hush@h/x?channel=1';ir=opencv:2",
    "opencv:rtspsrc location=rtsp://h user-id=hush user-pw='hush hush' ! fakesink",
    "opencv:rtspsrc location=rtsp://h user-pw=hush ! appsink?size=1",
    'opencv:rtspsrc user-pw="hush x" ! appsink?size=1',
]


@pytest.mark.parametrize("spec", SECRETS)
@pytest.mark.parametrize("has_gstreamer", [False, True])
def test_no_error_on_a_specification_holds_its_password(spec, has_gstreamer, monkeypatch):
    has = cv2.videoio_registry.hasBackend
    monkeypatch.setattr(
        cv2.videoio_registry,
        "hasBackend",
        lambda n: has_gstreamer if n == cv2.CAP_GSTREAMER else has(n),
    )
    with pytest.raises(UsageError) as raised:
        open_camera(spec)
    assert "hush" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://h/x", "rtsp://h/x"),
        ("rtsp://joe@h/x", "rtsp://***@h/x"),
        ("rtsp://a:b@c@h/x", "rtsp://***@h/x"),
        ("rtsp://a:b/c?d@h/x", "rtsp://***@h/x"),
        ("http://h/x?user=a&pwd=b", "http://h/x?***"),
        ("opencv:0?fps=30", "opencv:0?fps=30"),
        ("a user-id=joe user-pw=x!y", "a user-id=*** user-pw=***"),
        ("options=a,password=x b", "options=a,password=*** b"),
        ('pipe="a user-pw=x"', 'pipe="a user-pw=***'),
    ],
)
def test_a_text_without_credentials(text, shown):
    assert without_credentials(text) == shown


class Writer:
    """A program that writes Motion JPEG into a named pipe until it is told to stop."""

    def __init__(self, path):
        # Some hundred kilobytes before FFmpeg is sure what it reads.
        noise = np.random.default_rng(2).integers(60, 121, (240, 320, 3), np.uint8)
        self._data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
        self._path, self._done = path, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._done.set()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _write(self):
        try:
            with self._path.open("wb", buffering=0) as pipe:
                while not self._done.wait(0.01):
                    pipe.write(self._data)
        except BrokenPipeError:
            pass


def test_a_pipe_gives_what_another_program_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(pumped, "_REOPEN_AFTER_MS", 50.0)
    path = tmp_path / "csi.mjpg"
    os.mkfifo(path)
    with open_camera(f"opencv:{path}?modality=ir") as camera:
        for _ in range(3):  # nobody writes yet
            with pytest.raises(CameraError, match="no frame from pipe"):
                camera.read(60)
        with Writer(path):
            capture = read_until(camera, lambda _: True)
        assert abs(capture.ir.mean() - 90) <= 2
        assert camera.name == f"pipe {path}"
        with pytest.raises(CameraError, match="gave no frame: its writer closed it"):
            while True:
                camera.read(2000)
        with Writer(path):
            assert read_until(camera, lambda _: True).ir.shape == (240, 320)


def test_a_pipe_without_a_writer_holds_no_other_stream_up(tmp_path):
    picture = Picture()
    picture.show(60)
    path = tmp_path / "nobody.mjpg"
    os.mkfifo(path)
    with serving("rtsp", picture) as where:
        waiting = open_camera(f"opencv:{path}")
        with pytest.raises(CameraError):
            waiting.read(50)
        with open_camera(f"opencv:rtsp://{where}/x?transport=tcp&allow=network") as camera:
            assert read_until(camera, lambda _: True).rgb.shape == (*SIZE[::-1], 3)
    with Writer(path):
        waiting.close()

"""GStreamer cameras that cannot work: one true line each, which holds no password."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fasdk.cameras import open_camera, pin
from fasdk.cameras.gst_frames import SampleReader
from fasdk.cameras.gst_library import package_of, require_gstreamer
from fasdk.cameras.gstreamer import csi_pipeline
from fasdk.cameras.mode import VideoMode
from fasdk.capture import Modality
from fasdk.errors import CameraError, UsageError

from support.gstreamer import gstreamer

CAPS = "video/x-raw,width=7,height=3"


@pytest.fixture
def gst():
    return gstreamer()


def first_fault(spec):
    """Return the one line that opening or the first read of a camera ends in."""
    with pytest.raises((UsageError, CameraError)) as raised, open_camera(spec) as camera:
        camera.read(20_000)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("pipeline", "fault"),
    [
        ("", "names no source: expected gst:PIPELINE"),
        ("videotestsrc ! appsink !", "syntax error; expected what gst-launch-1.0 takes"),
        ("vidotestsrc ! appsink", "no element vidotestsrc; is it spelled right?"),
        ("nvarguscamerasrc ! appsink", "nvarguscamerasrc; it comes with JetPack's nvidia-l4t-gst"),
        ("videotestsrc pattern=no ! appsink", 'not set property "pattern" in element "videotests'),
        ("videotestsrc nope=2 ! appsink", 'no property "nope" in element "videotestsrc"'),
        ("videotestsrc ! fakesink", "needs one appsink, with a source before it, 0 found"),
        ("appsink", "needs one appsink, with a source before it, it is all there is"),
        ("videotestsrc ! tee name=t ! appsink t. ! appsink", "needs one appsink, with a source"),
        ("videotestsrc ! appsink?size=3", "has no option 'size': choose among modality, emitter"),
        ("videotestsrc ! appsink?ir_shift=2", "a shift of levels is for infrared: add modality=ir"),
        ("videotestsrc ! appsink?modality=ir&ir_shift=9", "ir_shift is 9, expected the bits"),
        (f"videotestsrc ! {CAPS},format=NV12 ! appsink", "agree on no format; put videoconvert"),
        (
            f"videotestsrc ! {CAPS} ! appsink caps=video/x-raw,format=GRAY8",
            "gives GRAY8 where rgb was expected, which is read from RGB, BGR, RGBx, BGRx, RGBA, "
            "BGRA: put videoconvert and video/x-raw,format=RGB before appsink, or write "
            "modality=ir",
        ),
        (
            f"videotestsrc ! {CAPS} ! jpegenc ! appsink caps=image/jpeg",
            "gives image/jpeg, expected video/x-raw: put what decodes it before appsink",
        ),
        (
            f"videotestsrc ! {CAPS},format=GRAY16_LE ! appsink?modality=ir",
            "does not say how many bits it fills: write ir_shift=2",
        ),
        ("v4l2src device=/dev/video99 ! videoconvert ! appsink", "Cannot identify device '/dev/"),
        ("filesrc location=/nowhere ! decodebin ! appsink", "failed: Resource not found (filesrc)"),
    ],
)
@pytest.mark.usefixtures("gst")
def test_what_is_wrong_with_a_pipeline_is_one_line(pipeline, fault):
    assert fault in first_fault(f"gst:{pipeline}")


@pytest.mark.parametrize(
    "pipeline",
    [
        "rtspsrc user-id=hush user-pw=hush location=rtsp://joe:hush@127.0.0.1:1/x ! appsink",
        "rtspsrc user-pw=a hush location=rtsp://127.0.0.1:1/x ! appsink",
        "rtspsrc user-pw='a hush location=rtsp://127.0.0.1:1/x ! appsink",
        'rtspsrc user-pw="a\\"hush" nope=1 ! appsink',
        'rtspsrc user-pw="a\\" ! hush x" ! fakesink',
        "rtspsrc user-pw='a\\' hush' ! appsink ! appsink?size=3",
        "rtspsrc user-pw=a\\ hush ! appsink?size=3",
        "rtspsrc location=rtsp://joe:pa!hush@127.0.0.1:1/x ! decodebin ! appsink",
        "rtspsrc location=rtsp://joe:hush@127.0.0.1:1/x latency=x ! decodebin ! appsink",
        "souphttpsrc location=http://127.0.0.1:1/x?token=hush ! jpegdec ! appsink",
        "'souphttpsrc location=http://127.0.0.1:1/x?token=hush ! jpegdec ! appsink'",
        "souphttpsrc location=http://joe:hush@127.0.0.1:1/x ! jpegdec ! videoconvert ! appsink",
        "souphttpsrc secret-key=hush ! jpegdec ! videoconvert ! appsink",
        "filesrc location=x://hush@x ! appsink caps='image/hush ! ! ",
    ],
)
@pytest.mark.usefixtures("gst")
def test_no_fault_of_a_pipeline_holds_its_password(pipeline, capfd, monkeypatch):
    assert "hush" not in first_fault(f"gst:{pipeline}")
    monkeypatch.setattr(pin, "require_network_allowed", lambda *_: None)
    assert "hush" not in first_fault(f"gst:{pipeline}")
    assert "hush" not in "".join(capfd.readouterr())


def test_rows_of_any_distance_are_read(gst):
    """As NVIDIA's and Video4Linux's elements give them: the buffer says more than the caps."""
    buffer = gst.core.Buffer.new_wrapped(bytes(range(68)))
    gst.video.buffer_add_video_meta_full(
        buffer,
        gst.video.VideoFrameFlags.NONE,
        gst.video.VideoFormat.RGB,
        4,
        3,
        1,
        [8, 0, 0, 0],
        [20, 0, 0, 0],
    )
    frame = SampleReader(gst, Modality.RGB, "x").frame(sample_of(gst, buffer))
    rows = 8 + 20 * np.arange(3)[:, np.newaxis] + np.arange(12)
    assert np.array_equal(frame.reshape(3, 12), rows)


@pytest.mark.parametrize(
    ("size", "caps", "fault"),
    [
        (35, "video/x-raw", "gave a buffer of 35 bytes for 4x3 pixels in rows of 12 bytes"),
        (36, "video/x-raw(memory:NVMM)", "gives frames in memory:NVMM, expected system memory"),
    ],
)
def test_a_buffer_that_cannot_be_read_is_refused(gst, size, caps, fault):
    reader = SampleReader(gst, Modality.RGB, "x")
    with pytest.raises(CameraError, match=fault.replace("(", r"\(")):
        reader.frame(sample_of(gst, gst.core.Buffer.new_wrapped(bytes(size)), caps))


def sample_of(gst, buffer, caps="video/x-raw"):
    text = f"{caps},format=RGB,width=4,height=3,framerate=30/1"
    return gst.core.Sample.new(buffer, gst.core.Caps.from_string(text), None, None)


@pytest.fixture
def _no_library_yet():
    require_gstreamer.cache_clear()
    yield
    require_gstreamer.cache_clear()


@pytest.mark.usefixtures("_no_library_yet")
def test_without_pygobject_the_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gi", None)
    for spec in ("gst:videotestsrc ! appsink", "csi:0"):
        assert (
            "`sudo apt-get install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 "
            "gstreamer1.0-plugins-base`, and run fasdk in a virtual environment of the system's "
            "Python made with --system-site-packages"
        ) in first_fault(spec)


@pytest.mark.parametrize(
    ("absent", "package"),
    [("Gst", "gir1.2-gstreamer-1.0"), ("GstApp", "gir1.2-gst-plugins-base-1.0")],
)
def test_without_an_interface_its_package_is_named(gst, monkeypatch, absent, package):
    require_gstreamer.cache_clear()
    import gi

    require = gi.require_version

    def refuses(namespace, version):
        if namespace == absent:
            raise ValueError(namespace)
        require(namespace, version)

    monkeypatch.setattr(gi, "require_version", refuses)
    try:
        fault = first_fault("gst:videotestsrc ! appsink")
    finally:
        require_gstreamer.cache_clear()
    assert f"interfaces {absent}, which" in fault
    assert f"`sudo apt-get install {package}`" in fault


@pytest.mark.parametrize(
    ("element", "kind"),
    [("videotestsrc", "base"), ("v4l2src", "good"), ("rtspsrc", "good"), ("errorignore", "bad")],
)
def test_the_package_of_an_element_is_the_one_it_comes_with(gst, element, kind):
    assert package_of(element) == f"it comes with gstreamer1.0-plugins-{kind}"
    found = gst.core.ElementFactory.find(element)
    if found is not None:
        assert found.get_plugin().get_package().startswith(f"GStreamer {kind.capitalize()} Plug")


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("csi:", "names no source: expected csi:NUMBER"),
        ("csi:front", "names no sensor: expected csi:NUMBER, such as csi:0"),
        ("csi:0?width=640", "width and height are set together"),
        ("csi:0?fourcc=MJPG", "has no option 'fourcc': choose among modality, width, height, fps"),
        ("csi:0?modality=depth", "a CSI camera gives no depth: choose modality rgb or ir"),
    ],
)
def test_a_wrong_csi_specification_is_answered_in_one_line(spec, fault):
    assert fault in first_fault(spec)


def test_where_nvidias_elements_are_absent_jetpack_is_named(gst):
    if gst.core.ElementFactory.find("nvarguscamerasrc") is not None:
        pytest.skip("this is a Jetson")
    assert first_fault("csi:1") == (
        "CSI camera 1: GStreamer here has no element nvarguscamerasrc and no nvvidconv; it comes "
        "with JetPack's nvidia-l4t-gstreamer, on a Jetson alone"
    )


def test_the_pipeline_of_a_csi_camera():
    mode = VideoMode(width_px=1280, height_px=720, fps=29.97)
    assert csi_pipeline(1, Modality.RGB, mode) == (
        "nvarguscamerasrc sensor-id=1 ! "
        "video/x-raw(memory:NVMM),width=1280,height=720,framerate=2997/100 ! nvvidconv ! "
        "video/x-raw,format=RGBA ! appsink"
    )
    assert csi_pipeline(0, Modality.IR, VideoMode()) == (
        "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM) ! nvvidconv ! "
        "video/x-raw,format=GRAY8 ! appsink"
    )

"""GStreamer by PyGObject, and what to install where a part of it is absent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fasdk.errors import UsageError

_PYTHON_PACKAGE = "python3-gi"
_INTERFACES = {
    "Gst": "gir1.2-gstreamer-1.0",
    "GstApp": "gir1.2-gst-plugins-base-1.0",
    "GstVideo": "gir1.2-gst-plugins-base-1.0",
}
# Elements by their beginnings, the first that fits.
_PACKAGES = (
    (("nv",), "JetPack's nvidia-l4t-gstreamer, on a Jetson alone"),
    (("libcamera",), "gstreamer1.0-libcamera"),
    (("avdec_", "avenc_"), "gstreamer1.0-libav"),
    (("h264parse", "h265parse", "errorignore", "srt", "bayer2rgb"), "gstreamer1.0-plugins-bad"),
    (("v4l2", "rtsp", "rtp", "udp", "jpegdec", "souphttpsrc"), "gstreamer1.0-plugins-good"),
    (
        ("videotestsrc", "videoconvert", "videoscale", "videorate", "appsink", "decodebin"),
        "gstreamer1.0-plugins-base",
    ),
)


@dataclass(frozen=True)
class GStreamer:
    """GStreamer's modules as PyGObject gives them, ready for use.

    Attributes:
        core: `Gst`: pipelines, buses, clocks.
        app: `GstApp`, for its appsink.
        video: `GstVideo`, for the layout of frames.
        errors: `GLib`, whose `Error` a failing call raises.
    """

    core: Any
    app: Any
    video: Any
    errors: Any


@lru_cache(maxsize=1)
def require_gstreamer() -> GStreamer:
    """Return GStreamer, initialized.

    Raises:
        UsageError: PyGObject, an interface of GStreamer or GStreamer itself cannot be loaded.
    """
    try:
        import gi
        from gi.repository import GLib
    except ImportError as error:
        raise UsageError(
            f"a csi: or gst: camera needs PyGObject, which this Python cannot load ({error}): "
            f"{_install(_PYTHON_PACKAGE, *_INTERFACES.values(), 'gstreamer1.0-plugins-base')}, and "
            "run fasdk in a virtual environment of the system's Python made with "
            "--system-site-packages"
        ) from error
    absent = [namespace for namespace in _INTERFACES if not _has(gi, namespace)]
    if absent:
        raise UsageError(
            f"a csi: or gst: camera needs GStreamer's interfaces {', '.join(absent)}, which "
            f"PyGObject does not find: {_install(*(_INTERFACES[each] for each in absent))}"
        )
    try:
        from gi.repository import Gst, GstApp, GstVideo

        Gst.init_check(None)
    except (ImportError, GLib.Error) as error:
        raise UsageError(
            f"a csi: or gst: camera needs GStreamer, which cannot be loaded ({error}): "
            f"{_install(*_INTERFACES.values(), 'gstreamer1.0-plugins-base')}"
        ) from error
    return GStreamer(core=Gst, app=GstApp, video=GstVideo, errors=GLib)


def package_of(element: str) -> str:
    """Return where an element that is absent comes from, for messages."""
    for beginnings, package in _PACKAGES:
        if element.startswith(beginnings):
            return f"it comes with {package}"
    return (
        "is it spelled right? Debian's and Ubuntu's elements come with gstreamer1.0-plugins-base, "
        "-good, -bad and -ugly, and with gstreamer1.0-libav"
    )


def _has(gi: Any, namespace: str) -> bool:
    try:
        gi.require_version(namespace, "1.0")
    except ValueError:
        return False
    return True


def _install(*packages: str) -> str:
    return f"`sudo apt-get install {' '.join(dict.fromkeys(packages))}`"

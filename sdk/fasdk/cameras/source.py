"""Sources of video that OpenCV opens: devices, network streams, pipes, pipelines, files."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fasdk.cameras.address import (
    SCHEMES,
    USUAL_PORTS,
    pipeline_elements,
    scheme_of,
    without_credentials,
)
from fasdk.cameras.identity import (
    device_identity,
    file_identity,
    pipeline_identity,
    pipeline_nodes,
    stream_identity,
)
from fasdk.cameras.pin import CameraPin
from fasdk.errors import CameraError, UsageError
from fasdk.extras import require_package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# OpenCV takes FFmpeg's options from nowhere else, at the moment of opening.
_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_USER = "an opencv camera"
_environment = threading.Lock()
_STREAM_TIMEOUT_MS = 4000
_TURN_S = 10.0
# FFmpeg's five seconds would keep as many frames back.
_PIPE_ANALYSIS_US = 500_000


class Transport(str, Enum):
    """How an RTSP server sends its frames.

    - TCP: Through the connection itself; nothing is lost, and firewalls let it pass.
    - UDP: In datagrams; less delay, and damaged frames where one is lost.
    """

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True)
class VideoSource:
    """What OpenCV is asked to open, and why it may not be there.

    Attributes:
        target: Number of a camera, or a path, an address or a pipeline.
        name: Name in logs and errors; it holds no password.
        backend: OpenCV's number of the backend that opens it.
        parameters: OpenCV's pairs of property and value for the opening.
        is_buffered: Whether frames may pile up on the way: a network stream or a pipe.
        pipe: Path of a named pipe, which waits for its writer as long as that takes; None for all
            else.
        identify: Returns its one name, whichever of its names it was given by.
        explain: Returns why it could not be opened, as the rest of a sentence.
        modes_command: How to list its modes, for errors; empty where it has none to choose.
        ffmpeg_options: Options of FFmpeg to open it with, as `NAME;VALUE`.
        has_sent_times: Whether the stream's own times are the sender's, not made up from a rate.
        nodes: Device nodes of Video4Linux that its frames come from.
        pin: What the device behind them must be.
    """

    target: int | str
    name: str
    backend: int
    identify: Callable[[], str]
    explain: Callable[[], str]
    parameters: tuple[int, ...] = ()
    is_buffered: bool = False
    pipe: Path | None = None
    modes_command: str = ""
    ffmpeg_options: tuple[str, ...] = ()
    has_sent_times: bool = False
    nodes: tuple[Path, ...] = ()
    pin: CameraPin = field(default_factory=CameraPin)

    def open(self) -> Any:
        """Return the open cv2.VideoCapture.

        Raises:
            ForeignCameraError: It is not the camera that it must be.
            CameraError: It cannot be opened.
        """
        import cv2

        before = [self.pin.admit(node, self.name) for node in self.nodes]
        with _writer_of(self.pipe), _ffmpeg_options(self.ffmpeg_options, self.name):
            device = cv2.VideoCapture(self.target, self.backend, self.parameters)
        if not device.isOpened():
            device.release()
            raise CameraError(f"{self.name} {self.explain()}")
        try:
            for node, found in zip(self.nodes, before, strict=True):
                self.pin.require_same(found, node, self.name)
        except BaseException:
            device.release()
            raise
        return device


@contextmanager
def _writer_of(pipe: Path | None) -> Iterator[None]:
    """Wait until a program writes into a pipe, and keep it from losing its reader meanwhile."""
    if pipe is None:
        yield
        return
    reader = os.open(pipe, os.O_RDONLY)
    try:
        yield
    finally:
        os.close(reader)


@contextmanager
def _ffmpeg_options(options: tuple[str, ...], name: str) -> Iterator[None]:
    """Let FFmpeg use these options, besides the environment's, for what is opened meanwhile.

    Raises:
        CameraError: Another source with options takes too long to open.
    """
    if not options:
        yield
        return
    if not _environment.acquire(timeout=_TURN_S):
        raise CameraError(
            f"{name} cannot be opened yet: another stream or pipe is being opened, and only one "
            "at a time can have FFmpeg options of its own"
        )
    try:
        before = os.environ.get(_OPTIONS_VARIABLE)
        os.environ[_OPTIONS_VARIABLE] = "|".join([*([before] if before else []), *options])
        try:
            yield
        finally:
            if before is None:
                del os.environ[_OPTIONS_VARIABLE]
            else:
                os.environ[_OPTIONS_VARIABLE] = before
    finally:
        _environment.release()


def device_source(
    camera: int | Path, backend: str | None = None, pin: CameraPin | None = None
) -> VideoSource:
    """Return a local camera, by OpenCV's number or by its device node.

    Args:
        camera: Number or device node.
        backend: OpenCV's backend; None for Video4Linux where this OpenCV has it.
        pin: What the device must be; None for any hardware.

    Raises:
        UsageError: The backend is unknown or not in this OpenCV.
        PackageError: OpenCV is not installed.
    """
    require_package("cv2", _USER)
    import cv2

    on_linux = sys.platform.startswith("linux")
    if backend is None and on_linux and cv2.videoio_registry.hasBackend(cv2.CAP_V4L2):
        backend = "v4l2"  # whose frames carry the kernel's time
    number = backend_number(backend)
    name = f"OpenCV camera {camera}"
    node = Path(f"/dev/video{camera}") if isinstance(camera, int) else camera

    def explain() -> str:
        if on_linux and number in {cv2.CAP_ANY, cv2.CAP_V4L2}:
            from fasdk.cameras.device_node import why_not_opened

            return f"cannot be opened: {why_not_opened(node)}"
        return (
            "cannot be opened: is it connected, may this user read it, and does no other program "
            "use it?"
        )

    modes = (
        f"`v4l2-ctl -d {node} --list-formats-ext` lists its modes"
        if on_linux
        else "see its modes in the camera's manual"
    )
    target = camera if isinstance(camera, int) else str(camera)
    identify = partial(device_identity, node)
    return VideoSource(
        target,
        name,
        number,
        identify,
        explain,
        modes_command=modes,
        nodes=(node,) if on_linux else (),
        pin=pin or CameraPin(),
    )


def stream_source(address: str, transport: Transport | None = None) -> VideoSource:
    """Return a network stream, which FFmpeg reads.

    Args:
        address: RTSP or HTTP address; name and password in it are kept out of every message.
        transport: Transport of an RTSP stream; None for OpenCV's choice, TCP where that works.

    Raises:
        UsageError: The address has another scheme, or no host.
        PackageError: OpenCV is not installed.
    """
    require_package("cv2", _USER)
    import cv2

    shown = without_credentials(address)
    scheme = scheme_of(address)
    if scheme not in SCHEMES:
        raise UsageError(f"stream {shown} has an unknown scheme: choose among {', '.join(SCHEMES)}")
    host, port = _host_and_port(address, scheme, shown)
    timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    return VideoSource(
        address,
        f"stream {shown}",
        backend_number("ffmpeg"),
        partial(stream_identity, address),
        lambda: f"cannot be opened: {_why_no_stream(host, port)}",
        parameters=tuple(n for key in timeouts for n in (key, _STREAM_TIMEOUT_MS)),
        is_buffered=True,
        ffmpeg_options=() if transport is None else (f"rtsp_transport;{transport.value}",),
        has_sent_times=scheme in {"rtsp", "rtsps"},
    )


def pipe_source(path: Path) -> VideoSource:
    """Return a named pipe that another program writes video into."""
    return VideoSource(
        str(path),
        f"pipe {path}",
        backend_number("ffmpeg"),
        partial(file_identity, path),
        lambda: (
            "cannot be opened: what is written into it is no video that OpenCV's FFmpeg knows; "
            "write Motion JPEG or MPEG-TS"
        ),
        is_buffered=True,
        pipe=path,
        ffmpeg_options=(f"analyzeduration;{_PIPE_ANALYSIS_US}",),
    )


def pipeline_source(pipeline: str, pin: CameraPin | None = None) -> VideoSource:
    """Return a GStreamer pipeline that ends in an appsink, as for a CSI camera of a Jetson.

    Args:
        pipeline: The pipeline.
        pin: What the devices of its v4l2src elements must be; None for any hardware.

    Raises:
        UsageError: OpenCV was built without GStreamer, or the pipeline has no appsink.
    """
    number = backend_number("gstreamer")
    shown = " ! ".join(pipeline_elements(pipeline))
    if "appsink" not in pipeline:
        raise UsageError(f"pipeline {shown} ends nowhere: append ! appsink drop=true max-buffers=1")
    return VideoSource(
        pipeline,
        f"pipeline {shown}",
        number,
        partial(pipeline_identity, pipeline),
        lambda: (
            "cannot be started: try it with gst-launch-1.0 and fakesink in place of appsink, "
            "which says what is wrong"
        ),
        modes_command="its caps set the mode",
        nodes=pipeline_nodes(pipeline),
        pin=pin or CameraPin(),
    )


def backend_number(name: str | None) -> int:
    """Return OpenCV's number of a backend, which this OpenCV has; None is for any.

    Raises:
        UsageError: No such backend, or one that this OpenCV was built without.
        PackageError: OpenCV is not installed.
    """
    require_package("cv2", _USER)
    import cv2

    if name is None:
        return int(cv2.CAP_ANY)
    registry = cv2.videoio_registry
    numbers = {registry.getBackendName(n).lower(): int(n) for n in registry.getBackends()}
    numbers.setdefault("gstreamer", int(cv2.CAP_GSTREAMER))
    number = numbers.get(name.lower())
    if number is not None and registry.hasBackend(number):
        return number
    usable = ", ".join(sorted(each for each, n in numbers.items() if registry.hasBackend(n)))
    if name.lower() == "gstreamer":
        raise UsageError(
            f"OpenCV {cv2.__version__} here was built without GStreamer, as pip's opencv-python "
            "is: write gst:PIPELINE in place of opencv:PIPELINE, which needs no OpenCV with "
            "GStreamer, or let gst-launch-1.0 write Motion JPEG into a named pipe and give the "
            "pipe, as in opencv:/run/csi.mjpg (docs/guide/jetson.md has both)"
        )
    raise UsageError(
        f"OpenCV {cv2.__version__} here has no backend {name!r}: choose among {usable}"
    )


def _host_and_port(address: str, scheme: str, shown: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise UsageError(
            f"stream {shown} has no host, or a port that is no number: expected "
            f"{scheme}://HOST[:PORT]/PATH, with /, ?, #, @ and : of a password as %2F, %3F, %23, "
            "%40 and %3A"
        )
    return host, port or USUAL_PORTS[scheme]


def _why_no_stream(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=_STREAM_TIMEOUT_MS / 1000.0).close()
    except OSError as error:
        why = error.strerror or str(error)
        return f"{host} does not answer at port {port} ({why}); is it on, and reachable from here?"
    return (
        f"{host} answers at port {port} and gives no video; check the path, name and password, "
        "the transport of an RTSP stream, and whether the camera serves another viewer too"
    )

"""Checks of the cameras: those that the system shows, and those that are to be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.extras import how_to_install
from fasdk_tools.doctor.findings import Finding, Group, Level
from fasdk_tools.doctor.packages import is_present

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fasdk_tools.doctor.child import Answer
    from fasdk_tools.doctor.place import Place, Request

CAMERA_SECONDS = 12.0
_STALE_MS = 500.0  # the gates' own limits
_SKEW_MS = 50.0
_SLOW_FPS = 5.0
_VIDEO = "sys/class/video4linux"
_USB = "sys/bus/usb/devices"
_INTEL = "8086"
_GSTREAMER_CACHE = Path("gstreamer-1.0")


def device_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield the cameras that the kernel shows, and whether this account may open them."""
    del request
    files = place.files
    nodes = [f"dev/{path.rpartition('/')[2]}" for path in files.find(f"{_VIDEO}/video*")]
    names = {node: files.text(f"{_VIDEO}/{node[4:]}/name") or "unnamed" for node in nodes}
    root = place.root or Path("/")
    closed = [n for n in nodes if files.exists(n) and not os.access(root / n, os.R_OK | os.W_OK)]
    shown = ", ".join(f"/{node} {name}" for node, name in names.items())
    if closed:
        yield Finding(
            Group.CAMERAS,
            "video devices",
            Level.WARN,
            f"this account may not open {', '.join(f'/{node}' for node in closed)} ({shown})",
            f"`sudo usermod -aG video $USER`, then log in again (`ls -l /{closed[0]}` shows the "
            "group)",
        )
    elif nodes:
        yield Finding(Group.CAMERAS, "video devices", Level.OK, shown)
    else:
        yield Finding(Group.CAMERAS, "video devices", Level.UNKNOWN, "the kernel shows none")
    products = [
        files.text(f"{device}/product") or ""
        for device in files.find(f"{_USB}/*")
        if files.text(f"{device}/idVendor") == _INTEL
    ]
    depth = [name for name in products if "RealSense" in name]
    if depth and not is_present("pyrealsense2"):
        yield Finding(
            Group.CAMERAS,
            "RealSense",
            Level.WARN,
            f"{', '.join(depth)} is plugged in, and pyrealsense2 is not installed",
            f"{how_to_install('realsense')}, and the system package libusb-1.0-0",
        )
    elif depth:
        yield Finding(Group.CAMERAS, "RealSense", Level.OK, ", ".join(depth))
    else:
        yield Finding(Group.CAMERAS, "RealSense", Level.UNKNOWN, "none is plugged in")


def camera_answers(place: Place, specs: tuple[str, ...]) -> list[Answer]:
    """Read every camera for a moment, each in a process of its own."""
    with _own_registry(specs) as environment, ThreadPoolExecutor(max(1, len(specs))) as threads:
        return list(
            threads.map(
                lambda spec: place.ask("camera", {"spec": spec}, CAMERA_SECONDS, environment), specs
            )
        )


@contextmanager
def _own_registry(specs: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    """Yield variables by which GStreamer leaves the account's list of plug-ins as it is."""
    if not any("!" in spec or "csi:" in spec for spec in specs):
        yield {}
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "registry.bin"
        for known in sorted((cache / _GSTREAMER_CACHE).glob("registry.*.bin"))[:1]:
            shutil.copyfile(known, copy)
        yield {"GST_REGISTRY": str(copy)}


def camera_findings(specs: tuple[str, ...], answers: list[Answer]) -> Iterator[Finding]:
    """Yield what each camera gave that was read; no password of its specification is shown."""
    for number, (spec, answer) in enumerate(zip(specs, answers, strict=True), 1):
        kind = spec.partition(":")[0].partition("?")[0]
        yield _camera_finding(f"camera {number}, {kind}", answer)


def _camera_finding(name: str, answer: Answer) -> Finding:
    document = answer.document or {}
    error = str(document.get("error") or "")
    if answer.document is None:
        return Finding(
            Group.CAMERAS,
            name,
            Level.FAIL,
            f"reading it {answer.trouble}"
            if answer.hung
            else f"reading it failed: {answer.trouble}",
            "its driver hangs or crashes: plug it in again, or restart the machine; of a Jetson's "
            "CSI camera `sudo systemctl restart nvargus-daemon`",
        )
    if error:
        return Finding(Group.CAMERAS, name, Level.FAIL, error, _fix_of(error))
    return _judged(name, document)


def _fix_of(error: str) -> str:
    """Return what to do about a camera's error; the error itself says it last in most cases."""
    _, colon, rest = error.rpartition(": ")
    return rest if colon and len(rest) > len("x") else "check the specification and the cable"


def _judged(name: str, found: Mapping[str, Any]) -> Finding:
    sizes = ", ".join(f"{m} {w}x{h}" for m, (w, h) in found["modalities"].items())
    frames, seconds = int(found["frames"]), float(found["seconds"])
    fps = (frames - 1) / seconds if frames > 1 and seconds > 0 else None
    shown = f"{sizes}; {frames} captures" + ("" if fps is None else f", {fps:.0f}/s")
    if found["is_recording"]:
        return Finding(Group.CAMERAS, name, Level.OK, f"{shown}, of a recording")
    age_ms, skew_ms = found["age_ms"], found["skew_ms"]
    if found["frozen"]:
        return Finding(
            Group.CAMERAS,
            name,
            Level.FAIL,
            f"{shown}; every picture of {', '.join(found['frozen'])} is the same: it stands still",
            "plug it in again and end other programs that read it; no live sensor gives the same "
            "picture twice",
        )
    if age_ms is not None and age_ms > _STALE_MS:
        return Finding(
            Group.CAMERAS,
            name,
            Level.FAIL,
            f"{shown}; frames are up to {age_ms:.0f} ms old when they are read (at most "
            f"{_STALE_MS:.0f}), and each is answered RETRY (stale)",
            "let the source keep fewer frames back (a buffer in the stream or pipeline), or ask "
            "for a smaller mode",
        )
    if skew_ms is not None and skew_ms > _SKEW_MS:
        return Finding(
            Group.CAMERAS,
            name,
            Level.WARN,
            f"{shown}; the frames of one capture are up to {skew_ms:.0f} ms apart (at most "
            f"{_SKEW_MS:.0f})",
            "let all sensors run at one rate, and pair them with a smaller skew_ms",
        )
    if fps is not None and fps < _SLOW_FPS:
        return Finding(
            Group.CAMERAS,
            name,
            Level.WARN,
            shown,
            "use USB 3, a smaller mode or more light: several frames make a verdict",
        )
    return Finding(Group.CAMERAS, name, Level.OK, shown)

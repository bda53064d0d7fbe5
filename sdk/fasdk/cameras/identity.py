"""One name of a device, stream or file, whichever of its names it was given by."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from urllib.parse import quote, unquote

from fasdk.cameras.address import USUAL_PORTS, pipeline_elements, scheme_of

_DEVICES = Path("/dev")
# Links to a device, those that stay the same after a reboot and in another socket first.
_LINKS = ("by-id", "by-path")
_USUAL_DEVICE = "/dev/video0"  # of v4l2src
# Elements of a pipeline stand between these, those of a further branch after a name and a dot.
_PARTS = re.compile(r"!|\s(?=[\w-]+src\b)")
_ADDRESS = re.compile(r"\b(?!file://)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NETWORK_ELEMENTS = frozenset(
    f"{name}src"
    for name in (
        *("rtsp", "rtmp", "rtmp2", "udp", "multiudp", "tcpclient", "tcpserver", "srt", "rist"),
        *("souphttp", "curlhttp", "neonhttp", "ndi", "webrtc", "whep", "nice", "sctp", "mms"),
    )
)
_SOURCE_PROPERTY = re.compile(
    r"""(?<![\w-])(device|location|sensor-id)\s*=\s*("[^"]*"|'[^']*'|[^\s"']+)"""
)


def device_identity(node: Path) -> str:
    """Return the one name of a local camera: its link in /dev/v4l/by-id where it has one.

    Else its link in by-path, else the node itself. A device that is not there keeps the name it was
    given by, links followed.
    """
    number = _device_number(node)
    if number is not None:
        for folder in _LINKS:
            for link in sorted((_DEVICES / "v4l" / folder).glob("*")):
                if _device_number(link) == number:
                    return str(link)
        for other in sorted(_DEVICES.glob("video*")):
            if _device_number(other) == number:
                return str(other)
    return file_identity(node)


def file_identity(path: Path) -> str:
    """Return the one name of a file: its absolute path with links followed."""
    return os.path.realpath(path)


def stream_identity(address: str) -> str:
    """Return the one name of a network stream: scheme, host, port and path.

    Name and password are left out, and what stands in a query, which may hold a token. A host that
    is given by its name in one address and by its number in another stays two.
    """
    scheme = scheme_of(address) or ""
    # As in `without_credentials`, all up to the last @ may be a name and a password.
    rest = address[address.find("://") + 3 :].rpartition("@")[2].partition("#")[0]
    place, has_query, _ = rest.partition("?")
    host, _, path = place.partition("/")
    host = host.lower().removesuffix(f":{USUAL_PORTS.get(scheme)}").removesuffix(".")
    return f"{scheme}://{host}/{quote(unquote(path))}{'?***' if has_query else ''}"


def pipeline_identity(pipeline: str) -> str:
    """Return the one name of a GStreamer pipeline: that of the device or stream it begins with.

    Another source is named by the pipeline's elements and a digest of its text, which may hold a
    password.
    """
    source = pipeline.partition("!")[0]
    element = (source.split() or [""])[0]
    found = dict(_SOURCE_PROPERTY.findall(source))
    given = {name: value.strip("\"'") for name, value in found.items()}
    if element == "v4l2src":
        return device_identity(Path(given.get("device", _USUAL_DEVICE)))
    if element == "nvarguscamerasrc":
        return f"csi:{given.get('sensor-id', 0)}"
    location = given.get("location", "")
    if scheme_of(location) is not None:
        return stream_identity(location)
    if element == "filesrc" and location:
        return file_identity(Path(location))
    digest = hashlib.sha256(" ".join(pipeline.split()).encode()).hexdigest()
    return f"{' ! '.join(pipeline_elements(pipeline))} {digest[:8]}"


def pipeline_nodes(pipeline: str) -> tuple[Path, ...]:
    """Return the device nodes of a pipeline's v4l2src elements, in order."""
    nodes = []
    for part in _PARTS.split(pipeline):
        if (part.split() or [""])[0] == "v4l2src":
            found = {name: value.strip("\"'") for name, value in _SOURCE_PROPERTY.findall(part)}
            nodes.append(Path(found.get("device", _USUAL_DEVICE)))
    return tuple(nodes)


def takes_network(pipeline: str) -> bool:
    """Return whether an element of a pipeline reads from the network, as far as its text shows."""
    if _ADDRESS.search(pipeline):
        return True
    words = (part.split() or [""] for part in _PARTS.split(pipeline))
    return any(each[0] in _NETWORK_ELEMENTS for each in words)


def _device_number(path: Path) -> int | None:
    """Return the kernel's number of a character device, None for all else."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_rdev if stat.S_ISCHR(found.st_mode) else None

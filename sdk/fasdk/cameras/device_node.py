"""Reasons why a camera's device node cannot be opened, as the system gives them."""

from __future__ import annotations

import errno
import grp
import os
import stat
from pathlib import Path

_DEVICES = Path("/dev")


def why_not_opened(path: Path) -> str:
    """Return what keeps this process from reading a camera, and how to fix it.

    Args:
        path: Device node that OpenCV could not open, such as /dev/video0.

    Returns:
        What is wrong, and how to fix it, in one line.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return f"{path} does not exist: plug the camera in{_others()}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISCHR(found.st_mode):
        return f"{path} exists and is no device node: give a camera's{_others()}"
    refusal = _refusal(path)
    if refusal is not None:
        return _explain(path, refusal, found.st_gid)
    return (
        f"{path} exists and this user may open it, but it gives no video: another program streams "
        f"from it (`fuser -v {path}` names it), or it is no video capture node, as the second one "
        "that many cameras have for metadata; `v4l2-ctl --list-devices` shows each camera's nodes, "
        "the first is the one to use"
    )


def _refusal(path: Path) -> OSError | None:
    """Return what the system answers to opening a node, or None where it lets this process."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        return error
    return None


def _explain(path: Path, refusal: OSError, group: int) -> str:
    if refusal.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"{path} exists, and this user may not open it: add the user to its group, "
            f"{_group(group)}, and log in again"
        )
    if refusal.errno == errno.EBUSY:
        return f"{path} exists and is busy: end the other program that uses it (`fuser -v {path}`)"
    if refusal.errno in {errno.ENXIO, errno.ENODEV}:
        return f"{path} exists, and no device answers there: plug the camera in again"
    return f"{path} exists: {refusal.strerror}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _others() -> str:
    """Return the cameras there are, by the names that stay the same after a reboot."""
    for folder in (_DEVICES / "v4l" / "by-id", _DEVICES):
        try:
            nodes = sorted(str(path) for path in folder.glob("*video*"))
        except OSError:
            continue
        if nodes:
            return f"; there are {', '.join(nodes[:6])}"
    return "; this machine has no /dev/video* at all"

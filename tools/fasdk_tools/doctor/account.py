"""Checks of disks, and of this account's keys and state."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fasdk.errors import HomeError
from fasdk.home import HOME_VARIABLE, home_path
from fasdk_tools.doctor.findings import Finding, Group, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk_tools.doctor.place import Place, Request

SPACE_SECONDS = 8.0
ACCOUNT_SECONDS = 8.0
FULL_BYTES = 64 * 2**20
LOW_BYTES = 2**30
_FEW_FILES = 100


def disk_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield how much room there is where a door writes: state, plans and temporary files."""
    wanted = {"disk of temporary files": tempfile.gettempdir()}
    with suppress(HomeError):  # said by the check of the account's folder
        wanted["disk of state"] = str(home_path())
    if request.bundle is not None:
        wanted["disk of plans"] = str(request.bundle.absolute().parent)
    answer = place.ask("space", {"paths": list(wanted.values())}, SPACE_SECONDS)
    for name, path in wanted.items():
        if answer.document is None:
            yield Finding(
                Group.MACHINE,
                name,
                Level.WARN,
                f"{path}: not known, looking at it {answer.trouble}",
                "look at it with `df`; a network disk that is gone hangs whoever writes there",
            )
        else:
            yield _disk_finding(name, path, answer.document[path])


def _disk_finding(name: str, path: str, room: dict[str, Any]) -> Finding:
    if "error" in room:
        fix = f"mount it, or name another folder in {HOME_VARIABLE} or TMPDIR"
        return Finding(Group.MACHINE, name, Level.FAIL, f"{path}: {room['error']}", fix)
    free = int(room["free_bytes"])
    shown = f"{free / 1e9:.1f} GB free at {path}"
    if room["is_read_only"]:
        return Finding(
            Group.MACHINE,
            name,
            Level.WARN,
            f"{path} is mounted read-only: nothing is remembered there",
            f"name a folder that can be written, in {HOME_VARIABLE} or TMPDIR",
        )
    files = room["free_files"]
    if free < FULL_BYTES or (files is not None and files < _FEW_FILES):
        found = f"{shown} ({free / 1e6:.0f} MB)" if files is None or files >= _FEW_FILES else ""
        return Finding(
            Group.MACHINE,
            name,
            Level.FAIL,
            found or f"{shown}, and only {files} more files",
            f"free some room there (`du -xsh {path}`): a full disk keeps no attempts and no plan",
        )
    if free < LOW_BYTES:
        fix = f"free some room there (`du -xsh {path}`): a plan takes as much as its bundle"
        return Finding(Group.MACHINE, name, Level.WARN, shown, fix)
    return Finding(Group.MACHINE, name, Level.OK, shown)


def account_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield whether the account's folder, keys, trust and attempts can be relied on."""
    del request
    answer = place.ask("account", {}, ACCOUNT_SECONDS)
    if answer.document is None:
        yield Finding(
            Group.ACCOUNT,
            "folder",
            Level.WARN,
            f"not looked at: {answer.trouble}",
            "see the base packages above; `fasdk trust list` looks at the same files",
        )
        return
    yield from (Finding.of(each) for each in answer.document["findings"])

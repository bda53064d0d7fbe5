"""Answers about disks, keys and state of this account, in the child process; nothing is made."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk.errors import AttemptError, HomeError, TrustError
from fasdk_tools.doctor.findings import Finding, Group, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOON = timedelta(days=30)


def space(paths: list[str]) -> dict[str, Any]:
    """Return the room on the file system of each path, or of the nearest folder above it."""
    found: dict[str, Any] = {}
    for text in paths:
        path = Path(text)
        while not path.exists() and path != path.parent:
            path = path.parent
        try:
            room = os.statvfs(path)
        except OSError as error:
            found[text] = {"error": error.strerror or str(error)}
            continue
        found[text] = {
            "free_bytes": room.f_bavail * room.f_frsize,
            "free_files": room.f_favail if room.f_files else None,
            "is_read_only": bool(room.f_flag & os.ST_RDONLY),
        }
    return found


def account() -> dict[str, Any]:
    """Return the findings on the account's folder, its keys and its cameras' attempts."""
    findings = [*_home(), *_private_keys(), *_trust(), *_attempts()]
    return {"findings": [each.to_json() for each in findings]}


def _home() -> Iterator[Finding]:
    from fasdk.home import HOME_VARIABLE, existing_folder, home_path

    try:
        folder = existing_folder()
        shown = "not made yet" if folder is None else str(folder)
        yield Finding(Group.ACCOUNT, "folder", Level.OK, f"{shown}, of account {os.geteuid()}")
    except HomeError as error:
        yield Finding(
            Group.ACCOUNT,
            "folder",
            Level.FAIL,
            str(error),
            f"`chmod go-w` and `chown` it to this account, or name another in {HOME_VARIABLE} "
            f"(now {home_path()})",
        )


def _private_keys() -> Iterator[Finding]:
    from fasdk.bundle.signing import build_key_path

    keys = sorted(build_key_path().parent.glob("*.pem"))
    exposed = next(((path, text) for path in keys if (text := _exposure_of(path))), None)
    if exposed is not None:
        path, text = exposed
        yield Finding(
            Group.ACCOUNT,
            "private keys",
            Level.FAIL,
            text,
            f"`chmod go-rwx '{path}'`; where others may have read it, `fasdk trust revoke "
            f"'{path}.pub'` and make another",
        )
        return
    found = f"{len(keys)} that this account alone reads" if keys else "none made yet"
    yield Finding(Group.ACCOUNT, "private keys", Level.OK, found)


def _exposure_of(path: Path) -> str:
    """Return who else can read a private key, or ""."""
    from fasdk.bundle.public_keys import read_guarded

    try:
        read_guarded(path, "private key", is_secret=True)
    except TrustError as error:
        return str(error)
    return ""


def _trust() -> Iterator[Finding]:
    from fasdk.bundle.trust_store import TrustScope, read_store

    try:
        store = read_store()
    except (TrustError, HomeError) as error:
        yield Finding(
            Group.ACCOUNT,
            "trusted keys",
            Level.FAIL,
            str(error),
            "mend the file that is named: until then no bundle is trusted; `fasdk trust list` "
            "shows whether it is",
        )
        return
    valid = [each for each in store.keys if not each.is_revoked and not each.key.is_expired()]
    shown = f"{len(valid)} valid of {len(store.keys)}, {len(store.revoked)} revoked"
    day = datetime.now(timezone.utc).date() + _SOON
    late = [each.key for each in valid if each.key.expires is not None and each.key.expires < day]
    given = [each for each in store.keys if each.scope is not TrustScope.BUILD]
    if late:
        yield Finding(
            Group.ACCOUNT,
            "trusted keys",
            Level.WARN,
            f"key {late[0].id} expires on {late[0].expires}, and its bundles do not open after it",
            "add its successor by `fasdk trust add KEY.pub`, or this one with a later --expires",
        )
    elif given and not any(each in valid for each in given):
        yield Finding(
            Group.ACCOUNT,
            "trusted keys",
            Level.WARN,
            f"{shown}: every key that was added is expired or revoked",
            "ask the vendor for the new one, then `fasdk trust add KEY.pub`",
        )
    else:
        yield Finding(Group.ACCOUNT, "trusted keys", Level.OK, shown)


def _attempts() -> Iterator[Finding]:
    from fasdk.tracking.attempt_files import recorded

    try:
        paths = recorded()
        damaged = [text for path in paths if (text := _damage_of(path))]
    except HomeError as error:
        paths, damaged = [], [str(error)]
    if damaged:
        yield Finding(
            Group.ACCOUNT,
            "attempts",
            Level.FAIL,
            damaged[0],
            "`fasdk attempts --release CAMERA`, by the guard: until then the longest wait holds",
        )
    else:
        yield Finding(Group.ACCOUNT, "attempts", Level.OK, f"files of {len(paths)} cameras")


def _damage_of(path: Path) -> str:
    """Return what is wrong with a camera's file, or ""."""
    from fasdk.tracking.attempt_files import read_record

    try:
        read_record(path)
    except AttemptError as error:
        return str(error)
    return ""

"""Folder of what fasdk keeps for one account: its build key, trusted keys, state and proofs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fasdk.errors import HomeError
from fasdk.file_access import is_own_or_roots, is_writable_by_others

HOME_VARIABLE = "FASDK_HOME"


def home_path() -> Path:
    """Return where the account's folder is, or will be; nothing is created.

    It is the folder named by FASDK_HOME, else fasdk in $XDG_DATA_HOME, else ~/.local/share/fasdk
    (XDG Base Directory Specification 0.8).

    Raises:
        HomeError: FASDK_HOME is unset and the account has no home folder.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    data = os.environ.get("XDG_DATA_HOME", "")
    if data and Path(data).is_absolute():  # the specification has a relative one ignored
        return Path(data) / "fasdk"
    try:
        return Path.home() / ".local" / "share" / "fasdk"
    except RuntimeError as error:
        raise HomeError(
            f"this account has no home folder: name a folder for fasdk in {HOME_VARIABLE}"
        ) from error


def home_folder(*below: str) -> Path:
    """Return the account's folder, or a folder below it, created with mode 0700 where absent.

    Args:
        below: Names of folders below it, outermost first, such as "state".

    Raises:
        HomeError: A folder on the way cannot be created, is no folder, belongs to another account
            than this one and root, or may be written by others.
    """
    folder = home_path()
    _create(folder, parents=True)
    for name in below:
        folder = folder / name
        _create(folder, parents=False)
    return folder


def existing_folder(*below: str) -> Path | None:
    """Return the account's folder, or a folder below it, or None where it is absent.

    Args:
        below: Names of folders below it, outermost first, such as "trust".

    Raises:
        HomeError: A folder on the way is no folder, belongs to another account than this one and
            root, or may be written by others.
    """
    folder = home_path()
    for name in ("", *below):
        folder = folder / name
        if not _is_sound(folder):
            return None
    return folder


def _create(folder: Path, *, parents: bool) -> None:
    if _is_sound(folder):
        return
    try:
        folder.mkdir(mode=0o700, parents=parents, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"cannot create {folder}: {error.strerror or error}: name a folder this account can "
            f"write in {HOME_VARIABLE}"
        ) from error
    _is_sound(folder)  # another process may have made it


def _is_sound(folder: Path) -> bool:
    """Return whether the folder exists; refuse one that another account could have filled."""
    try:
        found = folder.lstat()
        if stat.S_ISLNK(found.st_mode):
            _require_own(found, f"{folder} is a link and")  # its owner may turn it elsewhere
            found = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise HomeError(
            f"cannot look at {folder}: {why}: name another folder in {HOME_VARIABLE}"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise HomeError(f"{folder} is no folder: remove it, or name another in {HOME_VARIABLE}")
    _require_own(found, str(folder))
    if is_writable_by_others(found):
        raise HomeError(
            f"{folder} has mode {stat.S_IMODE(found.st_mode):04o}, others can write there: "
            f"chmod go-w '{folder}'"
        )
    return True


def _require_own(found: os.stat_result, what: str) -> None:
    if not is_own_or_roots(found):
        raise HomeError(
            f"{what} belongs to account {found.st_uid}, expected {os.geteuid()} or root: name "
            f"another folder in {HOME_VARIABLE}"
        )

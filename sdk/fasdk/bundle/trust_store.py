"""Trust store of a machine: the public keys and revocations in the system's and account's folder.

A folder holds one `.pub` file a key and, once a key is revoked, the file `revoked` with one
fingerprint a line.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from pathlib import Path

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind
from fasdk.bundle.public_keys import TrustedKey, load_public_key, public_pem, read_guarded
from fasdk.bundle.signing import build_key_path, public_path
from fasdk.errors import TrustError, UsageError
from fasdk.file_access import is_roots_alone
from fasdk.file_lock import locked_folder
from fasdk.home import existing_folder, home_folder

SYSTEM_FOLDER = Path("/etc/fasdk/trust")
_TRUST, _KEYS = "trust", "keys"
_SUFFIX, _REVOKED = ".pub", "revoked"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_KEY_ID = re.compile(r"[0-9a-f]{16,64}")


class TrustScope(str, Enum):
    """Reach of a trusted key.

    - SYSTEM: Every account of the machine; only root changes it.
    - ACCOUNT: This account.
    - BUILD: This account's own build key, made by its first build.
    """

    SYSTEM = "system"
    ACCOUNT = "account"
    BUILD = "build"


@dataclass(frozen=True)
class StoredKey:
    """Key in a trust store.

    Attributes:
        key: Public key with the file it stands in.
        scope: Reach of the trust in it.
        is_revoked: Whether its signatures are refused.
    """

    key: TrustedKey
    scope: TrustScope
    is_revoked: bool


@dataclass(frozen=True)
class TrustStore:
    """Trust store as it was read.

    Attributes:
        keys: Every key in it, expired and revoked ones included.
        revoked: Fingerprints of all revoked keys, among them keys it does not hold.
    """

    keys: tuple[StoredKey, ...]
    revoked: frozenset[str]

    def bounded(self, key: TrustedKey) -> TrustedKey:
        """Return a key with the earliest last day that it and its entries in the store have."""
        same = [each.key for each in self.keys if each.key.fingerprint == key.fingerprint]
        days = [each.expires for each in (key, *same) if each.expires is not None]
        return replace(key, expires=min(days, default=None))


def read_store() -> TrustStore:
    """Read the machine's trust store.

    Raises:
        TrustError: A key or a list of revocations is unreadable, malformed or open to others:
            nothing is trusted until that is mended.
        HomeError: The account's folder is not its own.
    """
    folders = {
        TrustScope.SYSTEM: _system_folder(),
        TrustScope.ACCOUNT: existing_folder(_TRUST),
    }
    revoked = frozenset(
        fingerprint
        for folder in folders.values()
        if folder is not None
        for fingerprint in _read_revoked(folder / _REVOKED)
    )
    found = [
        (load_public_key(path), scope)
        for scope, folder in folders.items()
        if folder is not None
        for path in sorted(folder.glob(f"*{_SUFFIX}"))
    ]
    build_key = _build_key()
    if build_key is not None:
        found.append((build_key, TrustScope.BUILD))
    return TrustStore(
        tuple(StoredKey(key, scope, key.fingerprint in revoked) for key, scope in found), revoked
    )


def build_key_id() -> str | None:
    """Return the id of this account's build key, or None where no build has made one.

    Raises:
        TrustError: The key is unreadable, malformed or open to others.
        HomeError: The account's folder is not its own.
    """
    key = _build_key()
    return None if key is None else key.id


def _build_key() -> TrustedKey | None:
    if existing_folder(_KEYS) is None:
        return None
    path = public_path(build_key_path())
    return load_public_key(path) if path.exists() else None


def add_key(
    source: Path, *, expires: date | None = None, scope: TrustScope = TrustScope.ACCOUNT
) -> StoredKey:
    """Trust a public key, and return it as it is stored.

    Args:
        source: PEM file of the key.
        expires: Last day, in UTC, on which its signatures are accepted; None for the one the file
            gives, or no end.
        scope: SYSTEM or ACCOUNT.

    Raises:
        TrustError: The file holds no sound key, or one that is revoked or expired.
        FasdkError: The folder is not writable.
    """
    key = load_public_key(source)
    if key.fingerprint in read_store().revoked:
        raise TrustError(f"{source}: key {key.id} is revoked: ask its owner for the new one")
    folder = _writable(scope)
    path = folder / f"{key.id}{_SUFFIX}"
    stored = TrustedKey(key.raw, path, expires or key.expires)
    if stored.is_expired():
        raise TrustError(
            f"{source}: key {key.id} expired on {stored.expires}: ask its owner for the new one, "
            "or give a later day with --expires"
        )
    header = "" if stored.expires is None else f"Expires: {stored.expires.isoformat()}\n"
    with atomic_write(path, mode=0o644) as file:
        file.write(header.encode() + public_pem(key.raw))
    return StoredKey(load_public_key(path), scope, is_revoked=False)


def revoke_key(which: str, *, scope: TrustScope = TrustScope.ACCOUNT) -> tuple[str, ...]:
    """Refuse a key's signatures from now on, and return the fingerprints that were added.

    Args:
        which: PEM file of the key, its id as `fasdk trust list` shows it, or its whole fingerprint,
            which may be of a key that is not in the store.
        scope: SYSTEM or ACCOUNT.

    Raises:
        UsageError: The id is of no key in the store.
        TrustError: The file holds no sound key.
        StateError: Another process holds the folder's lock for ten seconds.
        FasdkError: The folder is not writable.
    """
    if _KEY_ID.fullmatch(which):
        known = [s.key.fingerprint for s in read_store().keys]
        matched = {fingerprint for fingerprint in known if fingerprint.startswith(which)}
        if not matched and _FINGERPRINT.fullmatch(which):
            matched = {which}
    else:
        matched = {load_public_key(Path(which)).fingerprint}
    if not matched:
        raise UsageError(
            f"no key in the trust store has the id {which}: give the key's .pub file or its whole "
            "fingerprint of 64 digits"
        )
    folder = _writable(scope)
    path = folder / _REVOKED
    with locked_folder(folder):  # of two revocations at once none is lost
        before = _read_revoked(path)
        added = tuple(sorted(matched - set(before)))
        with atomic_write(path, mode=0o644) as file:
            file.write("".join(f"{line}\n" for line in (*before, *added)).encode())
    return added


def _system_folder() -> Path | None:
    """Return the system's folder if there is one; only root may be able to fill it."""
    try:
        found = SYSTEM_FOLDER.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TrustError(f"cannot look at {SYSTEM_FOLDER}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise TrustError(f"{SYSTEM_FOLDER} is no folder: remove it")
    if not is_roots_alone(found):
        raise TrustError(
            f"{SYSTEM_FOLDER} may be written by others than root: "
            f"chown root '{SYSTEM_FOLDER}' and chmod go-w '{SYSTEM_FOLDER}'"
        )
    return SYSTEM_FOLDER


def _writable(scope: TrustScope) -> Path:
    if scope is TrustScope.ACCOUNT:
        return home_folder(_TRUST)
    try:
        SYSTEM_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise TrustError(
            f"cannot create {SYSTEM_FOLDER}: {error.strerror}: run this as root"
        ) from error
    if not os.access(SYSTEM_FOLDER, os.W_OK):
        raise TrustError(f"cannot write in {SYSTEM_FOLDER}: run this as root")
    return _system_folder() or SYSTEM_FOLDER


def _read_revoked(path: Path) -> tuple[str, ...]:
    """Return the fingerprints of a list of revocations, none where there is no list."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise TrustError(f"cannot look at {path}: {error.strerror}") from error
    data = read_guarded(path, "revocation list", kind=FileKind.STATE)
    lines = data.decode("ascii", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not _FINGERPRINT.fullmatch(line):
            raise TrustError(
                f"{path}: line {number} is no fingerprint of 64 hexadecimal digits: until it is "
                "mended no key can be told to be valid"
            )
    return tuple(dict.fromkeys(lines))

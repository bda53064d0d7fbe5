"""Pseudonyms of the people and captures that a bundle's records name.

A bundle is copied to every device. Its records tell whether a person was seen before, which needs
no name: only HMAC-SHA256 values (RFC 2104) of the names leave the machine. Their key stays with the
account, so that nobody else finds a name by trying names.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, is_file, read_bounded
from fasdk.errors import DatasetError
from fasdk.home import home_folder

PSEUDONYMS = "pseudonyms"
"""Field of a record that says how its names were replaced."""

_SCHEME = "hmac-sha256"
_KEY_BYTES = 32
_DIGITS = 32  # hexadecimal: 128 bits, so that two people never share a pseudonym


@dataclass(frozen=True)
class PseudonymRule:
    """How names of one record were replaced.

    Attributes:
        scheme: Name of the function.
        salt: Hexadecimal; differs from record to record, so that records cannot be joined.
        key_id: First 16 hexadecimal digits of the SHA-256 of the account's key.
    """

    scheme: str
    salt: str
    key_id: str


class Pseudonyms:
    """Pseudonyms of one record, made with a key that only this account has.

    Args:
        key: The account's key.
        salt: Salt of the record, hexadecimal.
    """

    def __init__(self, key: bytes, salt: str) -> None:
        self._key = key
        self.rule = PseudonymRule(_SCHEME, salt, _key_id(key))

    @classmethod
    def of_record(cls, *parts: str) -> Pseudonyms:
        """Return those of a record of this account, the same for the same record.

        Args:
            parts: What tells the record from others, such as its kind and the list's name.

        Raises:
            FasdkError: The account's folder is not writable, or its key is damaged.
        """
        key = _account_key()
        told = b"".join(
            hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest() for part in parts
        )
        return cls(key, hmac.new(key, b"salt" + told, hashlib.sha256).hexdigest()[:32])

    def of(self, name: str) -> str:
        """Return a name's pseudonym, 32 hexadecimal digits."""
        said = bytes.fromhex(self.rule.salt) + name.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:_DIGITS]

    def described(self) -> dict[str, str]:
        """Return the rule as a record holds it under `PSEUDONYMS`."""
        return asdict(self.rule)


def seen_before(
    record: Mapping[str, Any], names: Iterable[str], where: str
) -> tuple[str, ...] | None:
    """Return which people a record names, in name order.

    Args:
        record: Calibration or evaluation record of a bundle.
        names: People to look for.
        where: File and member, for messages.

    Returns:
        None where that cannot be told: the record names nobody, or was made with the key of another
        account.

    Raises:
        DatasetError: The record's people, or what it says about their pseudonyms, are malformed.
        FasdkError: The account's key is damaged.
    """
    subjects, rule = record.get("subjects"), record.get(PSEUDONYMS)
    if subjects is None:
        return None
    if not isinstance(subjects, list):
        raise DatasetError(f"{where}: subjects is no list: build it again")
    known = frozenset(map(str, subjects))
    if rule is None:  # of a release that kept names
        return tuple(sorted(known & set(names)))
    try:
        salt, key_id = bytes.fromhex(rule["salt"]).hex(), rule["key_id"]
    except (TypeError, KeyError, ValueError):
        raise DatasetError(
            f"{where}: {PSEUDONYMS} has no salt and key_id: build it again"
        ) from None
    key = _account_key()
    if key_id != _key_id(key):
        return None
    made = Pseudonyms(key, salt)
    return tuple(sorted(name for name in set(names) if made.of(name) in known))


def key_file() -> Path:
    """Return the file of the account's key; two accounts that share it see each other's people."""
    return home_folder("keys") / "pseudonyms.key"


def _account_key() -> bytes:
    path = key_file()
    if not is_file(path):
        _make_key(path)
    try:
        key = read_bounded(path, FileKind.KEY)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    if len(key) != _KEY_BYTES:
        raise DatasetError(
            f"{path} has {len(key)} bytes, expected {_KEY_BYTES}: put its copy back, or remove it; "
            "people of records made with it are then no longer recognized"
        )
    return key


def _make_key(path: Path) -> None:
    """Write a new key, unless another process has done so: its key is never replaced."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    with atomic_write(new, mode=0o600) as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise DatasetError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:16]

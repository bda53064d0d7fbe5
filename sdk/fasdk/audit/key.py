"""Key of an audit log's chain."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fasdk.bounded_file import FileKind, open_bounded, read_rest
from fasdk.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path

_LEAST_BYTES = 32
_OTHERS = stat.S_IRWXO | stat.S_IWGRP


@dataclass(frozen=True)
class AuditKey:
    """Secret without which nobody makes a chain that verifies with it.

    Attributes:
        id: First 16 hexadecimal digits of a digest of the secret, which every file of a log names.
        secret: Content of the key file.
    """

    id: str
    secret: bytes = field(repr=False)

    @classmethod
    def from_file(cls, path: Path) -> AuditKey:
        """Return the key that a file holds: its bytes as they are, at least 32.

        Raises:
            AuditError: It cannot be read, is too short, may be read by every account, or written by
                others than its owner.
        """
        try:
            with open_bounded(path, FileKind.KEY) as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                secret = read_rest(file, path, FileKind.KEY)
        except OSError as error:
            raise AuditError(f"cannot read key {path}: {error.strerror or error}") from error
        if mode & _OTHERS:
            raise AuditError(
                f"key {path} has mode {mode:04o}, others can read or change it: chmod o-rwx,g-w "
                f"'{path}', and make another if it was so for long"
            )
        if len(secret) < _LEAST_BYTES:
            raise AuditError(
                f"key {path} has {len(secret)} bytes, expected {_LEAST_BYTES} or more: make one by "
                f"(umask 077; head -c 32 /dev/urandom > '{path}')"
            )
        identity = hashlib.sha256(b"fasdk audit key\0" + secret).hexdigest()[:16]
        return cls(identity, secret)


def chain_digest(previous: str, body: bytes, key: AuditKey | None) -> str:
    """Return the hash of a line, as hexadecimal digits.

    Args:
        previous: Hash of the line before, 64 hexadecimal digits.
        body: Bytes of the line before its own hash.
        key: Key of the chain; None for SHA-256, which everybody can compute.
    """
    content = previous.encode("ascii") + body
    if key is None:
        return hashlib.sha256(content).hexdigest()
    return hmac.new(key.secret, content, hashlib.sha256).hexdigest()

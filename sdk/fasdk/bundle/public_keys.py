"""Public keys that bundles are verified with: files, forms and points that are accepted."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import lru_cache
from pathlib import Path

from fasdk.bounded_file import FileKind, open_bounded, read_rest
from fasdk.errors import TrustError
from fasdk.file_access import is_own_or_roots

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_KEY_ID_DIGITS = 16

# The curve edwards25519 (RFC 8032, section 5.1).
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_Point = tuple[int, int, int, int]  # extended coordinates X, Y, Z, T


@dataclass(frozen=True)
class TrustedKey:
    """Public key that may sign bundles.

    Attributes:
        raw: The 32 bytes of an Ed25519 public key (RFC 8032).
        source: File it was read from.
        expires: Last day, in UTC, on which its signatures are accepted; None for no end.
    """

    raw: bytes
    source: Path
    expires: date | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw key, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def id(self) -> str:
        """Short name of the key: the first 16 digits of its fingerprint."""
        return key_id(self.raw)

    def is_expired(self, now: datetime | None = None) -> bool:
        """Return whether its last day is over; `now` is the present time unless given."""
        today = (now or datetime.now(timezone.utc)).astimezone(timezone.utc).date()
        return self.expires is not None and today > self.expires

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether a signature of a message was made with this key."""
        return verifies(self.raw, signature, message)


def key_id(raw: bytes) -> str:
    """Return a short name for a raw public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(raw).hexdigest()[:_KEY_ID_DIGITS]


def public_pem(raw: bytes) -> bytes:
    """Return a raw public key as a PEM file holds it (SubjectPublicKeyInfo, RFC 8410)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(raw)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def verifies(raw: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether an Ed25519 signature (RFC 8032) of a message holds under a raw public key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def load_public_key(path: Path) -> TrustedKey:
    """Read a PEM public key (SubjectPublicKeyInfo, RFC 8410) with the lines that may precede it.

    A line `Expires: YYYY-MM-DD` before the PEM block gives the key's last day in UTC. The file must
    be a regular one that nobody but root and this account can write, or the key in it could be
    anyone's.

    Raises:
        TrustError: The file is unreadable, may be written by others, holds no Ed25519 public key,
            or one whose point is not of the prime order: such a key accepts forged signatures.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    path = Path(path)
    header, pem = _split(read_guarded(path, "public key"), path)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: not a readable PEM public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"{path}: not an Ed25519 public key: make one with `fasdk keygen`")
    raw = key.public_bytes_raw()
    if not is_sound_point(raw):
        raise TrustError(
            f"{path}: the key's point is not of the prime order of edwards25519, so that "
            "signatures can be forged for it: make another with `fasdk keygen`"
        )
    return TrustedKey(raw, path, _expiry(header, path))


def read_guarded(
    path: Path, what: str, *, is_secret: bool = False, kind: FileKind = FileKind.KEY
) -> bytes:
    """Return the bytes of a small file that only root and this account can have written.

    Args:
        path: File to read.
        what: Description of the file in error messages, such as "public key".
        is_secret: Whether nobody else may read it either.
        kind: Kind of the file, which bounds its size.

    Raises:
        TrustError: It is absent, no regular file, too large, of another owner, or open to others.
    """
    try:
        with open_bounded(path, kind) as file:
            _require_own(path, what, os.fstat(file.fileno()), is_secret=is_secret)
            return read_rest(file, path, kind)
    except OSError as error:
        raise TrustError(f"cannot read {what} {path}: {error.strerror or error}") from error


def _require_own(path: Path, what: str, found: os.stat_result, *, is_secret: bool) -> None:
    if not is_own_or_roots(found):
        raise TrustError(
            f"{path}: the {what} file belongs to account {found.st_uid}, expected "
            f"{os.geteuid()} or root: copy it to a file of your own"
        )
    forbidden = stat.S_IRWXG | stat.S_IRWXO if is_secret else stat.S_IWGRP | stat.S_IWOTH
    if found.st_mode & forbidden:
        can = "read or write" if is_secret else "write"
        mend = "go-rwx" if is_secret else "go-w"
        raise TrustError(
            f"{path}: the {what} file has mode {stat.S_IMODE(found.st_mode):04o}, others can "
            f"{can} it: chmod {mend} '{path}'"
        )


def _split(data: bytes, path: Path) -> tuple[list[str], bytes]:
    """Return the lines before the one PEM block, and the block; nothing may follow it."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise TrustError(f"{path}: not a readable PEM public key: {error}") from error
    if lines.count(_BEGIN) != 1 or lines.count(_END) != 1:
        raise TrustError(
            f"{path}: not a PEM public key: expected one block between {_BEGIN} and {_END}"
        )
    first, last = lines.index(_BEGIN), lines.index(_END)
    after = [line for line in lines[last + 1 :] if line.strip()]
    if last < first or after:
        raise TrustError(f"{path}: not a PEM public key: text after its block: remove it")
    block = "\n".join(lines[first : last + 1]) + "\n"
    return [line for line in lines[:first] if line.strip()], block.encode()


def _expiry(header: list[str], path: Path) -> date | None:
    """Return the last day a key's header gives; a line that is not understood is refused."""
    expires = None
    for line in header:
        name, _, value = line.partition(":")
        try:
            if name != "Expires" or expires is not None:
                raise ValueError(line)
            expires = date.fromisoformat(value.strip())
        except ValueError:
            raise TrustError(
                f"{path}: line {line[:80]!r} before the key is not understood: expected one line "
                "such as 'Expires: 2030-12-31', or none"
            ) from None
    return expires


@lru_cache(maxsize=256)
def is_sound_point(raw: bytes) -> bool:
    """Return whether 32 bytes are the one encoding of a point of edwards25519 of prime order.

    Points of small order verify signatures that nobody made; points with a small part besides are
    taken by some verifiers and not by others (RFC 8032, sections 5.1.3 and 8; Chalkias et al.,
    "Taming the many EdDSAs", 2020).
    """
    point = _decode(raw)
    if point is None or _is_identity(point):
        return False
    return _is_identity(_times(_ORDER, point))


def _decode(raw: bytes) -> _Point | None:
    """Return the point of an encoding, or None where there is none (RFC 8032, section 5.1.3)."""
    if len(raw) != 32:
        return None
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    squared = u * pow(v, -1, _P) % _P
    x = pow(squared, (_P + 3) // 8, _P)
    if x * x % _P != squared:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x * x % _P != squared or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _is_identity(point: _Point) -> bool:
    return point[0] % _P == 0 and (point[1] - point[2]) % _P == 0


def _times(factor: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            result = _add(result, point)
        point = _add(point, point)
        factor >>= 1
    return result


def _add(first: _Point, second: _Point) -> _Point:
    """Return the sum of two points, by the complete formulas of RFC 8032, section 5.1.4."""
    a = (first[1] - first[0]) * (second[1] - second[0]) % _P
    b = (first[1] + first[0]) * (second[1] + second[0]) % _P
    c = 2 * first[3] * second[3] * _D % _P
    d = 2 * first[2] * second[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P

"""Access to the service: its token, and the hosts and pages that a request may name."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fasdk.bounded_file import FileKind, open_bounded
from fasdk.errors import UsageError
from fasdk_tools.serving.refusals import Refusal, RefusedError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

_LEAST_TOKEN = 32  # characters; of 16, such as hexadecimal digits, 128 bits
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # what a Bearer token may hold (RFC 6750)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Token:
    """Secret that a client must name; it is kept as a digest alone.

    Attributes:
        digest: SHA-256 of the token.
    """

    digest: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Token:
        """Return the token that a file holds, on one line.

        Raises:
            UsageError: The file cannot be read, others than its owner may read it, or it holds no
                token of at least 32 characters.
        """
        try:
            with open_bounded(path, FileKind.KEY) as file:
                mode = _mode_of(file.fileno())
                text = file.read().decode("ascii", "replace").strip()
        except OSError as error:
            raise UsageError(f"token file {path}: cannot be read: {error.strerror}") from error
        if mode & 0o077:
            raise UsageError(
                f"token file {path} has mode {mode & 0o777:04o}, so that others may read it, "
                f"expected 0600: `chmod 600 {path}`"
            )
        if len(text) < _LEAST_TOKEN or not _TOKEN.fullmatch(text):
            raise UsageError(
                f"token file {path} holds no token: expected one line of at least {_LEAST_TOKEN} "
                "letters and digits, such as `openssl rand -hex 32` prints"
            )
        return cls(_digest(text))

    def fits(self, text: str) -> bool:
        """Return whether a text is the token, in the same time whatever it is."""
        return hmac.compare_digest(_digest(text), self.digest)


@dataclass(frozen=True)
class Access:
    """Conditions on the headers of a request.

    Attributes:
        token: Token that a request must name, or None for none.
        hosts: Names that the Host header may have besides those of this machine, without a port.
        origins: Values that the Origin header may have, such as "app://kiosk"; a request without
            the header is no page's.
    """

    token: Token | None = None
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def require(self, headers: Mapping[str, str], *, with_token: bool = True) -> None:
        """Refuse a request by its headers, of which the Authorization header is never shown.

        Args:
            headers: Headers of the request.
            with_token: Whether the path asks for the token.

        Raises:
            RefusedError: The host, the origin or the token is not accepted.
        """
        host = _host_of(headers.get("Host", ""))
        if host not in _LOCAL_HOSTS and host not in self.hosts:
            raise RefusedError(
                Refusal.HOST,
                "the Host header names another host than this service: ask for "
                "http://localhost, or start the service with --allow-host for a proxy's name",
            )
        origin = headers.get("Origin")
        if origin is not None and origin not in self.origins:
            raise RefusedError(
                Refusal.ORIGIN,
                "the request comes from a page: pages may not ask, unless the service was started "
                "with --allow-origin for theirs",
            )
        if with_token:
            self._require_token(headers.get("Authorization", ""))

    def _require_token(self, given: str) -> None:
        if self.token is None:
            return
        scheme, _, text = given.partition(" ")
        if scheme.lower() != "bearer" or not self.token.fits(text.strip()):
            raise RefusedError(
                Refusal.TOKEN,
                "the token is absent or wrong: send `Authorization: Bearer TOKEN` with the token "
                "of --token-file",
                {"WWW-Authenticate": "Bearer"},
            )


def _mode_of(descriptor: int) -> int:
    import os

    found: os.stat_result = os.fstat(descriptor)
    return found.st_mode


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _host_of(value: str) -> str:
    """Return the name in a Host header without its port, in lower case; empty where it has none."""
    try:
        return (urlsplit(f"//{value}").hostname or "") if "@" not in value else ""
    except ValueError:
        return ""

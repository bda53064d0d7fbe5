"""Addresses of network streams, and texts with their credentials left out."""

from __future__ import annotations

import re

SCHEMES = ("rtsp", "rtsps", "http", "https")
_AFTER_SCHEME = re.compile(r"(?<=://).*@", re.DOTALL)
_QUERY = re.compile(r"(://[^?]*)\?.*", re.DOTALL)


def scheme_of(text: str) -> str | None:
    """Return what stands before `://` in lower case, or None where there is no such."""
    scheme, found, _ = text.partition("://")
    return scheme.lower() if found else None


def without_credentials(text: str) -> str:
    """Return a text with the secrets of the addresses in it replaced.

    All between `://` and the last `@` may be a name and a password, whatever signs they hold, and
    all after a `?` may hold a token.
    """
    return _QUERY.sub(r"\1?***", _AFTER_SCHEME.sub("***@", text))

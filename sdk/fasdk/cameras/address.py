"""Addresses of network streams, and texts with their credentials left out."""

from __future__ import annotations

import re

SCHEMES = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# Properties of a GStreamer element. A name is tried once, from its first character, so that the
# time grows with the text's length and no faster.
_PROPERTY = re.compile(r"""(?<![\w-])([\w-]+)(\s*=\s*)("[^"]*"|'[^']*'|\S+)""")
# Parts of the names of those that hold secrets, such as rtspsrc's user-id and user-pw.
_SECRET = re.compile("user|pw|pass|token|secret|key", re.IGNORECASE)


def scheme_of(text: str) -> str | None:
    """Return the scheme that a text begins with, in lower case, or None where it has none."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else None


def without_credentials(text: str) -> str:
    """Return a text with the secrets of the addresses and pipelines in it replaced.

    All between `://` and the last `@` may be a name and a password, whatever signs they hold, and
    all after a `?` may hold a token.
    """
    address = text.find("://")
    if address >= 0:
        begin, end = address + len("://"), text.rfind("@")
        if end >= begin:
            text = f"{text[:begin]}***{text[end:]}"
        query = text.find("?", begin)
        if query >= 0:
            text = f"{text[:query]}?***"
    return _PROPERTY.sub(_without_secret, text)


def _without_secret(found: re.Match[str]) -> str:
    name, equals, _ = found.groups()
    return f"{name}{equals}***" if _SECRET.search(name) else found[0]

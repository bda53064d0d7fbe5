"""Addresses of network streams, and texts with their credentials left out."""

from __future__ import annotations

import re

SCHEMES = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# Properties of a GStreamer element, such as rtspsrc's user-id and user-pw. A name is looked through
# from its first character alone, so that the time grows with the text's length and no faster.
_SECRET_PROPERTY = re.compile(
    r"""(?<![\w-])(?=[\w-]*?(?:user|pw|pass|token|secret|key))([\w-]+\s*=\s*)("[^"]*"|'[^']*'|\S+)""",
    re.IGNORECASE,
)


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
    return _SECRET_PROPERTY.sub(r"\1***", text)

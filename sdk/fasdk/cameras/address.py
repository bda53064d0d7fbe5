"""Addresses of network streams and texts of pipelines, with their credentials left out."""

from __future__ import annotations

import re

USUAL_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Port of an address that names none, by scheme."""
SCHEMES = tuple(USUAL_PORTS)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# A value as GStreamer reads it, escapes and all; one whose quote does not close ends with the text.
_VALUE = r"""(?:"(?:\\.|[^"\\])*(?:"|\\?\Z)|'(?:\\.|[^'\\])*(?:'|\\?\Z)|(?:\\.|[^\s\\])+\\?)"""
# Properties of a GStreamer element, such as rtspsrc's user-id and user-pw. A name is looked through
# from its first character alone, so that the time grows with the text's length and no faster.
_SECRET_PROPERTY = re.compile(
    r"(?<![\w-])(?=[\w-]*?(?:user|pw|pass|token|secret|key))([\w-]+\s*=\s*)(" + _VALUE + ")",
    re.IGNORECASE | re.DOTALL,
)
# A property of an element or a field of its caps, with its value.
_PROPERTY = re.compile(r"(?<![\w-])[\w-]+\s*=\s*" + _VALUE, re.DOTALL)
_LOOSE_WORDS = re.compile(r"(?:\s+[^\s!=]+(?=\s|$))*")
_ELEMENT = re.compile(r"[\w./-]+(?:\([\w:]+\))?,?")


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


def pipeline_elements(pipeline: str) -> tuple[str, ...]:
    """Return the names of a pipeline's elements and caps, in order, without their properties.

    What is no name is `***`: it may be a part of a value that lacks its quotes.
    """
    parts = _PROPERTY.sub(" ", pipeline).split("!")
    first = ((part.split() or [""])[0] for part in parts)
    return tuple(word.rstrip(",") if _ELEMENT.fullmatch(word) else "***" for word in first)


def without_secrets_of(pipeline: str, message: str) -> str:
    """Return a message about a pipeline without what the pipeline's text must keep to itself.

    These are the values of properties that may hold a name, a password or a key, with the words
    that follow such a value where it lacks its quotes, and the parts of addresses that may.
    """
    secrets = []
    for match in _SECRET_PROPERTY.finditer(pipeline):
        loose = _LOOSE_WORDS.match(pipeline, match.end())
        value = match[2].strip("\"'")
        secrets += [value, re.sub(r"\\(.)", r"\1", value), *(loose[0].split() if loose else [])]
    for word in re.split(r"[\s\"']+", pipeline):
        _, is_address, rest = word.partition("://")
        if is_address:
            secrets += [rest.rpartition("@")[0], rest.partition("?")[2]]
    for secret in sorted({each for each in secrets if each}, key=len, reverse=True):
        message = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", message)
    return without_credentials(message)

"""Text from files, shown so that no terminal acts on it."""

from __future__ import annotations

import re
import unicodedata

_LINE_FEED = "\n"
# Controls (C0, DEL, C1), format characters such as those that turn the direction of writing,
# surrogates that stand for bytes of a file's name, and separators of lines and paragraphs.
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # letters of Persian and Hindi names, which move nothing
_MAYBE = re.compile(r"[^\x20-\x7e]")


def plain(text: str) -> str:
    r"""Return text whose control and format characters are written as escapes, such as ``\\x1b``.

    Line feeds stay, and so do the zero-width joiners that some scripts are written with. What is
    escaped once stays as it is.
    """
    return _MAYBE.sub(_escaped, text)


def plain_line(text: str) -> str:
    r"""Return `plain` text on one line: a line feed, too, is an escape, so that none is forged."""
    return plain(text).replace(_LINE_FEED, r"\n")


def plain_json(text: str) -> str:
    r"""Return a JSON document in which such characters are escapes of JSON, as ``\\u009b``."""
    return _MAYBE.sub(_escaped_in_json, text)


def _acts(character: str) -> bool:
    if character == _LINE_FEED or character in _JOINERS:
        return False
    return unicodedata.category(character) in _ACTING


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if not _acts(character):
        return character
    if character == "\t":
        return " "
    if ord(character) < 256:
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()


def _escaped_in_json(found: re.Match[str]) -> str:
    character = found[0]
    if not _acts(character) or character in "\t\r":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

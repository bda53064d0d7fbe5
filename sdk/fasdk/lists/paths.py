"""Paths of lists: separators, absolute paths and folders above the list, below one root."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path, PurePosixPath

from fasdk.bounded_file import is_file, is_folder
from fasdk.errors import DatasetError
from fasdk.lists.options import line_to_write

_DRIVE = re.compile(r"[A-Za-z]:")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.\-]+://", re.IGNORECASE)
BACKSLASHES = "paths are written with backslashes, which are taken for slashes"
ABSOLUTE = "paths are absolute and lie below the root"
LEADING_SLASH = "paths begin with a slash and are taken to start from the root"


class PathResolver:
    """Turns paths as a list writes them into paths below one root.

    Args:
        root: Folder the paths start from.
        folder: Folder of the list.
        strip: Prefix that is taken off every path, or None.

    Attributes:
        notes: What was decided, each kind once.
    """

    def __init__(self, root: Path, folder: Path, strip: str | None = None) -> None:
        self._root, self._folder = root, folder
        self._strip = None if strip is None else strip.replace("\\", "/")
        self._roots = tuple(
            dict.fromkeys(
                PurePosixPath(p.as_posix()) for p in (root.absolute(), Path(os.path.realpath(root)))
            )
        )
        self.notes: dict[str, None] = {}

    def resolve(self, text: str) -> str:
        """Return a path relative to the root, split by slashes.

        Raises:
            DatasetError: It leads out of the root, or is another machine's; what to write is said.
        """
        if "\0" in text:
            raise DatasetError(f"path {text!r} holds a zero byte")
        path = self._with_slashes(text)
        if self._strip is not None:
            if not path.startswith(self._strip):
                raise DatasetError(f"path {text!r} does not begin with strip={self._strip!r}")
            path = path[len(self._strip) :].lstrip("/")
        elif _ADDRESS.match(path) or (_DRIVE.match(path) and not is_file(self._root / text)):
            raise DatasetError(self._elsewhere(text, path))
        if path.startswith("/"):
            path = self._below_root(text, path)
        plain = posixpath.normpath(path)
        if plain.startswith("../") or plain in (".", ".."):
            plain = self._from_folder(text, plain)
        return plain

    def _with_slashes(self, text: str) -> str:
        if "\\" not in text or is_file(self._root / text):
            return text
        self.notes[BACKSLASHES] = None
        return text.replace("\\", "/")

    def _below_root(self, text: str, path: str) -> str:
        """Return an absolute path relative to the root."""
        plain = PurePosixPath(posixpath.normpath(path))
        for root in self._roots:
            if plain.is_relative_to(root):
                self.notes[ABSOLUTE] = None
                return str(plain.relative_to(root))
        if is_file(plain) or is_folder(plain):
            raise DatasetError(
                f"path {text!r} must lie below the list's folder or the root, {self._root}: give "
                f"--root {plain.parent}, or a folder above it, or write the first line "
                f"{line_to_write(root=plain.parent)}"
            )
        if is_file(self._root / path.lstrip("/")):
            self.notes[LEADING_SLASH] = None
            return path.lstrip("/")
        raise DatasetError(self._elsewhere(text, path))

    def _elsewhere(self, text: str, path: str) -> str:
        """Return the message for a path of another machine."""
        parts = path.split("/")
        prefix = posixpath.dirname(path) + "/"
        for index in range(1, len(parts)):
            if is_file(self._root / "/".join(parts[index:])):
                prefix = "/".join(parts[:index]) + "/"
                break
        return (
            f"path {text!r} must lie below the list's folder or the root, {self._root}, and is not "
            "there: where it is another machine's path, write the first line "
            f"{line_to_write(strip=prefix)} to take off what is not below the root"
        )

    def _from_folder(self, text: str, plain: str) -> str:
        """Return a path that leads above the root, read from the list's folder instead."""
        there = os.path.normpath(self._folder.absolute() / plain)
        for root in self._roots:
            if there != str(root) and PurePosixPath(there).is_relative_to(root):
                return str(PurePosixPath(there).relative_to(root))
        above = "/".join([".."] * plain.split("/").count("..")) or ".."
        raise DatasetError(
            f"path {text!r} must lie below the list's folder or the root, {self._root}: write the "
            f"first line {line_to_write(root=above)}"
        )

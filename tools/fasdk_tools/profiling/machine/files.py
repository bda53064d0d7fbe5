"""Small files of the kernel below a root folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SystemFiles:
    """Files of /proc and /sys, or of a recorded tree.

    Attributes:
        root: Folder that holds proc and sys.
    """

    root: Path

    def text(self, path: str) -> str | None:
        """Return a file's text without outer white space, or None where it cannot be read.

        Sensors of parts that are switched off answer with an error, and so do files that another
        user alone may read.
        """
        try:
            # No buffered reader: a file of the kernel comes in one read.
            with (self.root / path).open("rb", buffering=0) as file:
                return (file.readall() or b"").decode("utf-8", "replace").strip("\0 \t\r\n")
        except OSError:
            return None

    def number(self, path: str) -> float | None:
        """Return a file's only number, or None."""
        text = self.text(path)
        try:
            return None if text is None else float(text)
        except ValueError:
            return None

    def find(self, pattern: str) -> list[str]:
        """Return the paths below the root that match, in natural order (9 before 10)."""
        try:
            paths = [str(path.relative_to(self.root)) for path in self.root.glob(pattern)]
        except OSError:
            return []
        return sorted(paths, key=_natural)

    def entries(self, folder: str) -> list[str]:
        """Return the names in a folder, or none where there is no such folder."""
        try:
            return os.listdir(self.root / folder)  # noqa: PTH208 - quicker, and read often
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Return whether there is something under the path."""
        return (self.root / path).exists()


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]

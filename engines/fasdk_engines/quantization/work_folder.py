"""Work folder of a quantized build: intermediate results from which a killed build continues.

    OUT.fasb.work/
        KEY/            SHA-256 of everything that the contents depend on
            *.npy       rows of numbers, written as they are computed
            *.json      small records

Every file appears whole or not at all; one that cannot be read is computed again.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.atomic import atomic_write
from fasdk.errors import FasdkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WRITE_INTERVAL_S = 2.0


class WorkFolder:
    """The folder beside a bundle that is being built.

    Args:
        out: Path of the bundle.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f"{out.name}.work")

    def section(self, *depends_on: str) -> Section:
        """Return the subfolder whose contents depend on these values and nothing else.

        Args:
            depends_on: Values, such as digests, whose change makes the contents invalid.

        Raises:
            FasdkError: The folder cannot be created.
        """
        key = hashlib.sha256("\0".join(depends_on).encode()).hexdigest()[:32]
        folder = self.path / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FasdkError(
                f"cannot create the work folder {folder}: {error.strerror or error}"
            ) from error
        return Section(folder)

    def remove(self) -> None:
        """Delete the folder, once the bundle is written."""
        shutil.rmtree(self.path, ignore_errors=True)


class Section:
    """Stored arrays and records by name.

    Args:
        path: An existing folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0.0

    def load_array(self, name: str) -> NDArray[Any] | None:
        """Return a stored array, or None where none can be read."""
        try:
            return np.asarray(np.load(self.path / f"{name}.npy", allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None

    def save_rows(
        self, name: str, rows: Sequence[NDArray[np.float32]], *, last: bool = False
    ) -> None:
        """Store rows as one array, at most every few seconds unless they are the `last`."""
        if not last and time.monotonic() - self._written < _WRITE_INTERVAL_S:
            return
        file = io.BytesIO()
        np.save(file, np.stack(rows), allow_pickle=False)
        with atomic_write(self.path / f"{name}.npy") as out:
            out.write(file.getvalue())
        self._written = time.monotonic()

    def load_record(self, name: str) -> dict[str, Any]:
        """Return a stored record, or an empty one where none can be read."""
        try:
            found = json.loads((self.path / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save_record(self, name: str, record: dict[str, Any]) -> None:
        """Store a record."""
        with atomic_write(self.path / f"{name}.json") as out:
            out.write(json.dumps(record, indent=1, sort_keys=True).encode())

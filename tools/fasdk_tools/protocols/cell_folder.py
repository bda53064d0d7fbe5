"""Folder of one training: what it was made from, and what is finished of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, is_file, is_folder, read_bounded
from fasdk.errors import FasdkError, UsageError

_MADE_FROM = "inputs.json"


@dataclass(frozen=True)
class CellFolder:
    """Files of one training and its tests; each appears whole, when its step is done.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The trained weights."""
        return self.path / "checkpoint.safetensors"

    @property
    def bundle(self) -> Path:
        """The bundle that is built of them."""
        return self.path / "bundle.fasb"

    def claim(self, inputs: Mapping[str, str]) -> str | None:
        """Prepare the folder for a training, and return what is made anew and why, or None.

        A folder of the same inputs is left as it is: what it holds counts. One of other inputs is
        set aside as NAME.before, in place of an older one.

        Args:
            inputs: Names and digests of everything the training depends on.

        Raises:
            UsageError: The folder holds something else.
            FasdkError: The folder cannot be made or moved.
        """
        made_from = self.read(_MADE_FROM)
        reason = None
        if made_from is None and is_folder(self.path) and any(self.path.iterdir()):
            raise UsageError(
                f"{self.path} holds files and no {_MADE_FROM}, so it is no training of `fasdk "
                "protocols`: choose another --out"
            )
        if made_from is not None:
            changed = differing(made_from, inputs)
            if not changed:
                return None
            before = self.path.with_name(f"{self.path.name}.before")
            reason = f"{changed} changed: trained again; what there was is in {before}"
            self._set_aside(before)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FasdkError(f"cannot make {self.path}: {error.strerror}") from error
        self.write(_MADE_FROM, inputs)
        return reason

    def _set_aside(self, before: Path) -> None:
        try:
            if before.exists():
                shutil.rmtree(before)
            self.path.rename(before)
        except OSError as error:
            raise FasdkError(f"cannot move {self.path} to {before}: {error.strerror}") from error

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a finished step's document, None where it is not there.

        Raises:
            UsageError: It is no JSON object.
        """
        path = self.path / name
        if not is_file(path):
            return None
        try:
            document = json.loads(read_bounded(path, FileKind.SCORES))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read ({error}): delete it") from error
        if not isinstance(document, dict):
            raise UsageError(f"{path} holds no JSON object: delete it")
        return document

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a finished step's document, whole or not at all.

        Raises:
            FasdkError: It cannot be written.
        """
        self.write_text(name, json.dumps(document, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file, whole or not at all.

        Raises:
            FasdkError: It cannot be written.
        """
        with atomic_write(self.path / name) as file:
            file.write(text.encode())


def differing(made_from: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Return the names of the inputs that differ, joined by commas; empty where none does."""
    names = [*inputs, *(name for name in made_from if name not in inputs)]
    return ", ".join(name for name in names if made_from.get(name) != inputs.get(name))

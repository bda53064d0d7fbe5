"""Sentences that describe bona fide faces and attacks, read from a file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.capture import Modality
from fasdk.errors import TrainingError
from fasdk.settings import as_choice, take_choices
from fasdk_engines.training.text import PLACEHOLDER

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_CLASSES = ("live", "attack")


@dataclass(frozen=True)
class Sentences:
    """Sentences of both classes.

    Attributes:
        live: Sentences that fit a bona fide face; at least one.
        attack: Sentences that fit an attack; at least one.
    """

    live: tuple[str, ...]
    attack: tuple[str, ...]


@dataclass(frozen=True)
class SentenceFile:
    """Sentences that replace a method's own.

    A TOML or JSON file with `live` and `attack`, each a list of sentences; or with one table of
    these for each of `rgb`, `depth` and `ir`.

    Attributes:
        path: The file.
        digest: SHA-256 of its content.
        common: Sentences for every modality, or None where each has its own.
        own: Sentences by modality; empty where all share `common`.
    """

    path: Path
    digest: str
    common: Sentences | None
    own: Mapping[Modality, Sentences] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take modalities as members of the enum or as their values.

        Raises:
            UsageError: One is no modality.
        """
        take_choices(self, own=Modality)

    @classmethod
    def load(cls, path: Path | str) -> SentenceFile:
        """Read a file.

        Raises:
            TrainingError: It is missing, neither TOML nor JSON, lacks a class, or holds something
                that is no sentence; file and field are named.
        """
        path = Path(path)
        data = _read(path)
        document = _parsed(path, data)
        digest = sha256(data).hexdigest()
        modalities = {modality.value: modality for modality in Modality}
        unknown = [name for name in document if name not in (*_CLASSES, *modalities)]
        if unknown:
            raise TrainingError(
                f"{path}: unknown field {unknown[0]!r}: give live and attack, or one table of them "
                f"for each of {', '.join(modalities)}"
            )
        tables = [name for name in document if name in modalities]
        if not tables:
            return cls(path, digest, _sentences(path, document, ""))
        mixed = [name for name in document if name in _CLASSES]
        if mixed:
            raise TrainingError(
                f"{path}: {mixed[0]} beside the table {tables[0]}: give either live and attack or "
                "tables by modality"
            )
        own = {}
        for name in tables:
            table = document[name]
            if not isinstance(table, dict):
                raise TrainingError(
                    f"{path}: {name} is no table: give {name}.live and {name}.attack"
                )
            own[modalities[name]] = _sentences(path, table, f"{name}.")
        return cls(path, digest, None, own)

    def shared(self, method: str) -> Sentences:
        """Return the sentences for a method that has one set for all modalities.

        Raises:
            TrainingError: The file has a set a modality.
        """
        if self.common is None:
            raise TrainingError(
                f"{self.path} has sentences by modality, but method {method!r} describes the whole "
                "capture: give live and attack without tables"
            )
        return self.common

    def of(self, modality: Modality) -> Sentences:
        """Return a modality's sentences.

        Raises:
            TrainingError: The file has tables, but none of this modality.
            UsageError: `modality` is none.
        """
        modality = as_choice("modality", modality, Modality)
        found = self.own.get(modality, self.common)
        if found is None:
            raise TrainingError(
                f"{self.path}: {modality.value} has no sentences: add {modality.value}.live and "
                f"{modality.value}.attack"
            )
        return found


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, FileKind.DESCRIPTION)
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror or error}") from error


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    """Return the document: JSON where it begins with a brace, which no TOML does."""
    try:
        text = data.decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            document: dict[str, Any] = json.loads(text)
        else:
            document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrainingError(
            f"{path} is neither TOML nor JSON with sentences: {' '.join(str(error).split())}"
        ) from None
    return document


def _sentences(path: Path, table: Mapping[str, Any], prefix: str) -> Sentences:
    unknown = [name for name in table if name not in _CLASSES]
    if unknown:
        raise TrainingError(
            f"{path}: unknown field {prefix}{unknown[0]!r}: known are {prefix}live and "
            f"{prefix}attack"
        )
    return Sentences(*(_of_class(path, table.get(name), prefix + name) for name in _CLASSES))


def _of_class(path: Path, found: object, name: str) -> tuple[str, ...]:
    if found is None:
        raise TrainingError(f"{path}: {name} is missing: add a list of sentences, {name} = [...]")
    if not isinstance(found, list) or not found:
        raise TrainingError(f"{path}: {name} is no list of sentences: give at least one")
    for number, sentence in enumerate(found, start=1):
        if not isinstance(sentence, str) or not sentence.split():
            raise TrainingError(f"{path}: {name}, entry {number} is no sentence: {sentence!r:.60}")
        if re.search(rf"\b{PLACEHOLDER}\b", sentence):
            raise TrainingError(
                f"{path}: {name}, entry {number} holds the word {PLACEHOLDER}, which stands for "
                "learned vectors: leave it out, they are added where the method has them"
            )
    return tuple(found)

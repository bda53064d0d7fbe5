"""CSV files of scores of any system, one row a frame.

Columns, in any order, named in the first row: `score`, greater is more live; `label`, 1 bona fide
and 0 attack; `species`, the PAI species of an attack. Optional: `presentation`, rows that share it
are frames of one presentation; `subject`; `domain`; `responded`, 0 where the system gave no score.
Other columns are left alone. UTF-8, with or without a byte-order mark, either line end.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES
from fasdk_calibration.metrics.scores import Scores

NO_DOMAIN = "unknown"
_REQUIRED = ("score", "label", "species")
_FLAGS = {"1": True, "0": False}


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """A CSV file's scores.

    Attributes:
        path: The file read.
        scores: Scores of the rows, in the file's order.
        has_subjects: Whether it names subjects; else each presentation counts as a subject.
        warnings: Columns it lacks, and the consequence of each.
    """

    path: Path
    scores: Scores
    has_subjects: bool
    warnings: tuple[str, ...]


def read_scores(path: Path) -> ScoreFile:
    """Read a CSV file of scores.

    Raises:
        DatasetError: The file is unreadable, empty or not UTF-8; a column is missing or doubled; a
            row does not split into the header's columns, or holds an unknown label, no number or no
            species; or a class is absent. The file and line are named.
    """
    path = Path(path)
    rows = _Rows()
    columns: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                if not any(text.strip() for text in fields):
                    continue
                where = f"{path}:{reader.line_num}"
                if not columns:
                    columns = _columns(fields, where)
                    width = len(fields)
                elif len(fields) != width:
                    raise DatasetError(
                        f"{where}: {len(fields)} fields, expected {width} as in the first row"
                    )
                else:
                    rows.add({name: fields[i].strip() for name, i in columns.items()}, where)
    except OSError as error:
        raise DatasetError(f"cannot read scores {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"scores {path} are not UTF-8 text: {error.reason}") from error
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: does not split as CSV: {error}") from error
    if not columns:
        raise DatasetError(f"{path} is empty: a first row with {', '.join(_REQUIRED)} is expected")
    return rows.finish(path, frozenset(columns))


def _columns(fields: list[str], where: str) -> dict[str, int]:
    names = [name.strip() for name in fields]
    known = (*_REQUIRED, "presentation", "subject", "domain", "responded")
    for name in known:
        if names.count(name) > 1:
            raise DatasetError(f"{where}: column {name!r} is named twice")
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        found = ", ".join(repr(name) for name in names[:20])
        raise DatasetError(
            f"{where}: no column {missing[0]!r} among {found}: the first row names the columns "
            f"{', '.join(_REQUIRED)}"
        )
    return {name: names.index(name) for name in known if name in names}


@dataclass
class _Rows:
    """Rows read so far."""

    values: list[float] = field(default_factory=list)
    is_bona_fide: list[bool] = field(default_factory=list)
    responded: list[bool] = field(default_factory=list)
    species: list[str] = field(default_factory=list)
    presentation: list[str] = field(default_factory=list)
    subject: list[str] = field(default_factory=list)
    domain: list[str] = field(default_factory=list)
    named_on_bona_fide: set[str] = field(default_factory=set)
    first_frame: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def add(self, row: dict[str, str], where: str) -> None:
        """Take one row's texts by column."""
        live = _flag(row["label"], "label", "1 for bona fide or 0 for an attack", where)
        responded = True
        if "responded" in row:
            responded = _flag(row["responded"], "responded", "1, or 0 for no response", where)
        self.values.append(_number(row["score"], where) if responded else math.nan)
        self.is_bona_fide.append(live)
        self.responded.append(responded)
        species = row["species"]
        if live:
            self.named_on_bona_fide.add(species)
        elif not species or species == BONA_FIDE_SPECIES:
            raise DatasetError(
                f"{where}: species {species!r} of an attack (label 0): expected its PAI species, "
                "such as print"
            )
        self.species.append(BONA_FIDE_SPECIES if live else species)
        for name in ("presentation", "subject", "domain"):
            if name in row and not row[name]:
                raise DatasetError(f"{where}: {name} is empty: name it or leave the column out")
        self.presentation.append(row.get("presentation", f"row {len(self.values)}"))
        self.subject.append(row.get("subject", self.presentation[-1]))
        self.domain.append(row.get("domain", NO_DOMAIN))
        self._require_agreement(where)

    def _require_agreement(self, where: str) -> None:
        """Refuse a frame that contradicts the first one of its presentation."""
        row = len(self.values) - 1
        name = self.presentation[row]
        first, there = self.first_frame.setdefault((self.domain[row], name), (row, where))
        for what, column in (
            (
                "label",
                [str(int(live)) for live in (self.is_bona_fide[first], self.is_bona_fide[row])],
            ),
            ("species", [self.species[first], self.species[row]]),
            ("subject", [self.subject[first], self.subject[row]]),
        ):
            if column[0] != column[1]:
                raise DatasetError(
                    f"{where}: {what} {column[1]!r} of presentation {name!r} was {column[0]!r} "
                    f"at {there}: frames of one presentation agree; name presentations apart"
                )

    def finish(self, path: Path, columns: frozenset[str]) -> ScoreFile:
        """Return the whole file's scores."""
        count = len(self.values)
        live = sum(self.is_bona_fide)
        if not live or live == count:
            absent = "attack (label 0)" if live else "bona fide (label 1)"
            raise DatasetError(f"{path}: no {absent} row among {count}: both classes are needed")
        answered = {
            live for live, heard in zip(self.is_bona_fide, self.responded, strict=True) if heard
        }
        if len(answered) < 2:
            absent = "attack (label 0)" if True in answered else "bona fide (label 1)"
            raise DatasetError(f"{path}: no {absent} row got a response: nothing can be measured")
        warnings = []
        if "presentation" not in columns:
            warnings.append(
                f"{path}: no column presentation: each row counts as a presentation, and bounds "
                "are too narrow if rows are frames of the same one"
            )
        if "subject" not in columns:
            warnings.append(
                f"{path}: no column subject: each presentation is resampled as if of another "
                "person, and intervals are too narrow if they are not"
            )
        doubtful = sorted(self.named_on_bona_fide.intersection(self._attacks()))
        if doubtful:
            warnings.append(
                f"{path}: species {doubtful[0]!r} stands on rows of both labels: label 1 is taken "
                "as bona fide"
            )
        return ScoreFile(
            path=path,
            scores=Scores(
                values=np.array(self.values),
                is_bona_fide=np.array(self.is_bona_fide),
                species=tuple(self.species),
                presentation=tuple(self.presentation),
                subject=tuple(self.subject),
                domain=tuple(self.domain),
                responded=np.array(self.responded),
            ),
            has_subjects="subject" in columns,
            warnings=tuple(warnings),
        )

    def _attacks(self) -> set[str]:
        return {s for s, live in zip(self.species, self.is_bona_fide, strict=True) if not live}


def _flag(text: str, column: str, expected: str, where: str) -> bool:
    if text not in _FLAGS:
        raise DatasetError(f"{where}: {column} {text!r}: expected {expected}")
    return _FLAGS[text]


def _number(text: str, where: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)  # Python also reads 1_000
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(
            f"{where}: score {text!r} is not a finite number: correct it, or mark the row as a "
            "non-response in a column responded (0)"
        )
    return value

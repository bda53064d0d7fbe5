"""Scores of a table whose columns and labels are known."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from fasdk.errors import DatasetError
from fasdk.lists.class_words import says_bona_fide
from fasdk.settings import take_choices
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES
from fasdk_calibration.metrics.curves import auc
from fasdk_calibration.metrics.score_columns import Columns, Role
from fasdk_calibration.metrics.score_labels import LabelReading
from fasdk_calibration.metrics.score_numbers import read_numbers
from fasdk_calibration.metrics.score_rows import Table
from fasdk_calibration.metrics.scores import Scores

NO_DOMAIN = "unknown"
POOLED_SPECIES = "attack"
_FLAGS = {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}
_GROUPS = (Role.PRESENTATION, Role.SUBJECT, Role.DOMAIN)


class HigherIs(str, Enum):
    """Class that a greater score speaks for."""

    LIVE = "live"
    ATTACK = "attack"


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """A score file's scores.

    Attributes:
        path: The file read.
        scores: Scores of the rows, in the file's order; negated where a greater one speaks for an
            attack, so that greater is more live.
        higher_is: Class that a greater score of the file speaks for.
        has_subjects: Whether it names subjects; else each presentation counts as a subject.
        read_as: What was read from the file, one phrase each: columns, labels of either class.
        warnings: Columns it lacks, and the consequence of each.
    """

    path: Path
    scores: Scores
    higher_is: HigherIs
    has_subjects: bool
    read_as: tuple[str, ...]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        """Take `higher_is` as its member."""
        take_choices(self, higher_is=HigherIs)

    def in_file_units(self, score: float) -> float:
        """Return a score or threshold as the file has it; the same call turns it back."""
        return score if self.higher_is is HigherIs.LIVE else 0.0 - score


@dataclass(frozen=True)
class LabeledTable:
    """A table with its columns and labels known.

    Attributes:
        table: Rows of the file.
        columns: Columns by meaning.
        labels: Labels of the rows.
        label_places: File and line of each row's label.
        notes: What was taken of the labels.
        higher_is: Class that a greater score speaks for, where the caller said so.
    """

    table: Table
    columns: Columns
    labels: LabelReading
    label_places: tuple[str, ...]
    notes: tuple[str, ...]
    higher_is: HigherIs | None

    def finish(self) -> ScoreFile:
        """Return the whole file's scores.

        Raises:
            DatasetError: A score or species is wrong, frames of one presentation disagree, a class
                is absent, or scores are lower for bona fide rows than for attacks.
        """
        table, live = self.table, self.labels.is_bona_fide
        responded = self._responded()
        species, said = self._species()
        groups = self._groups()
        self._require_agreement(groups, species)
        self._require_both_classes(responded)
        values, number_note = read_numbers(self._texts(Role.SCORE), responded, table.places)
        higher_is, direction = self._direction()
        sign = 1.0 if higher_is is HigherIs.LIVE else -1.0
        scores = Scores(
            values=sign * np.array(values) + 0.0,
            is_bona_fide=np.array(live),
            species=species,
            presentation=groups[Role.PRESENTATION],
            subject=groups[Role.SUBJECT],
            domain=groups[Role.DOMAIN],
            responded=np.array(responded),
        )
        self._require_order(scores, higher_is)
        read_as = [
            *table.notes,
            *self.columns.notes,
            *self.notes,
            self.labels.note,
            direction,
            number_note,
            _range_note(values),
        ]
        return ScoreFile(
            path=table.path,
            scores=scores,
            higher_is=higher_is,
            has_subjects=Role.SUBJECT in self.columns.index,
            read_as=tuple(note for note in read_as if note),
            warnings=tuple(self._warnings(said, species, values)),
        )

    def _name_of(self, role: Role) -> str:
        """Return the name of a meaning's column in the file."""
        return (
            role.value if self.table.names is None else self.table.names[self.columns.index[role]]
        )

    def _texts(self, role: Role) -> tuple[str, ...]:
        return self.table.column(self.columns.index[role])

    def _responded(self) -> list[bool]:
        if Role.RESPONDED not in self.columns.index:
            return [True] * len(self.table.rows)
        texts = self._texts(Role.RESPONDED)
        for text, place in zip(texts, self.table.places, strict=True):
            if text.lower() not in _FLAGS:
                raise DatasetError(f"{place}: responded {text!r}: expected 1, or 0 for no response")
        return [_FLAGS[text.lower()] for text in texts]

    def _species(self) -> tuple[tuple[str, ...], str]:
        """Return the species of each row, and a warning where the file names none."""
        rows = zip(self.labels.is_bona_fide, self.labels.species, strict=True)
        if Role.SPECIES not in self.columns.index:
            named = any(self.labels.species)
            warning = (
                f"{self.table.path}: no column species: attacks are pooled as one species "
                f"{POOLED_SPECIES!r}, and the worst species' APCER may be higher"
            )
            found = tuple(
                BONA_FIDE_SPECIES if live else name or POOLED_SPECIES for live, name in rows
            )
            return found, "" if named else warning
        texts = self._texts(Role.SPECIES)
        for text, live, place in zip(
            texts, self.labels.is_bona_fide, self.table.places, strict=True
        ):
            if live or (text and says_bona_fide(text) is not True and text != BONA_FIDE_SPECIES):
                continue
            raise DatasetError(
                f"{place}: species {text!r} of an attack (label "
                f"{self._label_at(place)}): expected its PAI species, such as print"
                f"{self._other_polarity()}"
            )
        found = tuple(
            BONA_FIDE_SPECIES if live else text
            for text, live in zip(texts, self.labels.is_bona_fide, strict=True)
        )
        return found, ""

    def _label_at(self, place: str) -> str:
        if Role.LABEL not in self.columns.index:
            return "attack"
        return self._texts(Role.LABEL)[self.table.places.index(place)]

    def _other_polarity(self) -> str:
        """Return the option to write where species stand on the rows taken as bona fide."""
        texts = self._texts(Role.SPECIES)
        of_live = [t for t, live in zip(texts, self.labels.is_bona_fide, strict=True) if live]
        named = [text for text in of_live if text and says_bona_fide(text) is None]
        if 2 * len(named) <= len(of_live) or not self.labels.attack:
            return ""
        return (
            f"; rows taken as bona fide name species such as {named[0]!r}: where labels are the "
            f"other way, --live-label {self.labels.attack[0]}"
        )

    def _groups(self) -> dict[Role, tuple[str, ...]]:
        """Return presentation, subject and domain of each row."""
        for role in _GROUPS:
            if role not in self.columns.index:
                continue
            for text, place in zip(self._texts(role), self.table.places, strict=True):
                if not text:
                    raise DatasetError(
                        f"{place}: {self._name_of(role)} is empty: name it or leave the column out"
                    )
        count = len(self.table.rows)
        found = {role: self._texts(role) for role in _GROUPS if role in self.columns.index}
        found.setdefault(Role.PRESENTATION, tuple(f"row {row}" for row in range(1, count + 1)))
        found.setdefault(Role.SUBJECT, found[Role.PRESENTATION])
        found.setdefault(Role.DOMAIN, (NO_DOMAIN,) * count)
        return found

    def _require_agreement(
        self, groups: dict[Role, tuple[str, ...]], species: tuple[str, ...]
    ) -> None:
        """Refuse a frame that contradicts the first one of its presentation."""
        has_label = Role.LABEL in self.columns.index
        flags = tuple("bona fide" if live else "attack" for live in self.labels.is_bona_fide)
        shown = self._texts(Role.LABEL) if has_label else flags
        first: dict[tuple[str, str], int] = {}
        keys = zip(groups[Role.DOMAIN], groups[Role.PRESENTATION], strict=True)
        for row, key in enumerate(keys):
            there = first.setdefault(key, row)
            for what, compared, texts in (
                ("label", flags, shown),
                ("species", species, species),
                ("subject", groups[Role.SUBJECT], groups[Role.SUBJECT]),
            ):
                if compared[row] != compared[there]:
                    raise DatasetError(
                        f"{self.table.places[row]}: {what} {texts[row]!r} of presentation "
                        f"{key[1]!r} was {texts[there]!r} at {self.table.places[there]}: frames "
                        "of one presentation agree; name presentations apart"
                    )

    def _require_both_classes(self, responded: Sequence[bool]) -> None:
        flags = self.labels.is_bona_fide
        for wanted, name in ((True, "bona fide (label 1)"), (False, "attack (label 0)")):
            if wanted not in flags:
                raise DatasetError(
                    f"{self.table.path}: no {name} row among {len(flags)}: both classes are needed"
                )
        answered = {live for live, flag in zip(flags, responded, strict=True) if flag}
        if len(answered) < 2:
            absent = "attack (label 0)" if True in answered else "bona fide (label 1)"
            raise DatasetError(
                f"{self.table.path}: no {absent} row got a response: nothing can be measured"
            )

    def _direction(self) -> tuple[HigherIs, str]:
        """Return the class a greater score speaks for, and how that is known."""
        if self.higher_is is not None:
            told = self.higher_is
            return told, f"a greater score is more {told.value}, as said"
        name = self._name_of(Role.SCORE)
        if says_bona_fide(name) is False:
            return HigherIs.ATTACK, f"a greater {name!r} is more attack, by its name"
        return HigherIs.LIVE, "a greater score is more live"

    def _require_order(self, scores: Scores, higher_is: HigherIs) -> None:
        """Refuse scores that rank attacks above bona fide rows, unless the caller said so."""
        if self.higher_is is not None:
            return
        told = scores.responded
        area = auc(scores.values[told], scores.is_bona_fide[told])
        if area >= 0.5:
            return
        other = HigherIs.ATTACK if higher_is is HigherIs.LIVE else HigherIs.LIVE
        label = ""
        if Role.LABEL in self.columns.index:
            label = (
                f", --live-label {_quoted(self.labels.attack[0])} where labels are the other way"
            )
        raise DatasetError(
            f"{self.table.path}: AUC {area:.4f} is below one half with {self.labels.note} and a "
            f"greater score as more {higher_is.value}: write --higher-is {other.value} where it is "
            f"more {other.value}{label}, or --higher-is {higher_is.value} to keep this reading"
        )

    def _warnings(
        self, species_warning: str, species: tuple[str, ...], values: Sequence[float]
    ) -> list[str]:
        path, index = self.table.path, self.columns.index
        found = [species_warning] if species_warning else []
        if Role.PRESENTATION not in index:
            found.append(
                f"{path}: no column presentation: each row counts as a presentation, and bounds "
                "are too narrow if rows are frames of the same one"
            )
        if Role.SUBJECT not in index:
            found.append(
                f"{path}: no column subject: each presentation is resampled as if of another "
                "person, and intervals are too narrow if they are not"
            )
        if Role.SPECIES in index:
            rows = zip(self._texts(Role.SPECIES), self.labels.is_bona_fide, strict=True)
            doubtful = sorted(
                {text for text, live in rows if live}
                & {s for s, live in zip(species, self.labels.is_bona_fide, strict=True) if not live}
            )
            if doubtful:
                found.append(
                    f"{path}: species {doubtful[0]!r} stands on rows of both labels: label "
                    f"{self.labels.live[0]} is taken as bona fide"
                )
        if Role.KEY in index and Role.PRESENTATION not in index:
            name, count = Counter(self._texts(Role.KEY)).most_common(1)[0]
            if count > 1:
                found.append(f"{path}: {name!r} stands on {count} rows, each counted by itself")
        if {value for value in values if not math.isnan(value)} <= {0.0, 1.0}:
            found.append(
                f"{path}: scores are 0 and 1 alone: they are decisions, and AUC and EER say "
                "little of them"
            )
        return found


def _range_note(values: Sequence[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    low, high = min(known), max(known)
    if low >= 0 and high <= 1:
        return ""
    return (
        f"scores run from {low:g} to {high:g}, percent or logits: their order counts, and a "
        "threshold is in these units"
    )


def _quoted(text: str) -> str:
    return f"'{text}'" if re.search(r"\s", text) else text

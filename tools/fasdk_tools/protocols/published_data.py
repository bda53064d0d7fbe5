"""Lists of the published data sets that some tables need, opened and checked against each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fasdk.errors import UsageError
from fasdk_calibration.benchmarks import (
    LETTERS,
    ListPart,
    PlannedTraining,
    Table,
    Target,
)
from fasdk_calibration.datasets import DatasetSource
from fasdk_calibration.datasets.overlap import require_none_shared, shared_subjects
from fasdk_calibration.datasets.published import PublishedList, open_published

_NEXT_LETTER = re.compile(r",(?=[A-Za-z]+=)")


def parse_data(texts: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each data set that `--data W=DIR,C=DIR` names.

    Raises:
        UsageError: A letter is unknown or given twice, or a folder is missing.
    """
    known = ", ".join(f"{letter} {name}" for letter, name in LETTERS.items())
    found: dict[str, Path] = {}
    for part in (part for text in texts for part in _NEXT_LETTER.split(text)):
        letter, equals, folder = part.partition("=")
        letter = letter.strip().upper()
        if letter not in LETTERS:
            raise UsageError(f"--data {part!r}: write LETTER=FOLDER, with a letter of {known}")
        if not equals or not folder:
            raise UsageError(f"--data {part!r} names no folder: write {letter}=FOLDER")
        if letter in found:
            raise UsageError(f"--data names {letter} twice: {found[letter]} and {folder}")
        found[letter] = Path(folder)
    return found


@dataclass(frozen=True)
class PublishedData:
    """The lists that some trainings and their tests need.

    Attributes:
        lists: Every list by its data set's letter and part.
        notes: Facts about them that a reader of the tables should know.
    """

    lists: Mapping[tuple[str, ListPart], PublishedList]
    notes: tuple[str, ...]

    def source(self, letters: Sequence[str], *parts: ListPart) -> DatasetSource:
        """Return some lists of some data sets as one data set."""
        chosen = self.chosen(letters, parts)
        return DatasetSource(
            tuple(each.path for each in chosen), tuple(each.dataset.root for each in chosen)
        )

    def chosen(self, letters: Sequence[str], parts: Sequence[ListPart]) -> list[PublishedList]:
        """Return some lists of some data sets."""
        return [self.lists[letter, part] for letter in letters for part in parts]

    def tests(self, target: Target) -> tuple[DatasetSource, ...]:
        """Return each list of a target as a data set of its own."""
        return self.source(target.letters, *target.parts).each()


def open_data(
    data: Mapping[str, Path],
    tables: Sequence[Table],
    trainings: Sequence[PlannedTraining],
    lists: Path | None = None,
) -> PublishedData:
    """Return the lists that trainings and tests need, after every check that needs no frame.

    Args:
        data: Folder of each data set, by letter.
        tables: Tables that were asked for.
        trainings: Their trainings.
        lists: Folder of the lists, or None for each data set's folder.

    Raises:
        UsageError: A data set that a table needs is not given.
        DatasetError: A list, root or frame is missing, or people are on both sides of a test.
    """
    for table in tables:
        absent = [letter for letter in table.letters if letter not in data]
        if absent:
            named = ", ".join(f"{letter} ({LETTERS[letter]})" for letter in absent)
            raise UsageError(
                f"{table.name} needs {named} too: add --data {absent[0]}=FOLDER, or leave "
                f"{table.name} out of --tables"
            )
    opened: dict[tuple[str, ListPart], PublishedList] = {}
    for letter, parts in _needed(trainings).items():
        found = open_published(letter, data[letter], [part.value for part in parts], lists)
        opened |= {(letter, part): found[part.value] for part in parts}
    notes = [f"{each.name}: {note}" for each in opened.values() for note in each.dataset.notes]
    published = PublishedData(opened, ())
    for training in trainings:
        for test in training.tests:
            notes += _check_people(published, training, test.target)
    return PublishedData(opened, tuple(dict.fromkeys(notes)))


def _needed(trainings: Sequence[PlannedTraining]) -> dict[str, tuple[ListPart, ...]]:
    needed: dict[str, set[ListPart]] = {}
    for training in trainings:
        for letter in training.sources:
            needed.setdefault(letter, set()).update((ListPart.TRAIN, ListPart.DEVELOPMENT))
        for test in training.tests:
            for letter in test.target.letters:
                needed.setdefault(letter, set()).update(test.target.parts)
    return {
        letter: tuple(part for part in ListPart if part in needed[letter])
        for letter in LETTERS
        if letter in needed
    }


def _check_people(data: PublishedData, training: PlannedTraining, target: Target) -> list[str]:
    """Refuse people on both sides of a test; return a note where the published lists have some."""
    notes = []
    for test in data.chosen(target.letters, target.parts):
        for part in (ListPart.TRAIN, ListPart.DEVELOPMENT):
            for other in data.chosen(training.sources, (part,)):
                shared = shared_subjects(test.dataset.subjects, other.dataset.subjects)
                if shared and _is_published_so(test, other, part):
                    notes.append(
                        f"{test.name} and {other.name} share {', '.join(shared)}, as published"
                    )
                    continue
                require_none_shared(
                    shared,
                    name=test.name,
                    other=other.name,
                    fix=f"{training.name}->{target.name} would be tested on people it has seen: "
                    "leave them out of one of the lists",
                )
    return notes


def _is_published_so(test: PublishedList, other: PublishedList, part: ListPart) -> bool:
    """Return whether two lists are of one data set, whose validation list only sets a threshold."""
    return part is ListPart.DEVELOPMENT and test.name[0] == other.name[0]

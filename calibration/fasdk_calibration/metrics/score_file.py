"""Files of scores of any system, one row a frame.

Columns: `score`, greater is more live; `label`, 1 bona fide and 0 attack; `species`, the PAI
species of an attack. Optional: `presentation`, rows that share it are frames of one presentation;
`subject`; `domain`; `responded`, 0 where the system gave no score; `path`. Other columns are left
alone. Other forms, names and labels that have one reading are read, and said in
`ScoreFile.read_as`; where two readings are left, the error names the option that decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fasdk.errors import DatasetError
from fasdk.lists.class_words import says_bona_fide
from fasdk.settings import take_choices
from fasdk_calibration.metrics.score_assembly import HigherIs, LabeledTable, ScoreFile
from fasdk_calibration.metrics.score_columns import (
    ColumnChoice,
    Columns,
    Role,
    find_columns,
    no_labels,
)
from fasdk_calibration.metrics.score_join import join_labels
from fasdk_calibration.metrics.score_labels import LabelReading, read_labels
from fasdk_calibration.metrics.score_rows import Table
from fasdk_calibration.metrics.score_table import read_table


@dataclass(frozen=True)
class ScoreFileOptions:
    """Readings of a score file that its content does not decide.

    Attributes:
        columns: Columns the caller names.
        live_labels: Labels that are bona fide, every other one being an attack; empty to read
            them.
        higher_is: Class that a greater score speaks for, or its name; None takes live, or attack
            where the column's name says so, and refuses an AUC below one half.
        labels: File of labels, for a score file without.

    Raises:
        UsageError: `higher_is` is no such class.
    """

    columns: ColumnChoice = field(default_factory=ColumnChoice)
    live_labels: tuple[str, ...] = ()
    higher_is: HigherIs | str | None = None
    labels: Path | None = None

    def __post_init__(self) -> None:
        """Take `higher_is` as its member."""
        take_choices(self, higher_is=HigherIs)


def read_scores(path: Path, options: ScoreFileOptions | None = None) -> ScoreFile:
    """Read a file of scores: delimited text, JSON, JSON Lines, .npy or .npz, compressed or not.

    Args:
        path: The file.
        options: Readings that its content does not decide.

    Raises:
        DatasetError: The file is unreadable, empty or not text; a column is missing, doubled or
            one of several; a row does not split into the first one's columns, or holds an unknown
            label, no number or no species; a class is absent; or scores are lower for bona fide
            rows than for attacks. File and line are named, and the option that decides.
    """
    options = options or ScoreFileOptions()
    path = Path(path)
    table = _expanded(read_table(path))
    if not table.rows and table.names is None:
        raise DatasetError(f"{path} is empty: a first row with score, label, species is expected")
    columns = find_columns(table, options.columns)
    label_places = table.places
    if options.labels is not None:
        labels = _expanded(read_table(Path(options.labels)))
        of_labels = find_columns(labels, options.columns, score_needed=False)
        if Role.LABEL not in of_labels.index:
            of_labels = _sole_column(labels, of_labels)
        joined = join_labels(table, columns, labels, of_labels)
        table, columns, label_places = joined.table, joined.columns, joined.label_places
    labels_read, columns, notes = _labels(table, columns, label_places, options)
    higher_is = None if options.higher_is is None else HigherIs(options.higher_is)
    return LabeledTable(table, columns, labels_read, label_places, tuple(notes), higher_is).finish()


def _expanded(table: Table) -> Table:
    """Return a table whose second column is a label where it is laid out as Bob's score files.

    Rows are claimed identity, real identity or `attack/KIND`, path, score (bob.bio's four-column
    score format), without names.
    """
    if table.names is not None or table.width != 4 or not table.rows:
        return table
    claimed, real = table.column(0), table.column(1)
    is_attack = [name.split("/")[0] == "attack" for name in real]
    fits = all(
        attack or one == other for attack, one, other in zip(is_attack, claimed, real, strict=True)
    )
    if not (fits and any(is_attack)):
        return table
    kinds = [name.partition("/")[2] for name in real]
    if not all(kind for kind, attack in zip(kinds, is_attack, strict=True) if attack):
        kinds = ["attack"] * len(kinds)
    rows = tuple(
        (row[0], kind if attack else "bona fide", row[2], row[3])
        for row, kind, attack in zip(table.rows, kinds, is_attack, strict=True)
    )
    return replace(table, rows=rows, names=("subject", "label", "path", "score")).with_notes(
        "four columns of Bob: claimed identity, real identity or attack, path, score"
    )


def _sole_column(labels: Table, found: Columns) -> Columns:
    """Return a file of labels' columns, whose one column that is no path holds the labels."""
    others = [i for i in range(labels.width) if i not in found.index.values()]
    if len(others) != 1:
        raise no_labels(labels)
    return Columns({**found.index, Role.LABEL: others[0]}, found.notes)


def _labels(
    table: Table, columns: Columns, places: Sequence[str], options: ScoreFileOptions
) -> tuple[LabelReading, Columns, list[str]]:
    """Return the labels of a table: of their column, of the species, or of the folders."""
    notes: list[str] = []
    if Role.LABEL in columns.index:
        index = columns.index[Role.LABEL]
        texts, name = table.column(index), "label" if table.names is None else table.names[index]
    elif Role.SPECIES in columns.index:
        index = columns.index[Role.SPECIES]
        texts, name = table.column(index), "species"
        columns = Columns(
            {role: i for role, i in columns.index.items() if role is not Role.SPECIES},
            columns.notes,
        )
        notes.append("labels taken from the species")
    else:
        texts = _labels_of_paths(table, columns)
        name = "path"
        notes.append("labels taken from the folders in the paths")
    read = read_labels(texts, places, column=name, live_labels=options.live_labels)
    if Role.LABEL in columns.index and not read.given:
        _compare_with_paths(table, columns, read, places)
    return read, columns, notes


def _labels_of_paths(table: Table, columns: Columns) -> tuple[str, ...]:
    classes = _classes_of_paths(table, columns)
    if not classes or None in classes or len(set(classes)) < 2:
        raise no_labels(table)
    return tuple("live" if live else "attack" for live in classes)


def _classes_of_paths(table: Table, columns: Columns) -> list[bool | None]:
    """Return the class that each row's path speaks of, by the parts in which paths differ."""
    if Role.KEY not in columns.index:
        return []
    parts = [tuple(re.split(r"[/\\]", path)) for path in table.column(columns.index[Role.KEY])]
    common = {
        (place, part)
        for place in range(min(map(len, parts), default=0))
        for part in {row[place] for row in parts}
        if all(row[place] == part for row in parts)
    }
    found: list[bool | None] = []
    for row in parts:
        said = {says_bona_fide(part) for _, part in set(enumerate(row)) - common}
        said.discard(None)
        found.append(said.pop() if len(said) == 1 else None)
    return found


def _compare_with_paths(
    table: Table, columns: Columns, read: LabelReading, places: Sequence[str]
) -> None:
    """Refuse labels that the folders of most rows contradict."""
    rows = [
        (row, live)
        for row, live in enumerate(_classes_of_paths(table, columns))
        if live is not None
    ]
    against = [row for row, live in rows if live is not read.is_bona_fide[row]]
    if 2 * len(against) > len(rows):
        row = against[0]
        raise DatasetError(
            f"{places[row]}: {read.note}, but the path "
            f"{table.rows[row][columns.index[Role.KEY]]!r} says otherwise, as {len(against)} of "
            f"{len(rows)} paths do: say which label is bona fide, --live-label {read.attack[0]} "
            f"or --live-label {read.live[0]}, and --higher-is attack where a greater score is one's"
        )

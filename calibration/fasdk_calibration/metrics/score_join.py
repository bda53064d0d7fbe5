"""Labels of a second file, joined to the rows of a score file by path or by order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk_calibration.metrics.score_columns import Columns, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk_calibration.metrics.score_rows import Table


@dataclass(frozen=True)
class Joined:
    """A score file's rows with the columns of its labels.

    Attributes:
        table: Rows with the labels' columns behind the scores' own.
        columns: Columns by meaning.
        label_places: File and line of each row's label.
    """

    table: Table
    columns: Columns
    label_places: tuple[str, ...]


def join_labels(scores: Table, found: Columns, labels: Table, of_labels: Columns) -> Joined:
    """Return the rows of a score file, each with its row of the file of labels.

    Rows are matched by path; where not all are, by the names of the files if each is unique; and by
    order where either file names none.

    Raises:
        DatasetError: A score has no label or a label no score, a path stands twice among labels
            or has a label in both files, or the files have different numbers of rows.
    """
    if Role.LABEL in found.index:
        column = scores.label_of(found.index[Role.LABEL])
        raise DatasetError(
            f"{scores.names_place}: labels stand in column {column} and in {labels.path}: give one "
            "of them, without --labels or without that column"
        )
    if Role.KEY in found.index and Role.KEY in of_labels.index:
        order, note = _by_path(scores, found.index[Role.KEY], labels, of_labels.index[Role.KEY])
    else:
        if len(scores.rows) != len(labels.rows):
            raise DatasetError(
                f"{labels.path} has {len(labels.rows)} labels and {scores.path} "
                f"{len(scores.rows)} scores, and not both name files: add a column path to both, "
                "or give each score one label, in the same order"
            )
        order = list(range(len(labels.rows)))
        note = "labels taken in the order of the scores, as not both files name paths"
    names = None
    if scores.names is not None or labels.names is not None:
        own = scores.names or tuple(f"column {i + 1}" for i in range(scores.width))
        names = own + (labels.names or tuple(f"labels {i + 1}" for i in range(labels.width)))
    taken = {role: i for role, i in of_labels.index.items() if role not in {Role.KEY, Role.SCORE}}
    index = dict(found.index) | {role: i + scores.width for role, i in taken.items()}
    table = replace(
        scores,
        names=names,
        rows=tuple(row + labels.rows[i] for row, i in zip(scores.rows, order, strict=True)),
        notes=(*scores.notes, *(f"labels: {text}" for text in labels.notes), note),
    )
    return Joined(
        table=table,
        columns=Columns(index, (*found.notes, *(f"labels: {text}" for text in of_labels.notes))),
        label_places=tuple(labels.places[i] for i in order),
    )


def _by_path(scores: Table, score_key: int, labels: Table, label_key: int) -> tuple[list[int], str]:
    """Return the label's row of each score's row."""
    wanted, known = scores.column(score_key), labels.column(label_key)
    spellings: tuple[tuple[Callable[[str], str], str], ...] = (
        (_slashes, "labels joined by path"),
        (_name, "labels joined by file name, as paths differ"),
        (_stem, "labels joined by file name without its ending, as paths differ"),
    )
    for spell, note in spellings:
        row_of = {spell(path): row for row, path in enumerate(known)}
        unique = len(row_of) == len(known)
        if spell is _slashes and not unique:
            path, _ = Counter(map(spell, known)).most_common(1)[0]
            rows = [i for i, other in enumerate(known) if spell(other) == path]
            raise DatasetError(
                f"{labels.places[rows[1]]}: {path!r} has a label at {labels.places[rows[0]]} "
                "already: name each file once"
            )
        names = [spell(path) for path in wanted]
        if unique and all(name in row_of for name in names):
            _require_scores(names, row_of, labels, scores)
            return [row_of[name] for name in names], note
    row_of = {_slashes(path): row for row, path in enumerate(known)}
    first = next(i for i, path in enumerate(wanted) if _slashes(path) not in row_of)
    raise DatasetError(
        f"{scores.places[first]}: {wanted[first]!r} has no label in {labels.path}, which names "
        f"files such as {known[0]!r}: add it there, or write the paths alike"
    )


def _require_scores(
    names: Sequence[str], row_of: dict[str, int], labels: Table, scores: Table
) -> None:
    given = set(names)
    silent = [row for name, row in row_of.items() if name not in given]
    if silent:
        raise DatasetError(
            f"{labels.places[silent[0]]}: {len(silent)} labels, such as this, have no score in "
            f"{scores.path}: take them out, or add their rows there with a column responded (0)"
        )


def _slashes(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _name(path: str) -> str:
    return PurePosixPath(_slashes(path)).name


def _stem(path: str) -> str:
    return PurePosixPath(_slashes(path)).stem

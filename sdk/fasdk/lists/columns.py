"""Meaning of a list's columns, by their names or by what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.lists.boxes import named_form
from fasdk.lists.options import FaceForm
from fasdk.lists.words import (
    ONE_FRAME_COLUMNS,
    PATH_COLUMNS,
    Column,
    column_of,
    column_of_modality,
    hinted_modality,
    is_frame_path,
    is_label,
    is_number,
    modality_of,
    normal_word,
)

_HINTING = 500  # paths of a column that are asked for its modality; every other is held against it


@dataclass(frozen=True)
class RawRow:
    """A row before its paths and box are read.

    Attributes:
        line: Number of the line it begins in, from 1.
        values: Values by the columns' names.
    """

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """Meaning of a list's columns.

    Attributes:
        of: Column by the name that the rows have it under.
        box: Form of the box whose numbers have columns of their own, with their names, or None.
        notes: What was decided.
        by_paths: Whether columns of several modalities were told apart by their paths.
    """

    of: Mapping[str, Column]
    box: tuple[FaceForm | None, tuple[str, str, str, str]] | None = None
    notes: tuple[str, ...] = ()
    by_paths: bool = False


def require_different(header: Sequence[str], path: Path) -> None:
    """Check that no two columns have one name.

    Raises:
        DatasetError: Two have.
    """
    repeated = [name for name in header if name and list(header).count(name) > 1]
    if repeated:
        raise DatasetError(f"{path}:1: column {repeated[0]!r} is repeated: rename one of them")


def named_columns(names: Sequence[str], raw: Sequence[RawRow], path: Path) -> Columns:
    """Return the meaning of columns that have names; what is not known is left out, and said.

    Raises:
        DatasetError: Two columns mean the same, one is all but a known name, or none names frames.
    """
    of: dict[str, Column] = {}
    notes: list[str] = []
    exact = {c.value: c for c in Column}
    for name in names:  # the names that fasdk writes go before their synonyms
        if name.strip() in exact:
            of[name] = exact[name.strip()]
    box = None if Column.FACE in of.values() else named_form(names)
    parts = set() if box is None else set(box[1])
    paths: list[str] = []
    extra: list[str] = []
    for name in names:
        column = column_of(name)
        if name in of or name in parts or not name:
            continue
        if normal_word(name) in PATH_COLUMNS:
            paths.append(name)
        elif column is not None and column in of.values():
            other = next(n for n, c in of.items() if c is column)
            if other not in exact:
                raise DatasetError(
                    f"{path}: columns {other!r} and {name!r} both are {column.value}: call the "
                    f"right one {column.value}"
                )
            extra.append(name)
        elif column is not None:
            of[name] = column
        else:
            extra.append(name)
    _place_paths(paths, of, raw, notes, extra, path)
    _refuse_doubtful(extra, of, path)
    if not any(modality_of(column) for column in of.values()):
        raise DatasetError(
            f"{path}: no column names frames, only {', '.join(names)}: call them rgb, depth, ir"
        )
    renamed = [f"{n!r} as {c.value}" for n, c in of.items() if n not in exact and n not in paths]
    if renamed:
        notes.append(f"columns are read by other names: {', '.join(renamed)}")
    if extra:
        notes.append(f"columns that are not used: {', '.join(extra)}")
    return Columns(of, box, tuple(notes))


def _place_paths(
    paths: Sequence[str],
    of: dict[str, Column],
    raw: Sequence[RawRow],
    notes: list[str],
    extra: list[str],
    path: Path,
) -> None:
    """Give columns of paths that do not say their modality the one that the paths name."""
    for name in paths:
        values = [str(row.values[name]) for row in raw if name in row.values]
        modality = _hint(values) or Modality.RGB
        column = column_of_modality(modality)
        if column in of.values():
            if len(paths) > 1:
                raise DatasetError(
                    f"{path}: column {name!r} does not say its modality: call it rgb, depth or ir"
                )
            extra.append(name)
            continue
        of[name] = column
        notes.append(f"column {name!r} is taken for {modality.value}")


def _refuse_doubtful(extra: Sequence[str], of: Mapping[str, Column], path: Path) -> None:
    known = [column.value for column in Column if column not in of.values()]
    for name in extra:
        word = normal_word(name)
        if word in ONE_FRAME_COLUMNS and not all(c in of.values() for c in (Column.RGB, Column.IR)):
            raise DatasetError(
                f"{path}: column {name!r} says that a row holds one frame of a capture: write one "
                "row a capture, with columns rgb, depth and ir"
            )
        close = get_close_matches(word.replace(" ", "_"), known, 1, cutoff=0.8)
        if close:
            raise DatasetError(
                f"{path}:1: column {name!r} is unknown: is it {close[0]!r}? Call it so, or give it "
                f"another name; the columns are {', '.join(c.value for c in Column)}"
            )


def found_columns(header: Sequence[str], raw: Sequence[RawRow], path: Path) -> Columns:
    """Return the meaning of columns without names, by what every row has in them.

    Raises:
        DatasetError: A column can be nothing that is known, or the order of frames is open.
    """
    cells = {name: [str(row.values.get(name, "")) for row in raw] for name in header}
    frames = [name for name in header if all(map(is_frame_path, cells[name]))]
    others = [name for name in header if name not in frames]
    labels = [name for name in others if all(map(is_label, cells[name]))]
    numbers = [name for name in others if name not in labels and all(map(is_number, cells[name]))]
    if len(labels) > 1:
        # Numbers of a box may be 0, 1 or 2 in all rows: a label stands at an end.
        labels = [name for name in labels if name == header[-1]]
        numbers = [n for n in others if n not in labels and all(map(is_number, cells[n]))]
    unknown = [name for name in others if name not in labels and name not in numbers]
    if unknown or len(numbers) not in (0, 4) or len(labels) > 1:
        odd = (unknown or numbers or labels)[0]
        raise DatasetError(
            f"{path}:{raw[0].line}: {odd} ({cells[odd][0]!r}) has no name: write a header of "
            f"{len(header)} names as the first line, such as `rgb,depth,ir,label`, and put paths "
            "with spaces into double quotes"
        )
    of: dict[str, Column] = dict.fromkeys(labels, Column.LABEL)
    notes = _place_frames(frames, cells, of, path)
    a = tuple(numbers)
    box = (None, (a[0], a[1], a[2], a[3])) if len(a) == 4 else None
    return Columns(of, box, tuple(notes), by_paths=len(frames) > 1)


def _place_frames(
    frames: Sequence[str],
    cells: Mapping[str, Sequence[str]],
    of: dict[str, Column],
    path: Path,
) -> list[str]:
    hints = {name: _hint(cells[name]) for name in frames}
    if len(frames) == 1:
        modality = hints[frames[0]] or Modality.RGB
        of[frames[0]] = column_of_modality(modality)
        return [f"the one column of paths is taken for {modality.value}"]
    open_names = [name for name in frames if hints[name] is None]
    if len(open_names) == 1 and Modality.RGB not in hints.values():
        hints[open_names[0]] = Modality.RGB
    told = {name: modality for name, modality in hints.items() if modality is not None}
    if len(set(told.values())) < len(frames):
        raise DatasetError(
            f"{path}: its paths do not say which column is rgb, depth and ir: write a header as "
            "the first line, such as `rgb depth ir label`, in the order of the columns"
        )
    of |= {name: column_of_modality(modality) for name, modality in told.items()}
    order = ", ".join(modality.value for modality in told.values())
    return [f"columns of paths are {order}, as the paths say"]


def _hint(paths: Sequence[str]) -> Modality | None:
    """Return the modality that most paths of a column name, None where most name none."""
    counts = Counter(map(hinted_modality, paths[:_HINTING]))
    return counts.most_common(1)[0][0] if counts else None

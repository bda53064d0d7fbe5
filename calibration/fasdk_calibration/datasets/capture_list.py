"""Capture lists: JSON Lines or CSV as fasdk writes them, and the forms that others write.

JSON Lines, UTF-8, paths relative to the list's folder (or to the root that is given):

    {"id": "train-000001", "rgb": "train/000001.rgb.png", "depth": "train/000001.depth.png",
     "ir": "train/000001.ir.png", "face": [96, 40, 118, 150], "label": "attack",
     "species": "print", "subject": "s0042", "domain": "synthetic", "presentation": "train-000001"}

CSV, UTF-8, comma separated, the same names in the header, in any order:

    id,rgb,depth,ir,face,label,species,subject,domain,presentation
    train-000001,train/000001.rgb.png,,train/000001.ir.png,"96,40,118,150",attack,print,s0042,lab,v1

| column | holds |
| --- | --- |
| id | a name unique in the list |
| rgb, depth, ir | paths; left out or empty where the modality is absent, never all three |
| face | x, y, width, height in pixels of the first frame present (rgb, depth, ir); optional |
| landmarks | optional: five [x, y] in those pixels, ordered as in `Capture`; CSV: ten numbers |
| depth_face, ir_face | optional: the box in a frame that shows another view than the first |
| depth_landmarks, ir_landmarks | optional: landmarks in such a frame |
| label | "bona fide" or "attack" |
| species | PAI species, such as "print"; "bona fide" with a bona fide label |
| subject | who is seen; unique over all domains |
| domain | where it was captured, such as a data set or a site |
| presentation | captures of one presentation share this: error rates count presentations |
| present | optional check: the modalities the line holds, ["rgb", "ir"] or in CSV rgb+ir |
| depth_unit | optional: "millimeter" (the default) or "level" (8-bit, as drawn) |
| face_crop | optional: true where the frames are cut to the face |
| depth_scale_mm | optional: millimeters of one unit of the depth file, such as 0.25 |
| ir_shift | optional: bits that 16-bit infrared is shifted right by, such as 2 |

Other forms are read too, see `fasdk.lists`: what is then decided is said in `CaptureList.reading`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fasdk.atomic import atomic_write
from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.lists import FrameList, FrameRow, ListOptions, read_frame_list
from fasdk.lists.frame_list import raise_faults
from fasdk.lists.options import option_line
from fasdk.lists.words import Column
from fasdk_calibration.datasets.labels import (
    Polarity,
    names_no_attack,
    odd_label,
    polarity_of,
)
from fasdk_calibration.datasets.readers import DatasetReader, Location, reader_of
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    UNSPECIFIED_SPECIES,
    CaptureRecord,
    DepthUnit,
    Label,
)

_COLUMNS = tuple(CaptureRecord.model_fields)


@dataclass(frozen=True)
class CaptureList:
    """Labeled captures of a list.

    Attributes:
        records: Capture records in the order of the lines.
        root: Folder that their paths are relative to.
        lines: Number of each record's line, by its id.
        reading: What was decided about the list's form, each a line.
        notes: Facts the list does not state and a reader of results should know.
        is_bare: Whether it names frames as a published data set does, and a label alone.
        names_subjects: Whether it, or the data set's names, tell who is seen.
    """

    records: tuple[CaptureRecord, ...]
    root: Path
    lines: Mapping[str, int]
    reading: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_bare: bool = False
    names_subjects: bool = True


def read_list(path: Path) -> list[CaptureRecord]:
    """Return the records of a capture list, its paths relative to the list's own folder.

    Raises:
        DatasetError: As for `read_capture_list`.
    """
    return list(read_capture_list(path).records)


def read_capture_list(
    path: Path, root: Path | None = None, options: ListOptions | None = None
) -> CaptureList:
    """Return the labeled captures of a list in any of the forms that are known.

    A list that names captures as a known data set does, with a label and nothing else, gets
    species, subjects and presentations from that data set's reader.

    Args:
        path: Path of the list; its content decides its form.
        root: Folder that the paths are relative to; the list's own folder by default.
        options: What the list leaves open.

    Raises:
        DatasetError: The list is missing, empty or no text, repeats an id, lines are malformed or
            may be read in two ways; file, line and what to write are named.
    """
    path = Path(path)
    frames = read_frame_list(path, root, options)
    bare = all(set(row.values) <= {Column.LABEL} and row.face is None for row in frames.rows)
    kinds = _kinds(frames.rows, path) if bare else None
    if kinds is not None:
        given = root is not None or frames.options.root is not None
        return _of_data_sets(frames, kinds, frames.root if given else None)
    return _of_columns(frames)


def write_list(records: Sequence[CaptureRecord], path: Path, root: Path | None = None) -> None:
    """Write records as a capture list, line by line; a name ending in .csv is CSV.

    Args:
        records: Capture records, in the order of the lines.
        path: Path of the list.
        root: Folder that the records' paths start from, which the list's first line then states;
            None for the list's own folder.

    Raises:
        FasdkError: The disk is full or the folder not writable.
    """
    lines = _csv_lines(records) if path.suffix == ".csv" else map(json_line, records)
    with atomic_write(path) as file:
        for line in (*_root_line(root, path.parent), *lines):
            file.write(line.encode())


def _root_line(root: Path | None, folder: Path) -> tuple[str, ...]:
    if root is None:
        return ()
    # Without links: the folder above one is not the folder above what it leads to.
    stated = os.path.relpath(os.path.realpath(root), os.path.realpath(folder))
    return () if stated == os.curdir else (option_line(root=stated) + "\n",)


def json_line(record: CaptureRecord) -> str:
    """Return a record as a line of JSON; what is absent or usual is left out."""
    return record.model_dump_json(exclude_defaults=True) + "\n"


def _kinds(rows: Sequence[FrameRow], path: Path) -> list[type[DatasetReader]] | None:
    """Return the reader of every row, None where the first row is of no known data set."""

    def reader(row: FrameRow) -> type[DatasetReader] | None:
        try:
            return reader_of(next(iter(row.paths.values())))
        except DatasetError:
            return None

    found = [(row, reader(row)) for row in rows]
    if found[0][1] is None:
        return None
    faults = [
        f"{path}:{row.line}: {next(iter(row.paths.values()))} is no capture of a known data set, "
        "as the first row is: write lists of their own, or columns that say what each row shows"
        for row, kind in found
        if kind is None
    ]
    raise_faults(faults)
    return [kind for _, kind in found if kind is not None]


def _of_data_sets(
    frames: FrameList, kinds: Sequence[type[DatasetReader]], root: Path | None
) -> CaptureList:
    folder = frames.path.parent
    location = Location(root, (folder,) if root is None else (root, folder))
    _require_labels(frames)
    polarity = _polarity(frames, usual="1")
    readers = {kind: kind(location) for kind in dict.fromkeys(kinds)}
    seen: Counter[str] = Counter()
    records: list[CaptureRecord] = []
    faults: list[str] = []
    for row, kind in zip(frames.rows, kinds, strict=True):
        first = next(iter(row.paths.values()))
        seen[first] += 1
        identity = first if seen[first] == 1 else f"{first}#{seen[first]}"
        try:
            record = _located(row, identity, readers[kind], polarity)
        except (DatasetError, ValidationError) as error:
            faults.append(f"{frames.path}:{row.line}: {_message(error)}")
        else:
            records.append(record)
    raise_faults(faults)
    return CaptureList(
        tuple(records),
        frames.root,
        {record.id: row.line for record, row in zip(records, frames.rows, strict=True)},
        tuple(note for note in (*frames.notes, polarity.note) if note),
        tuple(note for reader in readers.values() for note in reader.notes),
        is_bare=True,
        names_subjects=all(reader.names_subjects for reader in readers.values()),
    )


def _located(
    row: FrameRow, identity: str, reader: DatasetReader, polarity: Polarity
) -> CaptureRecord:
    raw = row.values[Column.LABEL]
    label = polarity.of(raw)
    located = reader.locate(tuple(row.paths.values()), label)
    if located.presentation.label is not label:
        first = next(iter(row.paths.values()))
        live = "1-is-live" if polarity.labels.get("1") is Label.BONA_FIDE else "0-is-live"
        raise DatasetError(
            f"label {raw} is not what {first} says, {located.presentation.species}, "
            f"where {live}: give the list's own convention by --live-label or by the first line "
            "`# fasdk: live_label=0`"
        )
    return located.record(identity)


def _require_labels(frames: FrameList) -> None:
    bare = [row for row in frames.rows if Column.LABEL not in row.values]
    if len(bare) == len(frames.rows):
        raise DatasetError(
            f"{frames.path} has no labels: add a column label that holds bona fide or attack"
        )
    raise_faults([f"{frames.path}:{row.line}: label: is empty" for row in bare])


def _polarity(frames: FrameList, *, usual: str | None = None) -> Polarity:
    labels = [row.values[Column.LABEL] for row in frames.rows]
    species = [row.values.get(Column.SPECIES) for row in frames.rows]
    try:
        return polarity_of(
            labels,
            frames.names.get(Column.LABEL),
            frames.options.live_label,
            None if None in species else species,
            usual,
        )
    except DatasetError as error:
        line = frames.rows[odd_label(labels)].line
        raise DatasetError(f"{frames.path}:{line}: label: {error}") from error


def _of_columns(frames: FrameList) -> CaptureList:
    """Return the captures of a list that says itself what it knows of them."""
    given = {column for row in frames.rows for column in row.values} | set(frames.names)
    reading = list(frames.notes)
    if any(Column.LABEL in row.values for row in frames.rows):
        _require_labels(frames)
        polarity = _polarity(frames)
        labels = [polarity.of(row.values[Column.LABEL]) for row in frames.rows]
        reading += [polarity.note] if polarity.note else []
    else:
        labels = _labels_of_species(frames)
        reading.append("labels follow from the species: a bona fide one, or an attack's")
    records: list[CaptureRecord] = []
    lines: dict[str, int] = {}
    faults: list[str] = []
    seen: Counter[str] = Counter()
    for row, label in zip(frames.rows, labels, strict=True):
        where = f"{frames.path}:{row.line}"
        first = next(iter(row.paths.values()))
        seen[first] += 1
        identity = str(row.values.get(Column.ID, first))
        if Column.ID not in given and seen[first] > 1:
            identity = f"{first}#{seen[first]}"
        if identity in lines:
            faults.append(
                f"{where}: id {identity!r} appears twice, in line {lines[identity]} too: give each "
                "line an id of its own, or leave the column out"
            )
            continue
        try:
            records.append(_record(row, identity, label, given, frames.path))
        except (ValidationError, DatasetError) as error:
            faults.append(f"{where}: {_message(error)}")
            continue
        lines[identity] = row.line
    raise_faults(faults)
    return CaptureList(
        tuple(records),
        frames.root,
        lines,
        tuple(reading),
        tuple(_not_stated(given)),
        names_subjects=Column.SUBJECT in given,
    )


def _labels_of_species(frames: FrameList) -> list[Label]:
    species = [row.values.get(Column.SPECIES) for row in frames.rows]
    if None in species or not any(names_no_attack(s) for s in species):
        raise DatasetError(
            f"{frames.path} has no labels: add a column label that holds bona fide or attack"
        )
    return [Label.BONA_FIDE if names_no_attack(kind) else Label.ATTACK for kind in species]


def _record(
    row: FrameRow, identity: str, label: Label, given: set[Column], path: Path
) -> CaptureRecord:
    """Return a row's record; columns that the list lacks altogether get what is safe to assume.

    Raises:
        ValidationError: A value is missing or malformed, or values contradict.
    """
    name = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    assumed: dict[Column, str] = {
        Column.SUBJECT: identity,
        Column.DOMAIN: name,
        Column.PRESENTATION: identity,
    }
    is_live = label is Label.BONA_FIDE
    values: dict[str, Any] = {
        column.value: str(row.values[column]) if column in row.values else assumed[column]
        for column in assumed
        if column in row.values or column not in given
    }
    species = row.values.get(Column.SPECIES)
    if is_live and (species is None or names_no_attack(species)):
        species = BONA_FIDE_SPECIES
    elif species is None and Column.SPECIES not in given:
        species = UNSPECIFIED_SPECIES
    if species is not None:
        values["species"] = str(species)
    present = row.values.get(Column.PRESENT)
    if isinstance(present, str):
        present = present.replace(",", "+").split("+")
    return CaptureRecord(
        id=identity,
        rgb=row.paths.get(Modality.RGB),
        depth=row.paths.get(Modality.DEPTH),
        ir=row.paths.get(Modality.IR),
        face=row.face,
        landmarks=row.landmarks,
        depth_face=row.faces.get(Modality.DEPTH),
        ir_face=row.faces.get(Modality.IR),
        depth_landmarks=row.frame_landmarks.get(Modality.DEPTH),
        ir_landmarks=row.frame_landmarks.get(Modality.IR),
        label=label,
        depth_unit=DepthUnit(row.depth_unit),
        face_crop=row.face_crop,
        depth_scale_mm=row.units.depth_scale_mm,
        ir_shift=row.units.ir_shift,
        present=present,
        **values,
    )


def _not_stated(given: set[Column]) -> list[str]:
    """Return what a list without some columns leaves open, for a reader of results."""
    notes = []
    if Column.SPECIES not in given:
        notes.append("the list names no species: all its attacks count as one")
    if Column.SUBJECT not in given:
        notes.append(
            "the list names no subjects: each capture counts as a person of its own, so shared "
            "people are not found and intervals are too narrow where people recur"
        )
    if Column.PRESENTATION not in given:
        notes.append(
            "the list names no presentations: each capture counts as one, so bounds are too "
            "narrow where several captures are of one presentation"
        )
    return notes


def _message(error: ValidationError | DatasetError) -> str:
    if isinstance(error, DatasetError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    return f"{where}: {first['msg']}"


def _csv_lines(records: Sequence[CaptureRecord]) -> Iterator[str]:
    usual = {name: field.get_default() for name, field in CaptureRecord.model_fields.items()}
    written = [name for name in _COLUMNS if name != "present"]
    used = [name for name in written if any(getattr(r, name) != usual[name] for r in records)]
    yield ",".join(used) + "\n"
    for record in records:
        row = record.model_dump(mode="json", exclude_defaults=True)
        yield ",".join(_cell(row.get(name, "")) for name in used) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, list):
        flat = [n for part in value for n in (part if isinstance(part, list) else [part])]
        text = ",".join(map(str, flat))
    else:
        text = str(value)
    # Spaces around a cell and a # before it mean something to a reader, unless they are quoted.
    needs_quotes = text != text.strip() or text.startswith("#") or set(text) & set(",\"'\n\r")
    return '"' + text.replace('"', '""') + '"' if needs_quotes else text

"""Folders of published data sets with the benchmark's lists beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from fasdk.bounded_file import is_file, is_folder
from fasdk.errors import DatasetError
from fasdk_calibration.datasets.capture_list import json_line
from fasdk_calibration.datasets.dataset import Dataset, open_dataset

_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".csv")
_ABOVE = 3  # folders above the one given in which a list's paths may start


@dataclass(frozen=True)
class PublishedList:
    """One list of one data set, opened.

    Attributes:
        name: Name, such as W-train.
        path: File it was read from.
        dataset: Its captures by reference.
        digest: SHA-256 of what it says of each capture and of the sizes of the frames; their
            content is not read.
    """

    name: str
    path: Path
    dataset: Dataset = field(repr=False)
    digest: str


def open_published(
    letter: str, folder: Path, parts: Sequence[str], lists: Path | None = None
) -> dict[str, PublishedList]:
    """Return some lists of a data set, each with the root that its paths start from.

    Args:
        letter: Letter of the data set, such as W, which its lists' names begin with.
        folder: Folder of the frames: the root, or at most three folders below it, as
            `WMCA-Image/R_CDIT` is.
        parts: Parts of the data set, such as train, val and test.
        lists: Folder of the lists; None looks into `folder` and the one above it.

    Raises:
        DatasetError: A folder or list is not there, no root fits, a list is malformed, or frames
            are missing; the letter is named.
    """
    for name, place in (("--data", folder), ("--lists", lists)):
        if place is not None and not is_folder(place):
            raise DatasetError(f"{name} {letter}: {place} does not exist or is no folder")
    places = [folder, folder.absolute().parent] if lists is None else [lists]
    found = {}
    for part in parts:
        name = f"{letter}-{part}"
        path = _find_list(name, places)
        dataset = _rooted(name, path, folder)
        dataset.require_files()
        found[part] = PublishedList(name, path, dataset, _digest(dataset))
    return found


def _find_list(name: str, places: Sequence[Path]) -> Path:
    for place in places:
        for suffix in _SUFFIXES:
            path = place / f"{name}{suffix}"
            if is_file(path):
                return path
    raise DatasetError(
        f"there is no {name}.txt or {name}.txt.gz in {' or '.join(map(str, places))}: put the "
        "benchmark's lists there, or give their folder by --lists"
    )


def _rooted(name: str, path: Path, folder: Path) -> Dataset:
    """Return a list with the first root below which its first capture lies."""
    above = folder.absolute()
    for root in (above, *list(above.parents)[:_ABOVE]):
        dataset = open_dataset(path, root)
        if not dataset.missing_files(1):
            return dataset
    record = dataset.records[0]
    raise DatasetError(
        f"{name}: {record.path(record.modalities[0])} is neither below {folder} nor below the "
        f"{_ABOVE} folders above it: --data {name[0]}= is the folder of the frames in {path}"
    )


def _digest(dataset: Dataset) -> str:
    digest = sha256()
    for record in dataset.records:
        digest.update(json_line(record).encode())
        for path in dict.fromkeys(record.path(m) for m in record.modalities):
            digest.update(f"{(dataset.root / str(path)).stat().st_size} ".encode())
    return digest.hexdigest()

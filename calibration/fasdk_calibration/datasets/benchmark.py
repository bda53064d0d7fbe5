"""The lists of the MMDG benchmark and of Flex-Modal, read and written back byte for byte.

Three forms, told apart by what separates the columns and how many there are:

    WMCA-Image/R_CDIT/001_01_000_0_00/color/0012.jpg .../depth/0012.jpg .../ir/0012.jpg 1
    zd6c8787.npz<TAB>1
    CASIA_CeFA/Ethnicity/AF/AF-223/1_223_1_1_1/color/0001.jpg 0

The first is the benchmark's for WMCA, CASIA-SURF and CeFA and Flex-Modal's, mostly with CRLF and
without a newline at the end; the second the benchmark's for PADISI; the third the data sets' own
protocols, in which 0 is live. Frames are crops of the face, depth is 8-bit levels.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from fasdk.atomic import atomic_write
from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import padisi
from fasdk_calibration.datasets.names import (
    Presentation,
    presentation_of,
    record_of,
    split_frame,
)
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES, CaptureRecord, Label


class LabelConvention(str, Enum):
    """Which number a list writes for a bona fide presentation."""

    ONE_IS_LIVE = "1-is-live"  # the MMDG benchmark's and Flex-Modal's
    ZERO_IS_LIVE = "0-is-live"  # the protocols that come with CASIA-SURF and CeFA

    def label(self, number: str) -> Label:
        """Return what `number`, 0 or 1, stands for."""
        live = "1" if self is LabelConvention.ONE_IS_LIVE else "0"
        return Label.BONA_FIDE if number == live else Label.ATTACK


def parse_convention(live: str) -> LabelConvention:
    """Return the convention in which `live`, "0" or "1", is bona fide.

    Raises:
        DatasetError: It is neither.
    """
    for convention in LabelConvention:
        if live in {"0", "1"} and convention.label(live) is Label.BONA_FIDE:
            return convention
    raise DatasetError(f"live label {live!r} is neither 0 nor 1, the numbers such lists hold")


@dataclass(frozen=True)
class BenchmarkRow:
    """One line of a list, as it stands there.

    Attributes:
        paths: One (a capture's array, or its color frame) or three (color, depth, ir).
        number: "0" or "1"; what it means is the list's convention.
        separator: A space or a tab.
        ending: What ends the line, CR LF, LF or nothing.
    """

    paths: tuple[str, ...]
    number: str
    separator: str
    ending: str

    @property
    def text(self) -> str:
        """The line."""
        return self.separator.join((*self.paths, self.number)) + self.ending


@dataclass(frozen=True)
class BenchmarkList:
    """A whole list.

    Attributes:
        path: Where it was read from.
        rows: Its lines, repetitions and all.
    """

    path: Path
    rows: tuple[BenchmarkRow, ...]

    @property
    def text(self) -> str:
        """The list as it was read, to the byte."""
        return "".join(row.text for row in self.rows)


def read_benchmark_list(path: Path) -> BenchmarkList:
    """Return the lines of a list, plain or gzipped.

    Raises:
        DatasetError: The list is unreadable or empty, or a line is none of the three forms; the
            line is named.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"list {path} is not UTF-8 text: {error.reason}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"list {path} is no whole gzip file: {error}") from error
    except OSError as error:
        raise DatasetError(f"cannot read list {path}: {error.strerror}") from error
    lines = text.split("\n")
    rows = [
        _row(f"{path}:{number}", line, is_last=number == len(lines))
        for number, line in enumerate(lines, start=1)
        if line or number < len(lines)
    ]
    if not rows:
        raise DatasetError(f"list {path} is empty: one capture a line is expected")
    return BenchmarkList(path, tuple(rows))


def write_benchmark_list(benchmark: BenchmarkList, path: Path) -> None:
    """Write a list as it was read; gzipped if `path` ends so.

    Raises:
        FasdkError: The disk is full or the folder not writable.
    """
    data = benchmark.text.encode()
    with atomic_write(path) as file:
        file.write(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _row(where: str, line: str, *, is_last: bool) -> BenchmarkRow:
    body = line.removesuffix("\r")
    ending = line[len(body) :] + ("" if is_last else "\n")
    separator = "\t" if "\t" in body else " "
    *paths, number = body.split(separator)
    if len(paths) not in ((1,) if separator == "\t" else (1, 3)) or not all(
        path and not path.isspace() for path in paths
    ):
        raise DatasetError(
            f"{where}: {body[:200]!r} does not split into RGB DEPTH IR LABEL or COLOR LABEL with "
            "single spaces, or NPZ LABEL with a tab"
        )
    if number not in {"0", "1"}:
        raise DatasetError(f"{where}: label is {number!r}, expected 0 or 1")
    return BenchmarkRow(tuple(paths), number, separator, ending)


@dataclass(frozen=True)
class Described:
    """The records a source gives, and what it does not say.

    Attributes:
        records: One a row, in its order.
        notes: What anyone who uses the records should know.
    """

    records: tuple[CaptureRecord, ...]
    notes: tuple[str, ...] = ()


def describe_list(
    benchmark: BenchmarkList, root: Path | None, convention: LabelConvention
) -> Described:
    """Return a list's rows as records.

    Args:
        benchmark: The list.
        root: Where the frames lie; PADISI's are looked up there by trial. None where nobody asks.
        convention: What its numbers mean.

    Raises:
        DatasetError: A name or code is unknown, or a label contradicts its name; the line is named.
    """
    trials = _Trials(benchmark, root)
    seen: Counter[str] = Counter()
    records: list[CaptureRecord] = []
    for number, row in enumerate(benchmark.rows, start=1):
        seen[row.paths[0]] += 1
        records.append(
            _record(f"{benchmark.path}:{number}", row, trials, convention, seen[row.paths[0]])
        )
    return Described(tuple(records), trials.notes)


def _record(
    where: str, row: BenchmarkRow, trials: _Trials, convention: LabelConvention, time: int
) -> CaptureRecord:
    """Return a row as a record; `time` tells a repeated row from its first."""
    try:
        find = trials.find if row.paths[0].endswith(".npz") else _video
        paths, said = find(row, convention)
        if said.label is not convention.label(row.number):
            raise DatasetError(
                f"label {row.number} is not what {row.paths[0]} says, {said.species}, "
                f"where {convention.value}: give the list's own convention"
            )
        return record_of(row.paths[0] if time == 1 else f"{row.paths[0]}#{time}", paths, said)
    except ValidationError as error:
        raise DatasetError(f"{where}: {error.errors()[0]['msg']}") from error
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from error


def _video(
    row: BenchmarkRow, _convention: LabelConvention
) -> tuple[Mapping[Modality, str], Presentation]:
    """Return the frames of a row of WMCA, CASIA-SURF or CeFA and what their names say."""
    folder, _, name = split_frame(row.paths[0])
    if len(row.paths) == 1:
        depth, infrared = (f"{folder}/{m.value}/{name}" for m in (Modality.DEPTH, Modality.IR))
        paths = dict(zip(Modality, (row.paths[0], depth, infrared), strict=True))
    else:
        paths = dict(zip(Modality, row.paths, strict=True))
    for expected, path in paths.items():
        other_folder, modality, _ = split_frame(path)
        if modality is not expected or other_folder != folder:
            raise DatasetError(
                f"{path} stands in the column of {expected.value} of {folder}, whose frames it is "
                "not of"
            )
    return paths, presentation_of(folder)


class _Trials:
    """PADISI's rows: where each trial lies and what the ground truth says.

    Nothing is looked up for a list without such rows.
    """

    def __init__(self, benchmark: BenchmarkList, root: Path | None) -> None:
        self._is_needed = any(row.paths[0].endswith(".npz") for row in benchmark.rows)
        self._places: Mapping[str, Mapping[Modality, str]] = {}
        self._truth: Mapping[str, padisi.Trial] | None = None
        if self._is_needed:
            if root is not None:
                self._places = padisi.locate_trials(root)
            truth = padisi.find_ground_truth(
                *([] if root is None else [root]), benchmark.path.parent
            )
            self._truth = None if truth is None else padisi.read_ground_truth(truth)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the list leaves open."""
        if not self._is_needed or self._truth is not None:
            return ()
        return (
            "PADISI's lists name neither species nor subjects: put "
            f"{padisi.GROUND_TRUTH_FILE} into the root or beside the list; until then all attacks "
            "count as one species and each capture as a subject of its own, so worst species, "
            "bootstrap bounds and shared subjects say too little",
        )

    def find(
        self, row: BenchmarkRow, convention: LabelConvention
    ) -> tuple[Mapping[Modality, str], Presentation]:
        """Return one trial's files and what is known of it."""
        if len(row.paths) != 1:
            raise DatasetError(
                f"{row.paths[0]} holds all modalities and stands beside other paths: expected "
                "NPZ LABEL"
            )
        trial = PurePosixPath(row.paths[0]).stem
        paths = self._places.get(trial, dict.fromkeys(Modality, row.paths[0]))
        if self._truth is None:
            label = convention.label(row.number)
            is_live = label is Label.BONA_FIDE
            species = BONA_FIDE_SPECIES if is_live else padisi.UNSPECIFIED_SPECIES
            subject = f"{padisi.PADISI}/{trial}"
        else:
            known = self._truth.get(trial)
            if known is None:
                raise DatasetError(f"trial {trial} is not in {padisi.GROUND_TRUTH_FILE}")
            label, species, subject = known.label, known.species, known.subject
        name = f"{padisi.PADISI}/{trial}"
        return paths, Presentation(padisi.PADISI, label, species, subject, name)

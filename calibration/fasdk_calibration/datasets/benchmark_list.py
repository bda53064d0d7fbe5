"""List format of the MMDG benchmark, of Flex-Modal and of the data sets' own protocols.

Lists are read and written back byte for byte. There are three forms, distinguished by the separator
and the number of columns:

    WMCA-Image/R_CDIT/001_01_000_0_00/color/0012.jpg .../depth/0012.jpg .../ir/0012.jpg 1
    zd6c8787.npz<TAB>1
    CASIA_CeFA/Ethnicity/AF/AF-223/1_223_1_1_1/color/0001.jpg 0

The first is the benchmark's for WMCA, CASIA-SURF and CeFA and Flex-Modal's, mostly with CRLF and
without a newline at the end; the second the benchmark's for PADISI; the third the data sets' own
protocols, in which 0 is live. Frames are crops of the face, depth is 8-bit levels.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fasdk.atomic import atomic_write
from fasdk.bounded_file import Compression, FileKind, read_bounded
from fasdk.errors import DatasetError
from fasdk_calibration.datasets.records import Label


class LabelConvention(str, Enum):
    """Number that a list writes for a bona fide presentation."""

    ONE_IS_LIVE = "1-is-live"  # the MMDG benchmark's and Flex-Modal's
    ZERO_IS_LIVE = "0-is-live"  # the protocols that come with CASIA-SURF and CeFA

    def label(self, number: str) -> Label:
        """Return the label that `number`, "0" or "1", stands for."""
        live = "1" if self is LabelConvention.ONE_IS_LIVE else "0"
        return Label.BONA_FIDE if number == live else Label.ATTACK


@dataclass(frozen=True)
class BenchmarkRow:
    """One line of a list.

    Attributes:
        paths: Paths of the frames: one (a file of all modalities, or the color frame) or three
            (color, depth, ir).
        number: Label as written, "0" or "1"; its meaning is the list's convention.
        separator: Column separator, a space or a tab.
        ending: Line ending: CR LF, LF or, in the last line, nothing.
    """

    paths: tuple[str, ...]
    number: str
    separator: str
    ending: str

    @property
    def text(self) -> str:
        """The line as it was read."""
        return self.separator.join((*self.paths, self.number)) + self.ending


@dataclass(frozen=True)
class BenchmarkList:
    """A whole list.

    Attributes:
        path: File it was read from.
        rows: Lines in their order; repeated lines are kept.
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
        data = read_bounded(path, FileKind.LIST)
        if path.suffix == ".gz":
            data = Compression.GZIP.unpack(data, FileKind.LIST.max_bytes)
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"list {path} is not UTF-8 text: {error.reason}") from error
    except ValueError as error:
        raise DatasetError(f"list {path} is no whole gzip file, or too large: {error}") from error
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

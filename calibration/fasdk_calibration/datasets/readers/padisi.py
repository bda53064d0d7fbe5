"""Reader of PADISI-Face (USC).

The MMDG benchmark names a capture `<trial>.npz`, the distribution names it
`ID_<transaction>_<trial>_<name>.npz`, and the benchmark's authors made folders of images of them,
`<trial>/{color,depth,ir}.jpg`. Species and subject stand in its ground truth file alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.capture import Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk.image_extent import MAX_DECODED_BYTES
from fasdk.numpy_file import bounded_zip, load_member
from fasdk_calibration.datasets.readers.base import (
    ArchiveFormat,
    DatasetReader,
    LocatedCapture,
    Location,
    Presentation,
)
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    UNSPECIFIED_SPECIES,
    CaptureRecord,
    Label,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUND_TRUTH_FILE = "padisi_USC_FACE_ground_truth.csv"

_NAME = "PADISI"
_BONA_FIDE_CODE = "m00000"
_SPECIES = {  # m5<code><species of that code>
    "01": "partial funny eyes",
    "02": "paper mask",
    "03": "mannequin",
    "04": "half mask",
    "05": "transparent mask",
    "06": "makeup",
    "07": "silicone mask",
    "08": "paper glasses",
    "09": "tattoo",
}
_CHANNELS = 22
_USED = 5  # blue, green, red, near infrared, depth; then thermal and more that no model here takes
_IMAGES = {Modality.RGB: "color.jpg", Modality.DEPTH: "depth.jpg", Modality.IR: "ir.jpg"}
_ARCHIVE_SUFFIX = ".npz"
_TRIAL = r"[0-9a-z][0-9a-f]{7}"
_ARRAY_NAME = re.compile(rf"(?:ID_[0-9a-zA-Z]+_)?(?P<trial>{_TRIAL})(?:_.+)?\.npz")


def species_of(code: str) -> str:
    """Return the PAI species of a ground truth code, m00000 or m5<code><species>.

    Raises:
        DatasetError: No such code is defined.
    """
    if code == _BONA_FIDE_CODE:
        return BONA_FIDE_SPECIES
    species = _SPECIES.get(code[2:4]) if re.fullmatch(r"m5\d{4}", code) else None
    if species is None:
        raise DatasetError(
            f"ground truth {code!r} is none of PADISI: expected {_BONA_FIDE_CODE} or "
            f"m5, one of {', '.join(_SPECIES)}, and two digits"
        )
    return species


def read_ground_truth(path: Path) -> dict[str, Presentation]:
    """Return the presentation of each trial in the ground truth file.

    Raises:
        DatasetError: The file is unreadable, lacks a column or holds an unknown code; the line is
            named.
    """
    presentations: dict[str, Presentation] = {}
    try:
        text = read_bounded(path, FileKind.LIST).decode("utf-8-sig")
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file)
            absent = {"trial_id", "ground_truth", "participant_id"} - set(reader.fieldnames or ())
            if absent:
                raise DatasetError(f"{path}:1: lacks column {', '.join(sorted(absent))}")
            for row in reader:
                if any(value is None for value in row.values()):
                    raise DatasetError(f"{path}:{reader.line_num}: has fewer cells than the header")
                try:
                    species = species_of(row["ground_truth"])
                except DatasetError as error:
                    raise DatasetError(f"{path}:{reader.line_num}: {error}") from error
                trial = row["trial_id"]
                presentations[trial] = Presentation.of(_NAME, species, row["participant_id"], trial)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV text: {error}") from error
    return presentations


def _find_ground_truth(folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        if (folder / GROUND_TRUTH_FILE).is_file():
            return folder / GROUND_TRUTH_FILE
    return None


def locate_trials(root: Path) -> dict[str, Mapping[Modality, str]]:
    """Return the files of each trial in a folder, in any of the three layouts.

    Returns:
        Path relative to `root` of each modality, by trial; an .npz file holds all modalities.

    Raises:
        DatasetError: Two files claim one trial, or the folder cannot be read.
    """
    found: dict[str, Mapping[Modality, str]] = {}
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise DatasetError(f"cannot read folder {root}: {error.strerror}") from error
    for entry in entries:
        name = _ARRAY_NAME.fullmatch(entry.name)
        if name is not None:
            trial, paths = name["trial"], dict.fromkeys(Modality, entry.name)
        elif re.fullmatch(_TRIAL, entry.name):
            trial = entry.name
            paths = {
                m: f"{trial}/{image}" for m, image in _IMAGES.items() if (entry / image).is_file()
            }
        else:
            continue
        if trial in found and paths:
            other = next(iter(found[trial].values()))
            raise DatasetError(f"{root}: {other} and {entry.name} are both trial {trial}")
        if paths:
            found[trial] = paths
    return found


def read_frames(path: Path) -> dict[Modality, NDArray[np.uint8]]:
    """Return a trial's frames in 8 bits, as the MMDG benchmark's authors keep them.

    They take ceil(255 x), then compress it as JPEG; without that loss a level may differ by a few.

    Returns:
        rgb uint8 [H, W, 3], red first; ir uint8 [H, W]; depth uint8 [H, W], levels without a unit.

    Raises:
        CaptureError: The file is missing or damaged, or its `data` is not a trial's array.
    """
    levels = np.ceil(_read_array(path) * 255).astype(np.uint8)
    return {
        Modality.RGB: np.ascontiguousarray(levels[2::-1].transpose(1, 2, 0)),
        Modality.IR: levels[3],
        Modality.DEPTH: levels[4],
    }


def _read_array(path: Path) -> NDArray[np.float32]:
    """Return float32 [5, H, W] in [0, 1]: blue, green, red, near infrared, depth."""
    try:
        with bounded_zip(read_bounded(path, FileKind.FRAME)) as archive:
            if "data.npy" not in archive.namelist():
                raise CaptureError(f"{path} holds no array called data")
            data = load_member(archive, "data.npy", MAX_DECODED_BYTES)
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CaptureError(f"{path} is no NumPy archive: {error}") from error
    shape_fits = data.ndim == 4 and data.shape[:2] == (1, _CHANNELS) and 0 not in data.shape
    if not shape_fits or data.dtype.kind != "f":
        raise CaptureError(
            f"{path}: data is {data.dtype} {list(data.shape)}, "
            f"expected float [1, {_CHANNELS}, H, W]"
        )
    used = data[0, :_USED]
    if not (np.isfinite(used).all() and used.min() >= 0 and used.max() <= 1):
        raise CaptureError(f"{path}: data leaves [0, 1]: PADISI scales every camera to that range")
    return used.astype(np.float32, copy=False)


class PadisiReader(DatasetReader):
    """Reader of PADISI-Face: a trial is a file of all modalities or a folder of images."""

    name = _NAME
    example = "zd6c8787.npz"
    archive = ArchiveFormat(_ARCHIVE_SUFFIX, read_frames)

    def __init__(self, location: Location) -> None:
        super().__init__(location)
        self._files = {} if location.root is None else locate_trials(location.root)
        path = _find_ground_truth(location.label_folders)
        self._presentations = None if path is None else read_ground_truth(path)

    @classmethod
    def owns(cls, path: str) -> bool:
        """Return whether a path is that of a trial's file."""
        return path.endswith(_ARCHIVE_SUFFIX)

    def locate(self, paths: Sequence[str], label: Label) -> LocatedCapture:
        """Return a trial's files and its ground truth, or the list's label where that is absent."""
        if len(paths) != 1:
            raise DatasetError(
                f"{paths[0]} holds all modalities and stands beside other paths: expected NPZ LABEL"
            )
        trial = PurePosixPath(paths[0]).stem
        files = self._files.get(trial, dict.fromkeys(Modality, paths[0]))
        if self._presentations is None:
            is_live = label is Label.BONA_FIDE
            species = BONA_FIDE_SPECIES if is_live else UNSPECIFIED_SPECIES
            return LocatedCapture(files, Presentation.of(_NAME, species, trial, trial))
        if trial not in self._presentations:
            raise DatasetError(f"trial {trial} is not in {GROUND_TRUTH_FILE}")
        return LocatedCapture(files, self._presentations[trial])

    def records(self) -> Iterator[CaptureRecord]:
        """Yield every trial that lies in the root."""
        if not self._files:
            return
        root = self.location.root
        if self._presentations is None:
            raise DatasetError(
                f"{root} holds PADISI captures without labels: put {GROUND_TRUTH_FILE} into it"
            )
        for trial, paths in sorted(self._files.items()):
            if trial not in self._presentations:
                raise DatasetError(f"{root}: trial {trial} is not in {GROUND_TRUTH_FILE}")
            yield LocatedCapture(paths, self._presentations[trial]).record(trial)

    @property
    def names_subjects(self) -> bool:
        """Whether the ground truth file, which alone names participants, is there."""
        return self._presentations is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts that are unknown without the ground truth file."""
        if self._presentations is not None:
            return ()
        return (
            "PADISI's lists name neither species nor subjects: put "
            f"{GROUND_TRUTH_FILE} into the root or beside the list; until then all attacks "
            "count as one species and each capture as a subject of its own, so worst species, "
            "bootstrap bounds and shared subjects are incomplete",
        )

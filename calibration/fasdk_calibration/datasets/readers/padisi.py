"""PADISI-Face: captures by trial, their ground truth, and the channels of a capture's array.

The benchmark names a capture `<trial>.npz`, the distribution names it
`ID_<transaction>_<trial>_<name>.npz`, and the benchmark's authors made folders of images of them,
`<trial>/{color,depth,ir}.jpg`. Species and subject stand in its ground truth file alone.
"""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES, Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADISI = "PADISI"
GROUND_TRUTH_FILE = "padisi_USC_FACE_ground_truth.csv"
UNSPECIFIED_SPECIES = "unspecified"

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
_TRIAL = r"[0-9a-z][0-9a-f]{7}"
_ARRAY_NAME = re.compile(rf"(?:ID_[0-9a-zA-Z]+_)?(?P<trial>{_TRIAL})(?:_.+)?\.npz")


@dataclass(frozen=True)
class Trial:
    """What the ground truth says of one capture.

    Attributes:
        label: Bona fide or attack.
        species: PAI species, by the code's first two digits.
        subject: The participant, with the data set's name before it.
    """

    label: Label
    species: str
    subject: str


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


def read_ground_truth(path: Path) -> dict[str, Trial]:
    """Return what PADISI's ground truth says, by trial.

    Raises:
        DatasetError: The file is unreadable, lacks a column or holds an unknown code; the line is
            named.
    """
    trials: dict[str, Trial] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
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
                label = Label.BONA_FIDE if species == BONA_FIDE_SPECIES else Label.ATTACK
                subject = f"{PADISI}/{row['participant_id']}"
                trials[row["trial_id"]] = Trial(label, species, subject)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV text: {error}") from error
    return trials


def find_ground_truth(*folders: Path) -> Path | None:
    """Return the ground truth file in the first of these folders that has it, or None."""
    for folder in folders:
        if (folder / GROUND_TRUTH_FILE).is_file():
            return folder / GROUND_TRUTH_FILE
    return None


def locate_trials(root: Path) -> dict[str, Mapping[Modality, str]]:
    """Return where each trial's modalities lie below a folder, in any of the three layouts.

    Returns:
        Paths relative to `root` by trial; an .npz file holds all modalities.

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


def read_array(path: Path) -> NDArray[np.float32]:
    """Return a capture's array.

    Returns:
        float32 [5, H, W] in [0, 1]: blue, green, red, near infrared, depth.

    Raises:
        CaptureError: The file is missing or damaged, or its `data` is not such an array.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data: NDArray[Any] = archive["data"]
    except KeyError as error:
        raise CaptureError(f"{path} holds no array called data") from error
    except FileNotFoundError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError) as error:
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


def frame_of(array: NDArray[np.float32], modality: Modality) -> NDArray[np.uint8]:
    """Return one modality of what `read_array` gave, in 8 bits as the benchmark's authors keep it.

    They take ceil(255 x), then compress it as JPEG; without that loss a level may differ by a few.

    Returns:
        rgb: uint8 [H, W, 3], red first. depth (levels, no unit) and ir: uint8 [H, W].
    """
    levels = np.ceil(array * 255).astype(np.uint8)
    if modality is Modality.RGB:
        return np.ascontiguousarray(levels[2::-1].transpose(1, 2, 0))
    return np.asarray(levels[3 if modality is Modality.IR else 4])

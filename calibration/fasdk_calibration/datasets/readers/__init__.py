"""The published data sets as they lie on a disk, without a list: every frame below a folder.

    WMCA        **/<client>_<session>_<presenter>_<type>_<PAI>/{color,depth,ir}/NNNN.jpg
    CASIA-SURF  {Training,Val,Testing}/{real_part,fake_part}/CLKJ_*/<clip>.rssdk/<as above>
                {real_part,fake_part}/{real,fake}_{train,val,test}_part/CLKJ_*/<clip>.rssdk/...
    CeFA        {CeFA-Race,Ethnicity}/{AF,CA,EA}/AF-<ID>[-<card>]/<video>/{color,profile,depth,ir}/
                {3D-Mask,Silicone-Mask}/<ID>/<video>/...
    PADISI      ID_<transaction>_<trial>_<name>.npz, <trial>.npz or <trial>/{color,depth,ir}.jpg

PADISI's labels come from its ground truth file, the others' from names alone. WMCA is distributed
as one HDF5 file a video: unpack it to the layout above first, as the benchmark's authors did.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import padisi
from fasdk_calibration.datasets.benchmark import Described
from fasdk_calibration.datasets.names import (
    MODALITY_FOLDERS,
    Presentation,
    presentation_of,
    record_of,
)
from fasdk_calibration.datasets.records import CaptureRecord

_IMAGES = {".jpg", ".jpeg", ".png"}


def describe_folder(root: Path) -> Described:
    """Return every capture that lies below a folder in one of the four data sets' layouts.

    Raises:
        DatasetError: The folder cannot be read, nothing in it is laid out so, or a video's name or
            code is unknown.
    """
    if not root.is_dir():
        raise DatasetError(f"cannot read folder {root}: it does not exist or is no folder")
    records = [record for folder in _video_folders(root) for record in _video(root, folder)]
    records += _trials(root)
    if not records:
        raise DatasetError(_nothing_found(root))
    partial = sum(len(record.modalities) < len(Modality) for record in records)
    notes = (
        (f"{partial} of {len(records)} captures lack a modality: no frame of that name is there",)
        if partial
        else ()
    )
    return Described(tuple(records), notes)


def _video_folders(root: Path) -> Iterator[PurePosixPath]:
    """Yield every folder that holds folders of frames, relative to the root, sorted."""
    for folder, inner, _ in os.walk(root):
        inner.sort()
        if set(inner) & set(MODALITY_FOLDERS):
            yield PurePosixPath(Path(folder).relative_to(root).as_posix())
            inner.clear()


def _video(root: Path, folder: PurePosixPath) -> Iterator[CaptureRecord]:
    # The root may itself be a part of what the name says, such as the folder of one subject.
    said = presentation_of((root.resolve() / folder).as_posix())
    frames: dict[str, dict[Modality, str]] = {}
    for name, modality in MODALITY_FOLDERS.items():
        inner = root / folder / name
        if inner.is_dir():
            for file in inner.iterdir():
                if file.suffix.lower() in _IMAGES:
                    frames.setdefault(file.stem, {})[modality] = str(folder / name / file.name)
    for stem in sorted(frames, key=lambda stem: (len(stem), stem)):
        yield record_of(str(folder / stem), frames[stem], said)


def _trials(root: Path) -> Iterator[CaptureRecord]:
    places = padisi.locate_trials(root)
    if not places:
        return
    file = padisi.find_ground_truth(root, root.parent)
    if file is None:
        raise DatasetError(
            f"{root} holds PADISI captures without labels: put {padisi.GROUND_TRUTH_FILE} into it"
        )
    truth = padisi.read_ground_truth(file)
    for trial, paths in sorted(places.items()):
        if trial not in truth:
            raise DatasetError(f"{root}: trial {trial} is not in {file}")
        known, name = truth[trial], f"{padisi.PADISI}/{trial}"
        said = Presentation(padisi.PADISI, known.label, known.species, known.subject, name)
        yield record_of(trial, paths, said)


def _nothing_found(root: Path) -> str:
    packed = next(root.rglob("*.hdf5"), None)
    if packed is not None:
        return (
            f"{packed} is WMCA's HDF5, which is not read here: unpack each video to "
            "<name>/{color,depth,ir}/NNNN.jpg and give that folder"
        )
    held = ", ".join(sorted(entry.name for entry in root.iterdir())[:10]) or "nothing"
    return (
        f"folder {root} holds no frames of WMCA, CASIA-SURF, CeFA or PADISI: found {held}; "
        "expected folders color, depth and ir below a video's name, or PADISI's .npz files"
    )

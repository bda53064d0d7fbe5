"""What the names of the published data sets' files say: label, species, subject, presentation.

WMCA, CASIA-SURF and CeFA keep one folder a video, `<video>/<modality>/<frame>.jpg`, and encode in
the folders' names who is seen and with which presentation attack instrument (PAI). The tables are
those of the data sets' own descriptions. PADISI-Face says it in a file of its own: `padisi.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    CaptureRecord,
    DepthUnit,
    Label,
)

WMCA, CEFA, CASIA_SURF = "WMCA", "CeFA", "CASIA-SURF"

# Folder of a modality's frames; the benchmark calls CeFA's color folder "profile".
MODALITY_FOLDERS = {
    "color": Modality.RGB,
    "profile": Modality.RGB,
    "depth": Modality.DEPTH,
    "ir": Modality.IR,
}


@dataclass(frozen=True)
class Presentation:
    """What the name of a video's folder says.

    Attributes:
        domain: The data set.
        label: Bona fide or attack.
        species: PAI species; "bona fide" for bona fide.
        subject: Who is seen, with the data set's name before it.
        name: The video, with the data set's name before it.
    """

    domain: str
    label: Label
    species: str
    subject: str
    name: str


def record_of(identity: str, paths: Mapping[Modality, str], said: Presentation) -> CaptureRecord:
    """Return one capture of a presentation; the data sets' frames are face crops, depth in levels.

    Args:
        identity: Unique in its list.
        paths: Of its frames; an absent modality has none.
        said: What its name says.

    Raises:
        ValidationError: No frame is named, or a path leaves the list's folder.
    """
    return CaptureRecord(
        id=identity,
        rgb=paths.get(Modality.RGB),
        depth=paths.get(Modality.DEPTH),
        ir=paths.get(Modality.IR),
        label=said.label,
        species=said.species,
        subject=said.subject,
        domain=said.domain,
        presentation=said.name,
        depth_unit=DepthUnit.LEVEL,
        face_crop=True,
    )


@lru_cache(maxsize=1024)  # the frames of a video stand together
def presentation_of(folder: str) -> Presentation:
    """Return what the path of a video's folder says.

    Args:
        folder: The folder that holds `color`, `depth` and `ir`, its parts split by slashes.

    Raises:
        DatasetError: The name is none of the three data sets', holds a code that the data set does
            not define, or contradicts the folders above it.
    """
    parts = tuple(folder.split("/"))
    for pattern, read in _READERS:
        found = pattern.search("/".join(parts[-3:]))
        if found is not None:
            return read(found, parts)
    raise DatasetError(
        f"{folder} is no video's name of WMCA (001_01_000_0_00), "
        "CASIA-SURF (CLKJ_AS0005/01_e_s.rssdk) or CeFA (AF-300/1_300_1_1_1, 3D-Mask/073/1_073_...)"
    )


def split_frame(path: str) -> tuple[str, Modality, str]:
    """Return one frame's video folder, modality and file name.

    Raises:
        DatasetError: The frame does not lie in a folder named after its modality.
    """
    *folder, inner, name = ("", "", *path.split("/"))
    modality = MODALITY_FOLDERS.get(inner)
    if modality is None:
        raise DatasetError(
            f"frame {path} lies in folder {inner!r}, expected one of {', '.join(MODALITY_FOLDERS)}"
        )
    return "/".join(folder[2:]), modality, name


# WMCA: <client>_<session>_<presenter>_<type>_<PAI>; Idiap's species by type and PAI.
_WMCA_SPECIES: dict[str, dict[int, tuple[int, ...]]] = {
    BONA_FIDE_SPECIES: {0: (0, 1, 2)},
    "glasses": {1: (1, 4, 5, 6, 7, 15, 16)},
    "rigid mask": {1: (2, 13, 14), 2: tuple(range(12, 18))},
    "fake head": {2: tuple(range(1, 8))},
    "paper mask": {2: tuple(range(8, 12))},
    "flexible mask": {2: (18, *range(75, 100))},
    "print": {3: (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14)},
    "replay": {3: (5, 10, 15), 4: tuple(range(1, 19))},
}
_WMCA_CODES = {
    (kind, instrument): species
    for species, codes in _WMCA_SPECIES.items()
    for kind, instruments in codes.items()
    for instrument in instruments
}


def _wmca(found: re.Match[str], _parts: tuple[str, ...]) -> Presentation:
    kind, instrument = found["kind"], found["instrument"]
    species = _WMCA_CODES.get((int(kind), int(instrument)))
    if species is None:
        raise _unknown(WMCA, found[0], f"type and PAI {kind}_{instrument}", "0_00 to 4_18")
    return _presentation(WMCA, species, found["client"], found[0])


# CASIA-SURF: which parts of a printed face are cut out, and whether the print is flat or curved.
_CASIA_SURF_SPECIES = {
    "real": BONA_FIDE_SPECIES,
    "01_e_s": "flat print without eyes",
    "02_e_b": "curved print without eyes",
    "03_en_s": "flat print without eyes and nose",
    "04_en_b": "curved print without eyes and nose",
    "05_enm_s": "flat print without eyes nose and mouth",
    "06_enm_b": "curved print without eyes nose and mouth",
}


def _casia_surf(found: re.Match[str], parts: tuple[str, ...]) -> Presentation:
    clip, subject = found["clip"], found["subject"]
    species = _CASIA_SURF_SPECIES.get(clip)
    if species is None:
        raise _unknown(CASIA_SURF, found[0], f"clip {clip}", ", ".join(_CASIA_SURF_SPECIES))
    for half, is_real in (("real_part", True), ("fake_part", False)):
        if half in parts and is_real != (species == BONA_FIDE_SPECIES):
            raise DatasetError(f"{CASIA_SURF} clip {clip} lies below {half}: {'/'.join(parts)}")
    return _presentation(CASIA_SURF, species, subject, f"{subject}/{clip}")


# CeFA: <race>_<subject>_<device>_<session>_<PAI>.
_CEFA_RACES = {"1": "AF", "2": "CA", "3": "EA"}
_CEFA_SPECIES = {"1": BONA_FIDE_SPECIES, "2": "cloth print", "3": "print", "4": "replay"}


def _cefa(found: re.Match[str], _parts: tuple[str, ...]) -> Presentation:
    video, race = found["video"], found["race"]
    species = _CEFA_SPECIES.get(found["instrument"])
    if species is None:
        raise _unknown(CEFA, video, f"PAI {found['instrument']}", "1 to 4")
    if _CEFA_RACES.get(race) != found["group"] or found["id"] != found["folder_id"]:
        raise DatasetError(
            f"{CEFA} video {video} lies in the folder of {found['group']}-{found['folder_id']}"
        )
    return _presentation(CEFA, species, f"{found['group']}-{found['id']}", video)


# CeFA's masks: <kind>_<subject>_<dress>_<glasses>_<device>_<session>_<light>.
_CEFA_MASKS = {"3D-Mask": ("1", "rigid mask"), "Silicone-Mask": ("2", "silicone mask")}


def _cefa_mask(found: re.Match[str], _parts: tuple[str, ...]) -> Presentation:
    video, folder = found["video"], found["kind_folder"]
    kind, species = _CEFA_MASKS[folder]
    if found["kind"] != kind or found["id"] != found["folder_id"]:
        raise DatasetError(f"{CEFA} video {video} lies in {folder}/{found['folder_id']}")
    return _presentation(CEFA, species, f"{folder}-{found['id']}", video)


_Reader = Callable[[re.Match[str], tuple[str, ...]], Presentation]
_READERS: tuple[tuple[re.Pattern[str], _Reader], ...] = (
    (
        re.compile(r"(?P<client>\d{3})_\d{2}_\d{3}_(?P<kind>\d)_(?P<instrument>\d{2})$"),
        _wmca,
    ),
    (re.compile(r"(?P<subject>CLKJ_[ABC]S\d{4})/(?P<clip>[^/]+)\.rssdk$"), _casia_surf),
    (
        re.compile(
            r"(?P<group>AF|CA|EA)-(?P<folder_id>\d{3})(-\d+)?/"
            r"(?P<video>(?P<race>\d)_(?P<id>\d{3})_\d_\d_(?P<instrument>\d))$"
        ),
        _cefa,
    ),
    (
        re.compile(
            r"(?P<kind_folder>3D-Mask|Silicone-Mask)/(?P<folder_id>\d{3})/"
            r"(?P<video>(?P<kind>\d)_(?P<id>\d{3})_\d_\d_\d_\d_\d)$"
        ),
        _cefa_mask,
    ),
)


def _presentation(domain: str, species: str, subject: str, video: str) -> Presentation:
    label = Label.BONA_FIDE if species == BONA_FIDE_SPECIES else Label.ATTACK
    return Presentation(domain, label, species, f"{domain}/{subject}", f"{domain}/{video}")


def _unknown(domain: str, name: str, found: str, expected: str) -> DatasetError:
    return DatasetError(
        f"{domain} video {name} has {found}, which {domain} does not define: {expected}"
    )

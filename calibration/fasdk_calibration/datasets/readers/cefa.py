"""Reader of CASIA-SURF CeFA (Cross-ethnicity Face Anti-spoofing).

    {CeFA-Race,Ethnicity}/{AF,CA,EA}/AF-<ID>[-<card>]/<video>/{color,profile,depth,ir}/NNNN.jpg
    {3D-Mask,Silicone-Mask}/<ID>/<video>/...

A video is named <race>_<subject>_<device>_<session>_<PAI>, and that of a mask
<kind>_<subject>_<dress>_<glasses>_<device>_<session>_<light>.
"""

from __future__ import annotations

import re

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.readers.base import FrameFolderReader, Presentation, unknown_code
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES

_NAME = "CeFA"
_RACES = {"1": "AF", "2": "CA", "3": "EA"}
_SPECIES = {"1": BONA_FIDE_SPECIES, "2": "cloth print", "3": "print", "4": "replay"}
_MASKS = {"3D-Mask": ("1", "rigid mask"), "Silicone-Mask": ("2", "silicone mask")}


def _parse(found: re.Match[str], _parts: tuple[str, ...]) -> Presentation:
    video, race = found["video"], found["race"]
    species = _SPECIES.get(found["instrument"])
    if species is None:
        raise unknown_code(_NAME, video, f"PAI {found['instrument']}", "1 to 4")
    if _RACES.get(race) != found["group"] or found["id"] != found["folder_id"]:
        raise DatasetError(
            f"{_NAME} video {video} lies in the folder of {found['group']}-{found['folder_id']}"
        )
    return Presentation.of(_NAME, species, f"{found['group']}-{found['id']}", video)


def _parse_mask(found: re.Match[str], _parts: tuple[str, ...]) -> Presentation:
    video, folder = found["video"], found["kind_folder"]
    kind, species = _MASKS[folder]
    if found["kind"] != kind or found["id"] != found["folder_id"]:
        raise DatasetError(f"{_NAME} video {video} lies in {folder}/{found['folder_id']}")
    return Presentation.of(_NAME, species, f"{folder}-{found['id']}", video)


class CefaReader(FrameFolderReader):
    """Reader of CeFA, in both layouts it is distributed in."""

    name = _NAME
    example = "AF-300/1_300_1_1_1/color/0026.jpg or 3D-Mask/073/1_073_1_0_2_1_2/color/0001.jpg"
    patterns = (
        (
            re.compile(
                r"(?P<group>AF|CA|EA)-(?P<folder_id>\d{3})(-\d+)?/"
                r"(?P<video>(?P<race>\d)_(?P<id>\d{3})_\d_\d_(?P<instrument>\d))$"
            ),
            _parse,
        ),
        (
            re.compile(
                r"(?P<kind_folder>3D-Mask|Silicone-Mask)/(?P<folder_id>\d{3})/"
                r"(?P<video>(?P<kind>\d)_(?P<id>\d{3})_\d_\d_\d_\d_\d)$"
            ),
            _parse_mask,
        ),
    )

"""Reader of CASIA-SURF.

    {Training,Val,Testing}/{real_part,fake_part}/CLKJ_*/<clip>.rssdk/{color,depth,ir}/NNNN.jpg
    {real_part,fake_part}/{real,fake}_{train,val,test}_part/CLKJ_*/<clip>.rssdk/...

A clip's name says which parts of a printed face are cut out, and if the print is flat or curved.
"""

from __future__ import annotations

import re

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.readers.base import FrameFolderReader, Presentation, unknown_code
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES

_NAME = "CASIA-SURF"
_SPECIES = {
    "real": BONA_FIDE_SPECIES,
    "01_e_s": "flat print without eyes",
    "02_e_b": "curved print without eyes",
    "03_en_s": "flat print without eyes and nose",
    "04_en_b": "curved print without eyes and nose",
    "05_enm_s": "flat print without eyes nose and mouth",
    "06_enm_b": "curved print without eyes nose and mouth",
}


def _parse(found: re.Match[str], parts: tuple[str, ...]) -> Presentation:
    clip, subject = found["clip"], found["subject"]
    species = _SPECIES.get(clip)
    if species is None:
        raise unknown_code(_NAME, found[0], f"clip {clip}", ", ".join(_SPECIES))
    for half, is_real in (("real_part", True), ("fake_part", False)):
        if half in parts and is_real != (species == BONA_FIDE_SPECIES):
            raise DatasetError(f"{_NAME} clip {clip} lies below {half}: {'/'.join(parts)}")
    return Presentation.of(_NAME, species, subject, f"{subject}/{clip}")


class CasiaSurfReader(FrameFolderReader):
    """Reader of CASIA-SURF, in both layouts it is distributed in."""

    name = _NAME
    example = "CLKJ_AS0005/01_e_s.rssdk/color/121.jpg"
    patterns = ((re.compile(r"(?P<subject>CLKJ_[ABC]S\d{4})/(?P<clip>[^/]+)\.rssdk$"), _parse),)

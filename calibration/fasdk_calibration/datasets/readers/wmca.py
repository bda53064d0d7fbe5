"""Reader of WMCA (Idiap, Wide Multi-Channel presentation Attack).

    **/<client>_<session>_<presenter>_<type>_<PAI>/{color,depth,ir}/NNNN.jpg

WMCA is distributed as HDF5 files: `fasdk dataset unpack wmca` writes this layout, which is that of
the MMDG benchmark. Species follow the table of types and PAI in the data set's description.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from fasdk_calibration.datasets.readers.base import FrameFolderReader, Presentation, unknown_code
from fasdk_calibration.datasets.records import BONA_FIDE_SPECIES

_NAME = "WMCA"
# PAI numbers by type of attack, by species.
_CODES_OF_SPECIES: dict[str, dict[int, tuple[int, ...]]] = {
    BONA_FIDE_SPECIES: {0: (0, 1, 2)},
    "glasses": {1: (1, 4, 5, 6, 7, 15, 16)},
    "rigid mask": {1: (2, 13, 14), 2: tuple(range(12, 18))},
    "fake head": {2: tuple(range(1, 8))},
    "paper mask": {2: tuple(range(8, 12))},
    "flexible mask": {2: (18, *range(75, 100))},
    "print": {3: (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14)},
    "replay": {3: (5, 10, 15), 4: tuple(range(1, 19))},
}
_SPECIES = {
    (kind, instrument): species
    for species, codes in _CODES_OF_SPECIES.items()
    for kind, instruments in codes.items()
    for instrument in instruments
}


def _parse(found: re.Match[str], _parts: tuple[str, ...]) -> Presentation:
    kind, instrument = found["kind"], found["instrument"]
    species = _SPECIES.get((int(kind), int(instrument)))
    if species is None:
        raise unknown_code(_NAME, found[0], f"type and PAI {kind}_{instrument}", "0_00 to 4_18")
    return Presentation.of(_NAME, species, found["client"], found[0])


class WmcaReader(FrameFolderReader):
    """Reader of WMCA, unpacked to image files."""

    name = _NAME
    example = "001_01_000_0_00/color/0012.jpg"
    patterns = (
        (
            re.compile(r"(?P<client>\d{3})_\d{2}_\d{3}_(?P<kind>\d)_(?P<instrument>\d{2})$"),
            _parse,
        ),
    )

    @classmethod
    def packed_file_hint(cls, root: Path) -> str | None:
        """Return how to unpack the distribution's HDF5 files, None where there are none."""
        packed = next(root.rglob("*.hdf5"), None)
        if packed is None:
            return None
        return (
            f"{packed} is WMCA's HDF5, which is not read here: run `fasdk dataset unpack wmca "
            f"{shlex.quote(str(root))} -o FRAMES` and give FRAMES"
        )

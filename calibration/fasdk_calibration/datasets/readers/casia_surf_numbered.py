"""Reader of the numbered halves of CASIA-SURF, whose labels stand in its lists alone.

    {Val,Testing}/0000/000000-{color,depth,ir}.jpg

The lists that come with the data set name the three frames of a capture and, for a half whose
labels are public, 1 for a real face and 0 for an attack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets.readers.base import (
    DatasetReader,
    LocatedCapture,
    Presentation,
)
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    UNSPECIFIED_SPECIES,
    CaptureRecord,
    Label,
)

_DOMAIN = "CASIA-SURF"
_KINDS = {"color": Modality.RGB, "depth": Modality.DEPTH, "ir": Modality.IR}
_FRAME = re.compile(
    r"(?:^|/)(?P<capture>(?:Val|Testing)/\d{4}/\d{6})-(?P<modality>color|depth|ir)\.(jpg|jpeg|png)$"
)


class CasiaSurfNumberedReader(DatasetReader):
    """Reader of CASIA-SURF's validation and test halves under numbers instead of names."""

    name: ClassVar[str] = "CASIA-SURF numbered"
    example: ClassVar[str] = "Val/0000/000000-color.jpg"

    @classmethod
    def owns(cls, path: str) -> bool:
        """Return whether a path is that of a numbered frame."""
        return _FRAME.search(path) is not None

    def locate(self, paths: Sequence[str], label: Label) -> LocatedCapture:
        """Return the frames of a row; its label is the list's."""
        frames: dict[Modality, str] = {}
        names: set[str] = set()
        for path in paths:
            found = _FRAME.search(path)
            if found is None:
                raise DatasetError(f"{path} is no frame of {self.name}, such as {self.example}")
            frames[_KINDS[found["modality"]]] = path
            names.add(found["capture"])
        if len(names) > 1 or len(frames) < len(paths):
            raise DatasetError(f"{', '.join(paths)} are not the frames of one capture")
        name = names.pop()
        if len(paths) == 1:
            stem = paths[0].rpartition("-")[0]
            suffix = paths[0].rpartition(".")[2]
            frames = {m: f"{stem}-{kind}.{suffix}" for kind, m in _KINDS.items()}
        species = BONA_FIDE_SPECIES if label is Label.BONA_FIDE else UNSPECIFIED_SPECIES
        return LocatedCapture(frames, Presentation.of(_DOMAIN, species, name, name))

    def records(self) -> Iterator[CaptureRecord]:
        """Yield nothing: no file below the root says what a numbered capture shows."""
        return iter(())

    @property
    def names_subjects(self) -> bool:
        """False: a numbered capture does not say who is seen."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What numbers leave open."""
        return (
            "CASIA-SURF's numbered lists name neither species nor subjects: all attacks count as "
            "one species and each capture as a person of its own",
        )

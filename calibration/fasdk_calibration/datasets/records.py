"""One labelled capture: what is known of it, and the line of a list that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fasdk.capture import Capture

BONA_FIDE_SPECIES = "bona fide"
Progress = Callable[[int], None]  # called with the number of captures done so far


class Label(str, Enum):
    """ISO/IEC 30107-3 kind of a presentation."""

    BONA_FIDE = "bona fide"
    ATTACK = "attack"


class CaptureRecord(BaseModel):
    """One line of a capture list.

    Attributes:
        id: Unique in its list.
        rgb: Path of the colour frame, relative to the list's folder, or None.
        depth: Path of the depth frame, or None.
        ir: Path of the near-infrared frame, or None.
        face: x, y, width, height in pixels of the first frame present, or None.
        label: Bona fide or attack.
        species: Attack species (ISO/IEC 30107-3 PAI species); "bona fide" for bona fide.
        subject: Who is seen; splits must not share one.
        domain: Where it was captured, such as a data set's or a site's name.
        presentation: Captures of one presentation are not independent and share this.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    rgb: str | None = None
    depth: str | None = None
    ir: str | None = None
    face: tuple[int, int, int, int] | None = None
    label: Label
    species: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    presentation: str = Field(min_length=1)

    @field_validator("rgb", "depth", "ir")
    @classmethod
    def _stays_below_the_list(cls, path: str | None) -> str | None:
        if path is not None:
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or not pure.parts:
                raise ValueError(f"path {path!r} must lie below the list's folder")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> CaptureRecord:
        if not (self.rgb or self.depth or self.ir):
            raise ValueError("names no frame: give at least one of rgb, depth, ir")
        if (self.label is Label.BONA_FIDE) != (self.species == BONA_FIDE_SPECIES):
            raise ValueError(f"label {self.label.value!r} and species {self.species!r} contradict")
        return self

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE


@dataclass(frozen=True, eq=False)
class LabelledCapture:
    """A capture with what is known of it; the fields are those of `CaptureRecord`."""

    capture: Capture
    id: str
    label: Label
    species: str
    subject: str
    domain: str
    presentation: str

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE

"""Capture records and labeled captures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fasdk.capture import Capture, Modality
from fasdk.frames import FrameUnits
from fasdk.settings import as_choice, take_choices

BONA_FIDE_SPECIES = "bona fide"
UNSPECIFIED_SPECIES = "unspecified"  # of attacks whose instrument the source does not name


class Label(str, Enum):
    """Kind of a presentation (ISO/IEC 30107-3)."""

    BONA_FIDE = "bona fide"
    ATTACK = "attack"


class DepthUnit(str, Enum):
    """Unit of a depth file's numbers."""

    MILLIMETER = "millimeter"
    LEVEL = "level"  # 8 bits, as a data set drew its depth; only a model's encoding gives it a unit


Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Landmark = tuple[Coordinate, Coordinate]
Landmarks = tuple[Landmark, Landmark, Landmark, Landmark, Landmark]
Box = tuple[int, int, int, int]


class CaptureRecord(BaseModel):
    """One line of a capture list.

    Attributes:
        id: Unique in its list.
        rgb: Path of the color frame, relative to the list's folder, or None.
        depth: Path of the depth frame, or None.
        ir: Path of the near-infrared frame, or None.
        face: x, y, width, height in pixels of the first frame present, or None.
        landmarks: Five points (x, y) in pixels of that frame, in the order of
            `Capture.landmarks`, or None.
        depth_face: Face in pixels of a depth frame that shows another view than the first, or None.
        ir_face: Face in pixels of such an infrared frame, or None.
        depth_landmarks: Landmarks in such a depth frame, or None.
        ir_landmarks: Landmarks in such an infrared frame, or None.
        label: Kind of the presentation.
        species: Attack species (ISO/IEC 30107-3 PAI species); "bona fide" for bona fide.
        subject: Person presented; splits must not share one.
        domain: Data set or site of the capture.
        presentation: Name that captures of one presentation share; they are not independent.
        depth_unit: Unit of the depth file's numbers.
        face_crop: Whether the frames were cut to the face, which then fills each of them.
        depth_scale_mm: Millimeters of one unit of the depth file, or None: 1 for whole numbers.
        ir_shift: Bits that 16-bit infrared is shifted right by, or None.
        present: Modalities the line states, which must be those it gives paths for, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    rgb: str | None = None
    depth: str | None = None
    ir: str | None = None
    face: Box | None = None
    landmarks: Landmarks | None = None
    depth_face: Box | None = None
    ir_face: Box | None = None
    depth_landmarks: Landmarks | None = None
    ir_landmarks: Landmarks | None = None
    label: Label
    species: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    presentation: str = Field(min_length=1)
    depth_unit: DepthUnit = DepthUnit.MILLIMETER
    face_crop: bool = False
    depth_scale_mm: float | None = None
    ir_shift: int | None = None
    present: tuple[Modality, ...] | None = Field(default=None, exclude=True, repr=False)

    @field_validator("rgb", "depth", "ir")
    @classmethod
    def _stays_below_the_list(cls, path: str | None) -> str | None:
        if path is not None and (
            path.startswith("/") or ".." in path.split("/") or not path.strip("./")
        ):
            raise ValueError(f"path {path!r} must lie below the list's folder")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> CaptureRecord:
        if not (self.rgb or self.depth or self.ir):
            raise ValueError("names no frame: give at least one of rgb, depth, ir")
        if (self.label is Label.BONA_FIDE) != (self.species == BONA_FIDE_SPECIES):
            raise ValueError(f"label {self.label.value!r} and species {self.species!r} contradict")
        if (self.face is not None or self.faces) and self.face_crop:
            raise ValueError("gives a face box and states that its frames are face crops: drop one")
        for modality in (*self.faces, *self.frame_landmarks):
            if modality not in self.modalities[1:]:
                raise ValueError(
                    f"says where the face is in {modality.value}, which is not there or the first "
                    "frame: call it face and landmarks, or drop it"
                )
        if self.present is not None and set(self.present) != set(self.modalities):
            stated, given = (
                "+".join(sorted(m.value for m in s)) for s in (self.present, self.modalities)
            )
            raise ValueError(f"states {stated or 'nothing'} and gives paths for {given}")
        return self

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities it gives paths for, in the order rgb, depth, ir."""
        return tuple(m for m in Modality if self.path(m) is not None)

    @property
    def faces(self) -> dict[Modality, Box]:
        """Face boxes in frames that show another view than the first, by modality."""
        own = {Modality.DEPTH: self.depth_face, Modality.IR: self.ir_face}
        return {modality: box for modality, box in own.items() if box is not None}

    @property
    def frame_landmarks(self) -> dict[Modality, Landmarks]:
        """Landmarks in such frames, by modality."""
        own = {Modality.DEPTH: self.depth_landmarks, Modality.IR: self.ir_landmarks}
        return {modality: points for modality, points in own.items() if points is not None}

    @property
    def units(self) -> FrameUnits:
        """Units of the numbers in its files."""
        return FrameUnits(self.depth_scale_mm, self.ir_shift)

    def path(self, modality: Modality | str) -> str | None:
        """Return the path of one modality's frame, or None where it is absent.

        Raises:
            UsageError: There is no modality of that name.
        """
        modality = as_choice("modality", modality, Modality)
        path: str | None = getattr(self, modality.value)
        return path


@dataclass(frozen=True, eq=False)
class LabeledCapture:
    """A capture with what is known of it; the fields are those of `CaptureRecord`."""

    capture: Capture
    id: str
    label: Label
    species: str
    subject: str
    domain: str
    presentation: str

    def __post_init__(self) -> None:
        """Take the label as its member."""
        take_choices(self, label=Label)

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE

"""Reader interface of published data sets, and the reader of data sets kept as frame folders."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.settings import as_choice, take_choices
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    CaptureRecord,
    DepthUnit,
    Label,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Folder of a modality's frames; the benchmark calls CeFA's color folder "profile".
MODALITY_FOLDERS = {
    "color": Modality.RGB,
    "profile": Modality.RGB,
    "depth": Modality.DEPTH,
    "ir": Modality.IR,
}
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Presentation:
    """One presentation (ISO/IEC 30107-3) as its data set describes it.

    Attributes:
        domain: Name of the data set.
        label: Bona fide or attack.
        species: PAI species; "bona fide" for a bona fide presentation.
        subject: Person presented, with the data set's name before it.
        name: Video or trial, with the data set's name before it.
    """

    domain: str
    label: Label
    species: str
    subject: str
    name: str

    def __post_init__(self) -> None:
        """Take the label as its member."""
        take_choices(self, label=Label)

    @classmethod
    def of(cls, domain: str, species: str, subject: str, name: str) -> Presentation:
        """Return a presentation; subject and name are prefixed with the data set's name."""
        label = Label.BONA_FIDE if species == BONA_FIDE_SPECIES else Label.ATTACK
        return cls(domain, label, species, f"{domain}/{subject}", f"{domain}/{name}")


@dataclass(frozen=True)
class LocatedCapture:
    """The files of one capture and the presentation it was taken of.

    Attributes:
        paths: Path of each modality's frame relative to the root; an absent modality has none.
        presentation: The presentation, as the data set describes it.
    """

    paths: Mapping[Modality, str]
    presentation: Presentation

    def __post_init__(self) -> None:
        """Take the paths by members."""
        take_choices(self, paths=Modality)

    def record(self, identity: str) -> CaptureRecord:
        """Return the record; the data sets' frames are face crops with depth in 8-bit levels.

        Args:
            identity: Identifier that is unique in its list.

        Raises:
            ValidationError: No frame is named, or a path leaves the root.
        """
        paths, named = self.paths, self.presentation
        return CaptureRecord(
            id=identity,
            rgb=paths.get(Modality.RGB),
            depth=paths.get(Modality.DEPTH),
            ir=paths.get(Modality.IR),
            label=named.label,
            species=named.species,
            subject=named.subject,
            domain=named.domain,
            presentation=named.name,
            depth_unit=DepthUnit.LEVEL,
            face_crop=True,
        )


@dataclass(frozen=True)
class Location:
    """Place on disk that a reader reads.

    Attributes:
        root: Folder the frames lie in, or None where only a list is at hand.
        label_folders: Folders in which a file with labels is looked for, in this order.
    """

    root: Path | None
    label_folders: tuple[Path, ...] = ()

    @cached_property
    def video_folders(self) -> tuple[PurePosixPath, ...]:
        """Folders below the root that hold folders of frames, relative to it, sorted."""
        return tuple(_video_folders(self.require_root()))

    def require_root(self) -> Path:
        """Return the root.

        Raises:
            DatasetError: None was given.
        """
        if self.root is None:
            raise DatasetError("no folder of frames was given: captures cannot be searched for")
        return self.root


@dataclass(frozen=True)
class ArchiveFormat:
    """File format that keeps all modalities of a capture in one file.

    Attributes:
        suffix: Suffix of such files, such as ".npz".
        read: Returns the frames of one file: rgb uint8 [H, W, 3], red first; depth (8-bit levels)
            and ir uint8 [H, W]. Raises CaptureError for a missing or damaged file.
    """

    suffix: str
    read: Callable[[Path], Mapping[Modality, NDArray[np.uint8]]]


class DatasetReader(ABC):
    """Reader of one published data set at one place on disk.

    A module of `fasdk_calibration.datasets.readers` defines one concrete subclass; nothing else
    has to register it.

    Attributes:
        name: The data set's name, which is also the domain of its captures.
        example: Path of a capture as the data set names it, for error messages.
        archive: Format of its files that hold all modalities, or None where it has none.
    """

    name: ClassVar[str]
    example: ClassVar[str]
    archive: ClassVar[ArchiveFormat | None] = None

    def __init__(self, location: Location) -> None:
        self.location = location

    @classmethod
    @abstractmethod
    def owns(cls, path: str) -> bool:
        """Return whether a capture's first path in a list is named as this data set names them."""

    @abstractmethod
    def locate(self, paths: Sequence[str], label: Label) -> LocatedCapture:
        """Return the capture that one row of a list names.

        Args:
            paths: The row's paths: a capture's file or color frame, or color, depth and ir.
            label: The list's label; used where the data set itself has none.

        Raises:
            DatasetError: The paths do not belong together, or hold a code that the data set does
                not define.
        """

    @abstractmethod
    def records(self) -> Iterator[CaptureRecord]:
        """Yield every capture of this data set below the root.

        Raises:
            DatasetError: A folder cannot be read, a code is unknown, or labels are missing.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts that the data set leaves open here and a reader of results should know."""
        return ()

    @property
    def names_subjects(self) -> bool:
        """Whether it is known who is seen; otherwise each capture counts as a person of its own."""
        return True

    @classmethod
    def packed_file_hint(cls, root: Path) -> str | None:  # noqa: ARG003 (a hook)
        """Return how to unpack a file in the distribution's format, None where there is none."""
        return None


NameParser = Callable[[re.Match[str], tuple[str, ...]], Presentation]


class FrameFolderReader(DatasetReader):
    """Reader of a data set that keeps `<video>/<modality>/<frame>.jpg` and labels in folder names.

    Attributes:
        patterns: Patterns of a video folder's path, matched against the last three parts of it,
            each with the function that reads a match and all parts of the path.
    """

    patterns: ClassVar[tuple[tuple[re.Pattern[str], NameParser], ...]]

    @classmethod
    def owns(cls, path: str) -> bool:
        """Return whether a frame's video folder is named as this data set names them."""
        return cls.owns_video(str(PurePosixPath(path).parent.parent))

    @classmethod
    def owns_video(cls, folder: str) -> bool:
        """Return whether a video folder is named as this data set names them."""
        tail = "/".join(folder.split("/")[-3:])
        return any(pattern.search(tail) for pattern, _ in cls.patterns)

    @classmethod
    def presentation_of(cls, folder: str) -> Presentation:
        """Return what the path of a video folder states.

        Args:
            folder: The folder that holds `color`, `depth` and `ir`, its parts split by slashes.

        Raises:
            DatasetError: The name is not one of this data set, holds a code it does not define, or
                contradicts the folders above it.
        """
        parts = tuple(folder.split("/"))
        for pattern, parse in cls.patterns:
            found = pattern.search("/".join(parts[-3:]))
            if found is not None:
                return parse(found, parts)
        raise DatasetError(f"{folder} is no video's name of {cls.name} ({cls.example})")

    def locate(self, paths: Sequence[str], label: Label | str) -> LocatedCapture:
        """Return the frames of a row and what their folders' names say; the label is not needed."""
        as_choice("label", label, Label)
        folder, _, name = split_frame(paths[0])
        if len(paths) == 1:
            others = [f"{folder}/{m.value}/{name}" for m in (Modality.DEPTH, Modality.IR)]
            frames = dict(zip(Modality, (paths[0], *others), strict=True))
        else:
            frames = dict(zip(Modality, paths, strict=True))
        for expected, path in frames.items():
            other_folder, modality, _ = split_frame(path)
            if modality is not expected or other_folder != folder:
                raise DatasetError(
                    f"{path} stands in the column of {expected.value} of {folder}, whose frames it "
                    "is not of"
                )
        return LocatedCapture(frames, self.presentation_of(folder))

    def records(self) -> Iterator[CaptureRecord]:
        """Yield every frame of the video folders below the root that are this data set's."""
        root = self.location.require_root()
        for folder in self.location.video_folders:
            # The root may itself be part of what the name says, such as one subject's folder.
            full_name = (root.resolve() / folder).as_posix()
            if self.owns_video(full_name):
                yield from _frames_of_video(root, folder, self.presentation_of(full_name))


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


def unknown_code(domain: str, name: str, found: str, expected: str) -> DatasetError:
    """Return the error for a video's name that holds a code its data set does not define."""
    return DatasetError(
        f"{domain} video {name} has {found}, which {domain} does not define: {expected}"
    )


def _video_folders(root: Path) -> Iterator[PurePosixPath]:
    for folder, inner, _ in os.walk(root):
        inner.sort()
        if set(inner) & set(MODALITY_FOLDERS):
            yield PurePosixPath(Path(folder).relative_to(root).as_posix())
            inner.clear()


def _frames_of_video(
    root: Path, folder: PurePosixPath, presentation: Presentation
) -> Iterator[CaptureRecord]:
    frames: dict[str, dict[Modality, str]] = {}
    for name, modality in MODALITY_FOLDERS.items():
        inner = root / folder / name
        if inner.is_dir():
            for file in inner.iterdir():
                if file.suffix.lower() in _IMAGE_SUFFIXES:
                    frames.setdefault(file.stem, {})[modality] = str(folder / name / file.name)
    for stem in sorted(frames, key=lambda stem: (len(stem), stem)):
        yield LocatedCapture(frames[stem], presentation).record(str(folder / stem))

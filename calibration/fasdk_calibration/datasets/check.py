"""Check of a data set for faults, before a model is trained or evaluated on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from fasdk.capture import Modality
from fasdk.progress import Progress
from fasdk_calibration.datasets.dataset import Dataset
from fasdk_calibration.datasets.loading import examine_capture
from fasdk_calibration.datasets.overlap import NAMED_SUBJECTS, shared_subjects
from fasdk_calibration.datasets.plausibility import distance_of, implausible_depth
from fasdk_calibration.datasets.records import UNSPECIFIED_SPECIES, CaptureRecord

NAMED = 10  # how many of each kind of fault a report names


@dataclass(frozen=True)
class Unreadable:
    """A frame that does not decode as what its modality is.

    Attributes:
        file: Path of the frame.
        reason: Why it cannot be read.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class FrameSize:
    """Number of frames of a modality that have one size.

    Attributes:
        modality: rgb, depth or ir.
        width: Width in pixels.
        height: Height in pixels.
        frames: Number of frames of that size.
    """

    modality: str
    width: int
    height: int
    frames: int


@dataclass(frozen=True)
class FrameReport:
    """Findings of opening every frame.

    Attributes:
        files: Number of different frames the records name.
        missing: Number of files that do not exist.
        first_missing: Paths of the first ten of them.
        missing_lines: Number of the first line that names each of them, or None.
        unreadable: Number of files that exist and do not decode as their modality.
        first_unreadable: The first ten of them, with reasons.
        boxes: Number of captures whose face box does not lie in its frame.
        first_boxes: The first ten of them, with reasons.
        notes: Number of captures by what was decided about their files.
        face_distance_mm: Median distance of bona fide faces in millimeters (of all where there is
            no bona fide one), or None without depth in that unit.
        mixed_sizes: Number of captures with a frame of another size than most of its modality.
        sizes: The ten commonest sizes of each modality, commonest first.
    """

    files: int
    missing: int
    first_missing: tuple[str, ...]
    missing_lines: tuple[int | None, ...]
    unreadable: int
    first_unreadable: tuple[Unreadable, ...]
    boxes: int
    first_boxes: tuple[Unreadable, ...]
    notes: dict[str, int]
    face_distance_mm: float | None
    mixed_sizes: int
    sizes: tuple[FrameSize, ...]


@dataclass(frozen=True)
class SharedSubjects:
    """Subjects that a data set shares with another list.

    Attributes:
        against: Name of the other list.
        subjects: Number of subjects in both lists.
        first: The first ten of them.
    """

    against: str
    subjects: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class DatasetReport:
    """Contents of a data set and its faults.

    Attributes:
        name: Name of the data set.
        rows: Number of captures, repeated ones counted each time.
        bona_fide: Number of rows of bona fide presentations.
        attack: Number of rows of attacks.
        duplicates: Number of rows that repeat the frames of an earlier row.
        presentations: Number of different presentations, the unit of error rates.
        subjects: Number of different subjects.
        species: Number of rows by PAI species.
        domains: Number of rows by domain.
        modalities: Number of rows by modalities held, such as "rgb+depth+ir".
        reading: What was decided about the list's form, each a line.
        frames: Findings in the files, or None where they were not opened.
        shared_subjects: Subjects shared with each list it was compared with.
        warnings: Reservations about results on this data set.
        faults: Faults to fix before the data set is used.
    """

    name: str
    rows: int
    bona_fide: int
    attack: int
    duplicates: int
    presentations: int
    subjects: int
    species: dict[str, int]
    domains: dict[str, int]
    modalities: dict[str, int]
    reading: tuple[str, ...]
    frames: FrameReport | None
    shared_subjects: tuple[SharedSubjects, ...]
    warnings: tuple[str, ...]
    faults: tuple[str, ...]


def check_dataset(
    dataset: Dataset,
    against: Sequence[Dataset] = (),
    *,
    with_frames: bool,
    progress: Progress | None = None,
) -> DatasetReport:
    """Return the contents and faults of a data set.

    Args:
        dataset: Data set to check.
        against: Other splits, which must not share a subject with it.
        with_frames: Open every frame as well.
        progress: Receiver of progress reports, in captures.
    """
    records = dataset.records
    frames = _check_frames(dataset, progress) if with_frames else None
    shared = tuple(_shared(dataset, other) for other in against)
    bona_fide = sum(record.is_bona_fide for record in records)
    duplicates = len(records) - len({_frames_of(record) for record in records})
    return DatasetReport(
        name=dataset.name,
        rows=len(records),
        bona_fide=bona_fide,
        attack=len(records) - bona_fide,
        duplicates=duplicates,
        presentations=len(dataset.presentations),
        subjects=len(dataset.subjects),
        species=_count(record.species for record in records),
        domains=_count(record.domain for record in records),
        modalities=_count("+".join(m.value for m in record.modalities) for record in records),
        reading=_reading(dataset),
        frames=frames,
        shared_subjects=shared,
        warnings=(*dataset.notes, *_warnings(records, duplicates, frames)),
        faults=(*_contradictions(records), *_frame_faults(dataset, frames), *_leaks(shared)),
    )


def _check_frames(dataset: Dataset, progress: Progress | None) -> FrameReport:
    missing: dict[str, int | None] = {}
    unreadable: dict[str, str] = {}
    boxes: dict[str, Unreadable] = {}
    notes: Counter[str] = Counter()
    sizes: dict[Modality, Counter[tuple[int, int]]] = {m: Counter() for m in Modality}
    sizes_of_captures: list[dict[Modality, tuple[int, int]]] = []
    distances: dict[bool, list[float]] = {True: [], False: []}
    seen: set[tuple[object, ...]] = set()
    for done, record in enumerate(dataset.records, start=1):
        if progress is not None:
            progress.update("captures", done, len(dataset.records))
        key = (*_frames_of(record), record.face, record.units)
        if key in seen:
            continue
        seen.add(key)
        stored = examine_capture(record, dataset.root)
        place = _place(dataset, record)
        for fault in stored.faults:
            if fault.is_missing:
                missing.setdefault(fault.file, dataset.lines.get(record.id))
            elif fault.is_box:
                boxes[record.id] = Unreadable(fault.file, f"{fault.reason}{place}")
            else:
                unreadable.setdefault(fault.file, f"{fault.reason}{place}")
        notes.update(stored.notes)
        found = {m: (frame.shape[1], frame.shape[0]) for m, frame in stored.frames.items()}
        sizes_of_captures.append(found)
        for modality, size in found.items():
            sizes[modality][size] += 1
        distance = distance_of(record, stored)
        distances[record.is_bona_fide] += [] if distance is None else [distance]
    near = distances[True] or distances[False]
    usual = {m: counts.most_common(1)[0][0] for m, counts in sizes.items() if counts}
    mixed = sum(any(size != usual[m] for m, size in s.items()) for s in sizes_of_captures)
    names = {record.path(m) for record in dataset.records for m in record.modalities}
    return FrameReport(
        files=len(names),
        missing=len(missing),
        first_missing=tuple(missing)[:NAMED],
        missing_lines=tuple(missing.values())[:NAMED],
        unreadable=len(unreadable),
        first_unreadable=tuple(Unreadable(*item) for item in list(unreadable.items())[:NAMED]),
        boxes=len(boxes),
        first_boxes=tuple(boxes.values())[:NAMED],
        notes=dict(notes),
        face_distance_mm=median(near) if near else None,
        mixed_sizes=mixed,
        sizes=tuple(
            FrameSize(m.value, *size, count)
            for m, counts in sizes.items()
            for size, count in counts.most_common(NAMED)
        ),
    )


def _warnings(
    records: Sequence[CaptureRecord], duplicates: int, frames: FrameReport | None
) -> list[str]:
    warnings: list[str] = []
    if duplicates:
        warnings.append(f"{duplicates} rows repeat the frames of an earlier row")
    unspecified = sum(record.species == UNSPECIFIED_SPECIES for record in records)
    if unspecified:
        warnings.append(f"the species of {unspecified} attacks is not known")
    for label, count in (
        ("bona fide", sum(record.is_bona_fide for record in records)),
        ("attack", sum(not record.is_bona_fide for record in records)),
    ):
        if not count:
            warnings.append(f"there is no {label} row, so no error rate of that kind")
    if frames is not None:
        warnings += [
            f"{note} ({count} of {len(records)} captures)" for note, count in frames.notes.items()
        ]
        if frames.mixed_sizes:
            warnings.append(f"{frames.mixed_sizes} captures have frames of another size than most")
        depth = [] if frames.face_distance_mm is None else [frames.face_distance_mm]
        doubt = implausible_depth(depth)
        warnings += [] if doubt is None else [doubt]
    return warnings


def _contradictions(records: Sequence[CaptureRecord]) -> list[str]:
    """Return contradictions between rows of one set of frames, or of one presentation."""
    faults: list[str] = []
    labels: dict[tuple[str | None, ...], CaptureRecord] = {}
    groups: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for record in records:
        first = labels.setdefault(_frames_of(record), record)
        if (first.label, first.species) != (record.label, record.species):
            faults.append(f"{record.id} and {first.id} have one set of frames and two labels")
        groups[record.domain, record.presentation].add((record.subject, record.species))
    torn = [name for name, kinds in groups.items() if len(kinds) > 1]
    if torn:
        faults.append(
            f"{len(torn)} presentations have rows of several subjects or species, "
            f"such as {torn[0][1]}"
        )
    return faults


def _frame_faults(dataset: Dataset, frames: FrameReport | None) -> list[str]:
    if frames is None:
        return []
    faults: list[str] = []
    if frames.missing:
        faults.append(
            f"{frames.missing} of {frames.files} files are not below {dataset.root}: "
            + ", ".join(
                file if line is None else f"{file} (line {line})"
                for file, line in zip(frames.first_missing, frames.missing_lines, strict=True)
            )
        )
    if frames.unreadable:
        faults.append(
            f"{frames.unreadable} of {frames.files} files cannot be read: "
            f"{'; '.join(each.reason for each in frames.first_unreadable)}"
        )
    if frames.boxes:
        faults.append(
            f"{frames.boxes} captures have a face box that does not lie in its frame: "
            f"{'; '.join(each.reason for each in frames.first_boxes)}"
        )
    return faults


def _place(dataset: Dataset, record: CaptureRecord) -> str:
    line = dataset.lines.get(record.id)
    if line is None:
        return ""
    of_list = f"{dataset.lists[record.id]}, " if dataset.lists else ""
    return f" ({of_list}line {line})"


def _reading(dataset: Dataset) -> tuple[str, ...]:
    """Return how the list is read, units and the usual form of boxes included."""
    reading = list(dataset.reading)
    records = dataset.records
    has_boxes = any(record.face is not None for record in records)
    if has_boxes and not any(line.startswith("face boxes are") for line in reading):
        reading.append("face boxes are x, y, width, height, in pixels")
    scales = sorted({r.depth_scale_mm for r in records if r.depth_scale_mm is not None})
    if scales:
        reading.append(f"depth files count {', '.join(f'{s:g}' for s in scales)} mm")
    shifts = sorted({r.ir_shift for r in records if r.ir_shift is not None})
    if shifts:
        reading.append(f"infrared is shifted right by {', '.join(map(str, shifts))} bits")
    return tuple(reading)


def _leaks(shared: Iterable[SharedSubjects]) -> list[str]:
    return [
        f"subjects also in {each.against}: {each.subjects}, {', '.join(each.first)}"
        for each in shared
        if each.subjects
    ]


def _shared(dataset: Dataset, other: Dataset) -> SharedSubjects:
    both = shared_subjects(dataset.subjects, other.subjects)
    return SharedSubjects(other.name, len(both), both[:NAMED_SUBJECTS])


def _frames_of(record: CaptureRecord) -> tuple[str | None, ...]:
    return tuple(record.path(m) for m in Modality)


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))

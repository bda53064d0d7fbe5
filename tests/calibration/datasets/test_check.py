"""Check of a data set for faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk_calibration.datasets import CaptureRecord, Dataset, open_dataset, write_list
from fasdk_calibration.datasets.check import FrameSize, check_dataset

from support.progress import RecordedProgress

KINDS = (("rgb", (8, 8, 3), np.uint8), ("depth", (8, 8), np.uint16), ("ir", (8, 8), np.uint8))


def record(identity: str, **changes: object) -> CaptureRecord:
    fields = {"id": identity, "label": "attack", "species": "print", "subject": f"s{identity}"}
    fields |= {"domain": "lab", "presentation": f"p{identity}"}
    fields |= {kind: f"{identity}.{kind}.png" for kind, _, _ in KINDS}
    return CaptureRecord.model_validate(fields | changes)


def live(identity: str, **changes: object) -> CaptureRecord:
    return record(identity, label="bona fide", species="bona fide", **changes)


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Three sound captures with their frames."""
    records = [live("a"), record("b"), record("c", species="replay", domain="hall")]
    for each in records:
        for kind, shape, dtype in KINDS:
            cv2.imwrite(str(tmp_path / f"{each.id}.{kind}.png"), np.zeros(shape, dtype))
    write_list(records, tmp_path / "l.jsonl")
    return open_dataset(tmp_path / "l.jsonl")


def test_a_sound_data_set_is_counted_and_has_no_fault(dataset):
    progress = RecordedProgress()
    report = check_dataset(dataset, with_frames=True, progress=progress)
    assert (report.rows, report.bona_fide, report.attack, report.duplicates) == (3, 1, 2, 0)
    assert (report.presentations, report.subjects) == (3, 3)
    assert report.species == {"bona fide": 1, "print": 1, "replay": 1}
    assert report.domains == {"hall": 1, "lab": 2}
    assert report.modalities == {"rgb+depth+ir": 3}
    assert report.warnings == report.faults == ()
    assert report.frames is not None
    assert (report.frames.files, report.frames.missing, report.frames.unreadable) == (9, 0, 0)
    assert report.frames.sizes == tuple(FrameSize(k, 8, 8, 3) for k in ("rgb", "depth", "ir"))
    assert progress.reports == [("captures", done, 3) for done in (1, 2, 3)]


def test_check_opens_no_frame_unless_asked(dataset):
    for path in dataset.root.glob("*.png"):
        path.unlink()
    report = check_dataset(dataset, with_frames=False)
    assert (report.frames, report.faults) == (None, ())


def test_missing_files_are_counted_once_each_and_ten_are_named(dataset):
    records = dataset.records + tuple(record(f"x{n}") for n in range(5))
    again = record("again", rgb="x0.rgb.png", depth=None, ir=None)
    report = check_dataset(replace(dataset, records=(*records, again)), with_frames=True)
    assert report.frames is not None
    assert (report.frames.files, report.frames.missing) == (24, 15)
    assert len(report.frames.first_missing) == 10
    assert report.frames.first_missing[0] == str(dataset.root / "x0.rgb.png")
    assert report.faults[0].startswith("15 of 24 files are not below")


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def make_color(path: Path) -> None:
    cv2.imwrite(str(path), np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


@pytest.mark.parametrize(
    ("file", "spoil", "reason"),
    [
        ("b.rgb.png", damage, "does not decode as an image"),
        ("b.depth.png", make_color, "8-bit with 3 channels"),
        ("b.ir.png", make_color, "planes not equal"),
    ],
)
def test_an_unreadable_frame_is_a_fault(dataset, file, spoil, reason):
    spoil(dataset.root / file)
    report = check_dataset(dataset, with_frames=True)
    assert report.frames is not None
    assert (report.frames.missing, report.frames.unreadable) == (0, 1)
    assert report.frames.first_unreadable[0].file == str(dataset.root / file)
    assert reason in report.frames.first_unreadable[0].reason
    assert reason in report.faults[0]


def test_a_frame_of_another_size_is_a_warning(dataset):
    cv2.imwrite(str(dataset.root / "b.ir.png"), np.zeros((4, 6), np.uint8))
    report = check_dataset(dataset, with_frames=True)
    assert report.frames is not None
    assert report.frames.mixed_sizes == 1
    assert FrameSize("ir", 6, 4, 1) in report.frames.sizes
    assert report.warnings == ("1 captures have frames of another size than most",)
    assert report.faults == ()


def test_repeated_frames_are_duplicates_and_two_labels_for_them_a_fault(dataset):
    frames = {kind: f"b.{kind}.png" for kind, _, _ in KINDS}
    records = (*dataset.records, record("b2", **frames), record("b3", **frames))
    report = check_dataset(replace(dataset, records=records), with_frames=True)
    assert report.duplicates == 2
    assert report.warnings == ("2 rows repeat the frames of an earlier row",)
    assert report.faults == ()
    two_faced = live("b4", **frames)
    report = check_dataset(replace(dataset, records=(*records, two_faced)), with_frames=False)
    assert report.faults == ("b4 and b have one set of frames and two labels",)


@pytest.mark.parametrize("change", [{"subject": "other"}, {"species": "mask"}])
def test_a_presentation_is_of_one_subject_and_one_species(dataset, change):
    torn = record("d", presentation="pb", **({"subject": "sb"} | change))
    report = check_dataset(replace(dataset, records=(*dataset.records, torn)), with_frames=False)
    assert report.faults == (
        "1 presentations have rows of several subjects or species, such as pb",
    )


def test_subjects_shared_with_another_split_are_a_fault(dataset):
    apart = replace(dataset, name="apart", records=(record("z"),))
    leaky = replace(dataset, name="leaky", records=(record("y", subject="sb"), record("x")))
    report = check_dataset(dataset, [apart, leaky], with_frames=False)
    assert [(each.against, each.subjects) for each in report.shared_subjects] == [
        ("apart", 0),
        ("leaky", 1),
    ]
    assert report.faults == ("subjects also in leaky: 1, sb",)


@pytest.mark.parametrize(("keep", "absent"), [(slice(0, 1), "attack"), (slice(1, 3), "bona fide")])
def test_a_class_that_is_absent_is_a_warning(dataset, keep, absent):
    report = check_dataset(replace(dataset, records=dataset.records[keep]), with_frames=False)
    assert report.warnings == (f"there is no {absent} row, so no error rate of that kind",)


def test_the_published_validation_and_test_lists_of_cefa_share_one_subject(reference):
    lists = reference / "mmdg-benchmark"
    report = check_dataset(
        open_dataset(lists / "C-test.txt.gz"),
        [open_dataset(lists / f"C-{split}.txt.gz") for split in ("train", "val")],
        with_frames=False,
    )
    assert [each.subjects for each in report.shared_subjects] == [0, 1]
    assert report.faults == ("subjects also in C-val: 1, CeFA/AF-300",)


def test_presentations_of_one_name_in_two_domains_are_two(dataset):
    elsewhere = record("d", presentation="pb", domain="hall")
    report = check_dataset(
        replace(dataset, records=(*dataset.records, elsewhere)), with_frames=False
    )
    assert (report.presentations, report.faults) == (4, ())

"""Plausibility of depth, and the verdict that all verbs share."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fasdk.capture import FaceBox
from fasdk.errors import DatasetError
from fasdk.lists import ListOptions
from fasdk_calibration.datasets import (
    Dataset,
    announce_dataset,
    implausible_depth,
    open_dataset,
)
from fasdk_calibration.datasets.check import check_dataset
from fasdk_calibration.datasets.plausibility import face_distance_mm

HEADER = "rgb,depth,label,species,subject,domain,presentation,face"


def write(folder: Path, rows: list[str], *, unit_mm: float = 1.0, first: str = "") -> Path:
    """Write a list and the frames of its rows: faces 600 mm away, walls 2 m."""
    for index in range(len(rows)):
        depth = np.full((48, 64), 2000 / unit_mm, np.uint16)
        depth[10:40, 16:48] = 600 / unit_mm
        cv2.imwrite(str(folder / f"{index}.depth.png"), depth)
        color = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), color)
    lines = [f"{i}.png,{i}.depth.png,{row}" for i, row in enumerate(rows)]
    path = folder / "l.csv"
    path.write_text("\n".join([*([first] if first else []), HEADER, *lines]) + "\n")
    return path


ROWS = [
    f'{label},{species},s{i},lab,p{i},"18,12,28,26"'
    for i, (label, species) in enumerate(
        [("bona fide", "bona fide"), ("attack", "print"), ("bona fide", "bona fide")]
    )
]


def warnings_of(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        announce_dataset(dataset)
    return [record.getMessage() for record in caplog.records]


def test_the_distance_is_the_median_of_what_was_seen_in_the_face():
    depth = np.zeros((10, 10), np.uint16)
    assert face_distance_mm(depth, FaceBox(2, 2, 4, 4)) is None
    depth[2:6, 2:6] = 500
    depth[2, 2:6] = 900
    assert face_distance_mm(depth, FaceBox(2, 2, 4, 4)) == 500


@pytest.mark.parametrize(
    ("distances", "fitting"),
    [
        ([], None),
        ([300.0, 700.0, 1400.0], None),
        ([1500.0], None),
        ([1501.0], ["0.25"]),
        ([2400.0, 2800.0], ["0.1", "0.125", "0.25"]),
        ([6000.0], ["0.1", "0.125", "0.25"]),
        ([60.0], ["10"]),
        ([1.0], ["1000"]),
    ],
)
def test_a_median_that_no_face_at_a_door_has_is_warned_of_with_the_units_that_fit(
    distances, fitting
):
    warning = implausible_depth(distances)
    assert (warning is None) == (fitting is None)
    if warning is not None:
        assert re.findall(r"`# fasdk: depth_scale_mm=([0-9.]+)`", warning) == fitting


@pytest.mark.parametrize("unit_mm", [0.1, 0.125, 0.25])
def test_a_unit_of_micrometers_is_warned_of_once_and_what_is_proposed_ends_it(
    tmp_path, caplog, unit_mm
):
    path = write(tmp_path, ROWS, unit_mm=unit_mm)
    dataset = open_dataset(path)
    (warning,) = warnings_of(dataset, caplog)
    assert f"faces are {600 / unit_mm:.0f} mm away (median of 3 captures)" in warning
    report = check_dataset(dataset, with_frames=True)
    assert report.frames is not None
    assert report.frames.face_distance_mm == 600 / unit_mm
    assert [w for w in report.warnings if "mm away" in w]
    line = f"# fasdk: depth_scale_mm={unit_mm:g}"
    assert f"`{line}`" in warning

    told = open_dataset(path, options=ListOptions(depth_scale_mm=unit_mm))
    path.write_text(f"{line}\n{path.read_text()}")
    for fixed in (told, open_dataset(path)):
        assert warnings_of(fixed, caplog) == []
        report = check_dataset(fixed, with_frames=True)
        assert report.frames is not None
        assert (report.frames.face_distance_mm, report.warnings) == (600, ())
        assert f"depth files count {unit_mm:g} mm" in report.reading


def test_a_row_may_have_a_unit_of_its_own(tmp_path):
    path = write(tmp_path, ROWS, unit_mm=0.25)
    text = path.read_text().replace(HEADER, HEADER + ",depth_scale_mm")
    path.write_text(re.sub(r'"\n', '",0.25\n', text))
    report = check_dataset(open_dataset(path), with_frames=True)
    assert report.frames is not None
    assert (report.frames.face_distance_mm, report.faults) == (600, ())


BAD_BOXES = [ROWS[0], ROWS[1].replace("18,12,28,26", "50,30,28,26"), ROWS[2]]


def test_the_check_names_every_row_whose_box_leaves_its_frame_and_loading_refuses_the_same(
    tmp_path,
):
    rows = BAD_BOXES * 4
    rows = [re.sub(r"s\d,lab,p\d", f"s{i},lab,p{i}", row) for i, row in enumerate(rows)]
    dataset = open_dataset(write(tmp_path, rows))
    report = check_dataset(dataset, with_frames=True)
    assert report.frames is not None
    assert report.frames.boxes == 4
    assert all(f"(line {line})" in report.faults[0] for line in (3, 6, 9, 12))
    for index, record in enumerate(dataset.records):
        if index % 3 != 1:
            dataset.load(record)
            continue
        message = rf"l, line {index + 2}: capture {index}\.png: face box 50,30,28,26 leaves the"
        with pytest.raises(DatasetError, match=message):
            dataset.load(record)


def test_a_box_that_reaches_out_a_little_is_clipped_and_said(tmp_path, caplog):
    row = ROWS[1].replace("18,12,28,26", "-3,12,28,26")
    dataset = open_dataset(write(tmp_path, [ROWS[0], row, ROWS[2]]))
    (warning,) = warnings_of(dataset, caplog)
    assert "clipped" in warning
    face = dataset.load(dataset.records[1]).face
    assert face == FaceBox(0, 12, 25, 26)
    report = check_dataset(dataset, with_frames=True)
    assert [w for w in report.warnings if "clipped to them (1 of 3 captures)" in w]


def test_missing_files_are_named_with_their_lines(tmp_path):
    dataset = open_dataset(write(tmp_path, ROWS))
    (tmp_path / "1.depth.png").unlink()
    with pytest.raises(DatasetError, match=r"1\.depth\.png \(line 3\)"):
        announce_dataset(dataset)
    report = check_dataset(dataset, with_frames=True)
    assert "1.depth.png (line 3)" in report.faults[0]


def test_a_decision_about_files_is_said_once_and_counted_by_the_check(tmp_path, caplog):
    dataset = open_dataset(write(tmp_path, ROWS))
    for index in range(2):
        gray = np.random.default_rng(index).integers(0, 255, (48, 64), np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), gray)
    (warning,) = warnings_of(dataset, caplog)
    assert "three equal planes" in warning
    report = check_dataset(dataset, with_frames=True)
    assert [w for w in report.warnings if "three equal planes (2 of 3 captures)" in w]

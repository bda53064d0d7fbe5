"""Verb dataset check."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from fasdk_tools.cli import main

NAMES = {"001_01_000_0_00": 1, "001_01_000_2_80": 0, "002_01_000_3_01": 0}


@pytest.fixture
def tree(tmp_path):
    """A list in the benchmark's form, and its frames below `root`."""
    lines = []
    for name, label in NAMES.items():
        paths = [f"WMCA-Image/R_CDIT/{name}/{kind}/0012.jpg" for kind in ("color", "depth", "ir")]
        lines.append(" ".join([*paths, str(label)]))
        for path in paths:
            (tmp_path / "root" / path).parent.mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "root" / path), np.full((8, 8, 3), 50, np.uint8))
    (tmp_path / "W-val.txt").write_bytes("\r\n".join([*lines, lines[0]]).encode())
    return tmp_path


def run(capsys, *words: object) -> tuple[int, dict, str]:
    status = main(["dataset", "check", *map(str, words), "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out), captured.err


def test_a_list_is_counted_without_its_frames(tree, capsys):
    status, report, err = run(capsys, tree / "W-val.txt")
    assert status == 0
    assert {name: report[name] for name in ("rows", "bona_fide", "attack", "duplicates")} == {
        "rows": 4,
        "bona_fide": 2,
        "attack": 2,
        "duplicates": 1,
    }
    assert report["species"] == {"bona fide": 2, "flexible mask": 1, "print": 1}
    assert report["frames"] is None
    assert "1 rows repeat" in err


def test_with_a_root_every_frame_is_opened(tree, capsys):
    status, report, _ = run(capsys, tree / "W-val.txt", "--root", tree / "root")
    assert (status, report["frames"]["files"], report["frames"]["missing"]) == (0, 9, 0)
    (gone,) = tree.glob("root/*/*/001_01_000_2_80/ir/0012.jpg")
    gone.unlink()
    status, report, err = run(capsys, tree / "W-val.txt", "--root", tree / "root")
    assert (status, report["frames"]["first_missing"]) == (1, [str(gone)])
    assert "1 of 9 files are not below" in err


def test_a_folder_and_a_shared_subject(tree, capsys):
    status, report, _ = run(capsys, tree / "root")
    assert (status, report["rows"], report["frames"]["files"]) == (0, 3, 9)
    status, report, _ = run(capsys, tree / "root", "--against", tree / "W-val.txt")
    assert status == 1
    assert report["shared_subjects"] == [
        {"against": "W-val", "subjects": 2, "first": ["WMCA/001", "WMCA/002"]}
    ]


def test_tables_are_printed_for_people(tree, capsys):
    assert main(["dataset", "check", str(tree / "root")]) == 0
    out = capsys.readouterr().out
    assert "flexible mask" in out
    assert "mixed sizes" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["W-val.txt", "--live-label", "0"], "W-val.txt:1: label 1 is not what"),
        (["W-val.txt", "--live-label", "live"], "live_label is 'live', and the labels are"),
        (["W-val.txt", "--root", "nowhere"], "root nowhere does not exist"),
        (["absent.txt"], "cannot read list absent.txt"),
        (["W-val.txt", "--against", "absent.csv"], "cannot read list absent.csv"),
        (["root", "--root", "root"], "a root goes with a list only"),
    ],
)
def test_dataset_check_reports_unreadable_input_in_one_line_with_exit_2(
    tree, capsys, monkeypatch, words, message
):
    monkeypatch.chdir(tree)
    status, document, err = run(capsys, *words)
    assert status == 2
    assert message in document["error"]
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


@pytest.fixture
def plain(tmp_path):
    """A list of others, with corners, labels 0 and 1, and depth in units of 250 micrometers."""
    for index in range(4):
        color = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), color)
        cv2.imwrite(str(tmp_path / f"{index}.d.png"), np.full((48, 64), 2800, np.uint16))
    rows = [f"{i}.png,{i}.d.png,{i % 2},{x},10,{x + 24},40" for i, x in enumerate((4, 36, 38, 12))]
    path = tmp_path / "l.csv"
    path.write_text("\n".join(["path,depth,label,x1,y1,x2,y2", *rows]) + "\n")
    return path


def test_options_say_what_a_list_leaves_open_and_the_check_says_how_it_is_read(plain, capsys):
    status, document, _ = run(capsys, plain)
    assert status == 2
    assert "`# fasdk: live_label=0` or `# fasdk: live_label=1`" in document["error"]
    status, report, err = run(capsys, plain, "--live-label", "0")
    assert (status, report["bona_fide"], report["frames"]["face_distance_mm"]) == (0, 2, 2800)
    assert "labels: 0 is bona fide, 1 is attack, by live_label" in report["reading"]
    assert [line for line in report["reading"] if line.startswith("face boxes are corners")]
    assert "faces are 2800 mm away" in err
    words = ("--live-label", "0", "--depth-scale-mm", "0.25")
    status, report, err = run(capsys, plain, *words)
    assert (status, report["frames"]["face_distance_mm"]) == (0, 700)
    assert "mm away" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--face-form", "yolo"), "face is 'yolo', expected one of xywh, xyxy, cxcywh"),
        (("--depth-scale-mm", "0"), "depth_scale_mm is 0.0, expected millimeters above 0"),
        (("--ir-shift", "9"), "ir_shift is 9, expected 0 to 8 bits"),
    ],
)
def test_an_option_that_is_no_value_of_its_kind_is_refused(plain, capsys, words, message):
    status, document, _ = run(capsys, plain, *words)
    assert status == 2
    assert message in document["error"]

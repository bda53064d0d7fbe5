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

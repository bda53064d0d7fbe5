"""Verb dataset unpack."""

from __future__ import annotations

import json

import pytest

from support.wmca_files import write_video


def test_unpacked_captures_are_what_the_other_verbs_read(fasdk, tmp_path):
    for video in ("001_01_000_0_00", "002_01_015_3_01"):
        write_video(tmp_path / "in", video)
    out = tmp_path / "out"
    ran = fasdk("dataset", "unpack", "wmca", tmp_path / "in", "-o", out, "--frame", "12", "--json")
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["captures"] == 2
    again = fasdk("dataset", "unpack", "wmca", tmp_path / "in", "-o", out, "--frame", "12")
    assert again.status == 0
    assert "Unpacked 2 captures of 2 videos" in again.stdout
    assert "already there" in again.stdout
    checked = json.loads(fasdk("dataset", "check", out / "wmca.jsonl", "--json").stdout)
    assert (checked["bona_fide"], checked["attack"], checked["frames"]["missing"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("hq-wmca", "."), "NAME is 'hq-wmca', expected wmca"),
        (("wmca", "."), "holds no .hdf5 file: give the folders of WMCA's parts"),
        (("wmca", "absent"), "absent is no folder"),
    ],
)
def test_wrong_input_is_one_line(arguments, complaint, fasdk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = fasdk("dataset", "unpack", *arguments, "-o", "out")
    assert ran.status == 2
    assert complaint in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()

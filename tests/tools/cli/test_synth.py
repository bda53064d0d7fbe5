"""Verb synth."""

from __future__ import annotations

import json

import pytest

from fasdk_calibration.datasets import read_list

SMALL = ("--captures", 30, "--seed", 2, "--size", "96x72")


def records(folder, split="train"):
    return read_list(folder / f"{split}.jsonl")


def test_captures_of_chosen_domains_species_and_frames_are_written_with_a_sheet(fasdk, tmp_path):
    out, sheet = tmp_path / "captures", tmp_path / "sheet.png"
    ran = fasdk(
        *("synth", out, *SMALL, "--domain", "W,P", "--species", "makeup,print flat"),
        *("--frames", 2, "--contact-sheet", sheet, "--json"),
    )
    assert ran.status == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["contact_sheet"] == str(sheet) and sheet.read_bytes().startswith(b"\x89PNG")
    assert set(document["lists"]) == {"train", "development", "held-out"}
    found = records(out)
    assert [r.domain for r in found[:4]] == ["office", "laboratory"] * 2
    assert {r.species for r in found} == {"bona fide", "makeup", "print flat"}
    assert len({r.presentation for r in found}) == 10  # 18 captures, 9 a domain, two a presentation


def test_the_same_seed_writes_the_same_frames(fasdk, tmp_path):
    for name in "ab":
        assert fasdk("synth", tmp_path / name, *SMALL).status == 0
    frames = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(frames) == 90
    for frame in frames:
        assert (tmp_path / "a" / frame).read_bytes() == (tmp_path / "b" / frame).read_bytes()
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--domain", "W,X"), "unknown synthetic domain 'X': choose one of W, C, P, S"),
        (("--domain", "W,W"), "name one twice"),
        (("--species", "mask"), "unknown attack species 'mask'"),
        (("--species", "bona fide"), "unknown attack species 'bona fide'"),
        (("--size", "320"), "expected WIDTHxHEIGHT"),
        (("--size", "20x20"), "at least 64x48"),
        (("--frames", 0), "--frames"),
        (("--captures", 12), "ask for at least 30"),
        (("--contact-sheet", "absent/folder/sheet.png"), "its folder does not exist"),
    ],
)
def test_invalid_synth_option_is_refused_in_one_line(words, message, fasdk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = fasdk("synth", tmp_path / "out", *SMALL, *words)
    assert ran.status == 2
    assert message in ran.stderr and ran.stderr.strip().count("\n") == 0
    assert "Traceback" not in ran.stderr

"""Verb commission: READY writes a profile that run reads, NOT READY says what to change."""

from __future__ import annotations

import json

import pytest

from support import tiny_bundle
from support.site_people import ATTACK, frames, write_frames

FACE = ("--face", "110,60,100,130")
FEW = ("--people", "2", "--presentations", "3", "--captures", "2", "--max-bpcer", "0.5")
BACKEND = ("--backend", "onnxruntime")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("site") / "tiny.fasb")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    shown = [frames(seed) for seed in range(12)]
    return write_frames(tmp_path_factory.mktemp("people"), shown)


@pytest.fixture(scope="module")
def attackers(tmp_path_factory):
    shown = [frames(seed, ATTACK) for seed in range(12)]
    return write_frames(tmp_path_factory.mktemp("attackers"), shown)


@pytest.fixture
def commission(fasdk, tiny, tmp_path):
    def run(folder, *options):
        words = ("commission", tiny, "--camera", f"replay:{folder}", "-o", tmp_path / "site.json")
        return fasdk(*words, *FACE, *FEW, *BACKEND, *options)

    return run


def test_ready_writes_a_profile_that_run_reads(commission, fasdk, tiny, people, tmp_path):
    ran = commission(people)
    assert ran.status == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("READY: the site profile is")
    for words in ("Sensors", "Quality gates", "0 of 6 presentations", "threshold 0.5"):
        assert words in ran.stdout
    assert "person 2: step before the camera" in ran.stderr
    profile = tmp_path / "site.json"
    camera = ("--camera", f"replay:{people}", *FACE, *BACKEND)
    judged = fasdk("run", tiny, *camera, "--site", profile, "--each-frame")
    assert judged.status == 0, judged.stderr
    assert "12 live" in judged.stderr


def test_not_ready_is_status_1_and_writes_nothing(commission, attackers, tmp_path):
    ran = commission(attackers)
    assert ran.status == 1
    assert ran.stdout.startswith("NOT READY: nothing is written")
    changes = ran.stdout.partition("To change before the door is ready")[2].splitlines()[3]
    assert changes.split(maxsplit=1)[0] == "BPCER" and "better light" in changes
    assert not (tmp_path / "site.json").exists()


def test_json_has_every_check(commission, people):
    ran = commission(people, "--json")
    found = json.loads(ran.stdout)
    assert found["verdict"] == "READY"
    assert {"area", "name", "status", "found", "fix"} == set(found["checks"][0])
    assert len(found["presentations"]) == 6


def test_a_profile_of_another_camera_or_edited_is_one_line(
    commission, fasdk, tiny, people, attackers, tmp_path
):
    assert commission(people).status == 0
    profile = tmp_path / "site.json"
    words = ("run", tiny, *FACE, *BACKEND, "--site", profile, "--camera")
    other = fasdk(*words, f"replay:{attackers}")
    assert other.status == 2 and "made with camera" in other.error_lines[0]
    document = json.loads(profile.read_text())
    document["limits"]["max_distance_mm"] = 5000.0
    profile.write_text(json.dumps(document))
    edited = fasdk(*words, f"replay:{people}")
    assert edited.status == 2 and "edited" in edited.error_lines[0]
    assert len(edited.error_lines) == 1


def test_a_recording_that_ends_early_is_not_ready(commission, people):
    ran = commission(people, "--people", "9", "--max-bpcer", "0.05")
    assert ran.status == 1
    assert "more presentations" in ran.stdout


def test_wrong_numbers_are_one_line(commission, people):
    ran = commission(people, "--max-bpcer", "1.5")
    assert ran.status == 2 and len(ran.error_lines) == 1


def test_run_keeps_the_doors_health(commission, fasdk, tiny, people, tmp_path):
    assert commission(people, "--captures", "1").status == 0
    health, profile = tmp_path / "health.json", tmp_path / "site.json"
    camera = ("--camera", f"replay:{people}", *FACE, *BACKEND, "--each-frame")
    ran = fasdk("run", tiny, *camera, "--site", profile, "--health", health)
    assert ran.status == 0, ran.stderr
    found = json.loads(health.read_text())
    assert found["captures"] == 12 and found["groups"] == 2
    assert sum(found["verdicts"].values()) == 12 and found["moved"] == []
    assert found["against"] == "the bundle's own record"  # too few people for a baseline
    assert set(found["quantiles"]) > {"score", "latency_ms"}
    other = fasdk("run", tiny, *camera, "--site", profile, "--health", profile)
    assert other.status == 2 and len(other.error_lines) == 1

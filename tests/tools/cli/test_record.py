"""Verb record: presentations of every camera become a list that other verbs read."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk.errors import CameraError
from fasdk_calibration.datasets import load_capture, open_dataset
from fasdk_calibration.datasets.recording import LIST_NAME

from support.recorded import litter, presentations

FACE = ("--face", "110,60,100,130")
WHO = ("--label", "attack", "--species", "print", "--subject", "s01", "--pause-s", "0")
AGREED = ("--consent", "form 17, in the office")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Sharp captures at half a meter, of which the third is dark and the fourth far away."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(3)
    for number in range(12):
        depth = np.full((240, 320), 1400, np.uint16)
        depth[50:200, 100:220] = (1700 if number == 3 else 500) + rng.integers(0, 5, (150, 120))
        light = rng.integers(60, 240, (240, 320, 3), np.uint8)
        light = light // 8 if number == 2 else light
        cv2.imwrite(str(folder / f"{number:06}.rgb.png"), light)
        cv2.imwrite(str(folder / f"{number:06}.depth.png"), depth)
        cv2.imwrite(
            str(folder / f"{number:06}.ir.png"), rng.integers(60, 240, (240, 320), np.uint8)
        )
    return folder


@pytest.fixture
def record(fasdk, people, tmp_path):
    """Run the verb on these people into one folder."""

    def run(*options, camera=f"replay:{people}", who=WHO):
        return fasdk("record", "--camera", camera, *who, *FACE, "-o", tmp_path / "lobby", *options)

    return run


@pytest.fixture
def lobby(tmp_path):
    return tmp_path / "lobby"


def test_presentations_of_a_camera_become_a_list(record, fasdk, lobby):
    ran = record(*AGREED, "--presentations", "2", "--frames", "3", "--every", "1", "--json")
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["list"] == str(lobby / LIST_NAME)
    assert (report["presentations"], report["captures"], report["seen"]) == (2, 6, 8)
    assert report["refused"] == {"too-dark": 1, "too-far": 1}
    assert list(presentations(lobby).values()) == [3, 3]
    dataset = open_dataset(lobby / LIST_NAME)
    assert {(r.species, r.subject, r.domain) for r in dataset.records} == {
        ("print", "s01", "lobby")
    }
    capture = load_capture(dataset.records[0], dataset.root)
    assert capture.face_in(Modality.IR).describe() == "110,60,100,130"
    checked = fasdk("dataset", "check", lobby / LIST_NAME, "--json")
    assert checked.status == 0
    assert json.loads(checked.stdout)["presentations"] == 2


def test_what_is_recorded_are_the_cameras_own_pixels(record, people, lobby):
    assert record(*AGREED, "--frames", "2", "--every", "5").status == 0
    records = open_dataset(lobby / LIST_NAME).records
    # One in five of those that pass: the first and, two being refused, the eighth.
    for record_, number in zip(records, (0, 7), strict=True):
        for modality in Modality:
            given = cv2.imread(
                str(people / f"{number:06}.{modality.value}.png"), cv2.IMREAD_UNCHANGED
            )
            kept = cv2.imread(str(lobby / record_.path(modality)), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(given, kept)


def test_numbers_and_reasons_are_shown(record):
    ran = record(*AGREED, "--frames", "4", "--every", "1")
    assert ran.status == 0
    text = ran.stderr
    assert re.search(
        r"kept: face 100 px wide, 50\d mm away, light \d+ of 255, sharpness \d+, infrared "
        r"saturated 0%, depth holes 0%",
        text,
    )
    assert "not kept, too-dark: the face's highlights are at" in text
    assert "not kept, too-far: the face is 170" in text
    assert re.search(r"presentation 1 of 1 is added: [0-9a-f]{8}-00001", text)
    assert "1 too-dark, 1 too-far" in ran.stdout


def test_without_gates_faults_of_the_rig_are_still_refused(record, people, lobby, tmp_path):
    assert record(*AGREED, "--no-gates", "--frames", "4", "--every", "1").status == 0
    far = load_capture(open_dataset(lobby / LIST_NAME).records[3], lobby)
    assert np.median(far.depth[60:190, 110:210]) > 1600
    meters = tmp_path / "meters"
    meters.mkdir()
    cv2.imwrite(str(meters / "0.rgb.png"), cv2.imread(str(people / "000000.rgb.png")))
    cv2.imwrite(str(meters / "0.depth.png"), np.eye(240, 320, dtype=np.uint16) + 1)
    ran = record("--no-gates", camera=f"replay:{meters}")
    assert ran.status == 2
    assert "depth-units" in ran.stderr


def test_resume_records_what_is_missing_of_the_same_kind(record, lobby):
    other = ("--label", "live", "--subject", "s01", "--pause-s", "0")
    few = ("--frames", "1", "--every", "1")
    assert record(*AGREED, *few).status == 0
    assert record(*few, who=other).status == 0
    ran = record(*few, "--presentations", "3", "--resume")
    assert ran.status == 0
    assert "Recorded 2 presentations" in ran.stdout and "in the list before" in ran.stdout
    assert len(presentations(lobby)) == 4
    ran = record(*few, "--presentations", "3", "--resume", "--json")
    assert (ran.status, json.loads(ran.stdout)["presentations"]) == (0, 0)
    assert record(*few, "--presentations", "3").status == 0  # three more
    assert len(presentations(lobby)) == 7


def assert_refused(ran, *words):
    assert ran.status == 2
    assert "Traceback" not in ran.stderr
    line = ran.error_lines[-1]
    for word in words:
        assert str(word) in line
    assert ran.stdout == ""


def test_a_stream_that_ends_drops_the_presentation_under_way_alone(record, lobby):
    ran = record(*AGREED, "--presentations", "3", "--frames", "4", "--every", "1")
    assert_refused(
        *(ran, "is over after 12 captures", "presentation 3 of 3 had 2 of 4 captures"),
        *("is not kept, 2 are added", LIST_NAME, "--resume records the others"),
    )
    assert list(presentations(lobby).values()) == [4, 4]
    assert litter(lobby) == []


def test_a_camera_that_stops_and_a_face_that_never_passes(record, lobby, monkeypatch, people):
    from fasdk.cameras.replay import ReplayCamera

    read, calls = ReplayCamera.read, []

    def stops(camera, timeout_ms=0.0):
        calls.append(timeout_ms)
        if len(calls) == 6:
            raise CameraError("RealSense camera stopped: it was unplugged")
        return read(camera, timeout_ms)

    with monkeypatch.context() as patch:
        patch.setattr(ReplayCamera, "read", stops)
        ran = record(*AGREED, "--presentations", "2", "--frames", "3", "--every", "1")
    assert_refused(ran, "it was unplugged", "presentation 2 of 2 had 0 of 3", "1 are added")
    assert len(presentations(lobby)) == 1 and litter(lobby) == []
    dark = ("--frames", "1", "--patience-s", "0")
    ran = record(*dark, camera=f"replay:{people.parent / 'none'}")
    assert_refused(ran, "cannot be replayed")
    for path in ("rgb", "depth", "ir"):
        cv2.imwrite(
            str(lobby.parent / f"0.{path}.png"),
            cv2.imread(str(people / f"000002.{path}.png"), cv2.IMREAD_UNCHANGED),
        )
    ran = record(*dark, camera=f"replay:{lobby.parent}")
    assert_refused(ran, "no capture passed for 0 s, the last one because of too-dark")
    assert len(presentations(lobby)) == 1


@pytest.mark.parametrize(
    ("who", "says"),
    [
        (("--label", "attack", "--subject", "s"), "name what was presented in the place of a face"),
        (("--label", "bona fide", "--species", "print", "--subject", "s"), "has no species"),
        (("--label", "maybe", "--subject", "s"), "expected bona fide or attack"),
        (("--label", "live", "--subject", ""), "subject is ''"),
        (("--label", "live", "--subject", "s"), "does not say that s agreed"),
        (("--label", "live", "--subject", "s", "--consent", "a\nb"), "a sentence on one line"),
        (("--label", "live", "--subject", "s", "--patience-s", "inf"), "--patience-s is inf"),
        (("--label", "live", "--subject", "s", *AGREED, "--rig", "none.json"), "none.json"),
        (("--label", "live", "--subject", "s", *AGREED, "--face-model", "n"), "give one"),
    ],
)
def test_wrong_input_is_one_line_and_makes_no_folder(record, lobby, who, says):
    ran = record(who=who)
    assert_refused(ran, says)
    assert len(ran.error_lines) == 1
    assert not lobby.exists()


def test_the_list_of_something_else_is_left_alone(record, lobby):
    lobby.mkdir()
    (lobby / LIST_NAME).write_text('{"rgb": "a.png", "label": "attack"}\n')
    ran = record(*AGREED)
    assert_refused(ran, f"{LIST_NAME}:1: is no list of a recording", "into another folder")
    assert [path.name for path in lobby.iterdir()] == [LIST_NAME]


def test_a_folder_that_takes_no_file(record, lobby):
    lobby.parent.joinpath("lobby").write_text("")
    assert_refused(record(*AGREED), "lobby is no folder")
    lobby.unlink()
    lobby.symlink_to("/proc/self")
    assert_refused(record(*AGREED), "lobby")


def video(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 15, (320, 240))
    rng = np.random.default_rng(len(path.name))
    for _ in range(frames):
        small = rng.integers(60, 240, (60, 80, 3), np.uint8)
        writer.write(cv2.resize(small, (320, 240), interpolation=cv2.INTER_NEAREST))
    writer.release()
    return path


def test_a_video_is_a_camera_too(record, lobby, tmp_path):
    film = video(tmp_path / "film.avi", 12)
    ran = record(*AGREED, "--frames", "2", "--every", "3", camera=f"opencv:{film}")
    assert ran.status == 0, ran.stderr
    records = open_dataset(lobby / LIST_NAME).records
    assert [r.modalities for r in records] == [(Modality.RGB,)] * 2
    capture = load_capture(records[1], lobby)
    assert capture.face_in(Modality.RGB).describe() == "110,60,100,130"

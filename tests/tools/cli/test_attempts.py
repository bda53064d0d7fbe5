"""Verb attempts: what each camera has on its account, and the release by hand."""

from __future__ import annotations

import json

from fasdk.tracking import attempt_files
from fasdk.tracking.policy import LockOutPolicy, TrackPolicy
from fasdk.tracking.tracks import account_of


def charge(camera: str, *, lock: bool = False) -> None:
    policy = TrackPolicy(lock_out=LockOutPolicy(spoofs=1, locked_ms=None))
    account = account_of(camera, policy)
    account.begin(1.0, 1.0)
    if lock:
        account.spoof(1.0, same_face=False)


def test_it_shows_what_each_camera_has(fasdk):
    charge("lobby", lock=True)
    charge("garage")
    ran = fasdk("attempts")
    assert ran.status == 0
    assert "2 cameras with an account of attempts" in ran.stdout
    assert "until released" in ran.stdout
    document = json.loads(fasdk("attempts", "--json").stdout)
    found = {each["camera"]: each for each in document["cameras"]}
    assert (found["lobby"]["attempts"], found["lobby"]["is_locked_out"]) == (1, True)
    assert (found["garage"]["attempts"], found["garage"]["is_locked_out"]) == (1, False)


def test_release_forgets_one_camera_and_no_other(fasdk):
    charge("lobby", lock=True)
    charge("garage")
    ran = fasdk("attempts", "--release", "lobby", "--json")
    assert ran.status == 0
    document = json.loads(ran.stdout)
    found = {each["camera"]: each["attempts"] for each in document["cameras"]}
    assert document["released"] == "lobby"
    assert found == {"lobby": 0, "garage": 1}


def test_release_takes_a_camera_as_run_takes_it(fasdk):
    charge("rtsp://door.example/ch1", lock=True)
    released = "opencv:rtsp://joe:hush@door.example:554/ch1?transport=tcp&allow=network"
    ran = fasdk("attempts", "--release", released, "--json")
    document = json.loads(ran.stdout)
    assert document["released"] == "rtsp://door.example/ch1"
    assert [each["attempts"] for each in document["cameras"]] == [0]


def test_an_unknown_camera_is_one_line_and_exit_2(fasdk):
    ran = fasdk("attempts", "--release", "attic")
    assert ran.status == 2
    assert "camera 'attic' has no account of attempts" in ran.stderr


def test_a_damaged_file_is_named_and_can_be_released(fasdk):
    charge("lobby")
    (path,) = attempt_files.recorded()
    path.write_bytes(b"damaged")
    ran = fasdk("attempts", "--json")
    (message,) = json.loads(ran.stdout)["damaged"]
    assert str(path) in message
    released = json.loads(fasdk("attempts", "--release", "lobby", "--json").stdout)
    assert (released["damaged"], released["cameras"][0]["attempts"]) == ([], 0)

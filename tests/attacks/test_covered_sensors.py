"""An attacker who chooses which sensors a door sees, by covering or unplugging the others.

Each combination of modalities has a threshold of its own, and the attack needs only one that suits
it. By default every one of the model's modalities is required: RETRY (modality-missing). Where a
door is set to decide on what is there, a combination that its camera never showed before is an
ERROR (new-combination) for somebody to look after, after a restart too.
"""

from __future__ import annotations

import itertools
import logging
import time

import pytest

import fasdk
from fasdk.capture_loop import run_captures
from fasdk.decision import MissingModalities, Verdict
from fasdk.errors import UsageError
from fasdk.reasons import Reason
from fasdk.tracking.combinations import ShownCombinations
from fasdk.tracking.policy import TrackPolicy

from support import tiny_bundle
from support.scripted_camera import ScriptedCamera

RGB, DEPTH, IR = ALL = tuple(fasdk.Modality)
SEEDS = itertools.count()
PERSUASIVE = 255  # level of frames that are LIVE at every threshold


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASDK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def door(tmp_path, home):
    """A bundle with thresholds for all modalities, for color and infrared, and for color."""
    combinations = (ALL, (RGB, IR), (RGB,))
    return tiny_bundle.write(
        tmp_path / "door.fasb",
        operating_points=tuple(tiny_bundle.point(modalities=each) for each in combinations),
    )


def opened(door, **settings):
    settings = {"limits": fasdk.QualityLimits.off(), **settings}
    # Unsigned, since each test has a home of its own and with it other keys.
    trust = fasdk.TrustPolicy.unsigned()
    return fasdk.open(door, backend="onnxruntime", threads=1, trust=trust, **settings)


def show(track, modalities, level=PERSUASIVE, frames=1):
    answers = []
    for _ in range(frames):
        if frames > 1:
            time.sleep(0.06)  # one frame in 50 ms counts
        capture = tiny_bundle.capture(level, modalities, next(SEEDS))
        if capture.depth is not None:
            capture.depth[0, 0] = 500 + next(SEEDS)  # no sensor gives a frame twice
        answers.append(track.check(capture))
    return answers[-1]


ONE = {"frames_required": 1, "attempts": None, "lock_out": None}


@pytest.mark.parametrize("shown", [(RGB,), (RGB, IR), (RGB, DEPTH), (DEPTH, IR), (IR,)])
def test_by_default_nothing_is_decided_without_every_modality(door, home, shown):
    capture = tiny_bundle.capture(PERSUASIVE, shown)
    with opened(door) as session:
        track = session.track("door")
        answers = [
            session.check(capture),
            session.submit(capture).result(),
            track.check(capture),
            *(r.decision for r in run_captures(ScriptedCamera(capture), track)),
        ]
        assert session.track("other", TrackPolicy()).check(capture).codes == answers[0].codes
    for answer in answers:
        assert (answer.verdict, answer.codes) == (Verdict.RETRY, (Reason.MODALITY_MISSING,))
        assert "--missing-modalities degrade" in answer.reasons[0]  # the fix for such a rig
        assert "MissingModalities.DEGRADE" in answer.reasons[0]


def test_a_camera_that_showed_every_modality_is_not_believed_with_fewer(door, home, caplog):
    with opened(door, missing="degrade") as session, caplog.at_level(logging.WARNING):
        track = session.track("door", TrackPolicy(missing="degrade", **ONE))
        assert show(track, ALL).is_live
        for shown in ((RGB,), (RGB,), (RGB, IR), (RGB,)):
            found = show(track, shown)
            assert (found.verdict, found.codes) == (Verdict.ERROR, (Reason.NEW_COMBINATION,))
        assert show(track, ALL).is_live  # whoever uncovers the sensors is answered again
    logged = [r.message for r in caplog.records if r.name == "fasdk.tracking"]
    assert len(logged) == 2  # each combination once, however many frames show it
    assert "camera door shows rgb alone, it showed rgb+depth+ir so far" in logged[0]


def test_the_policy_of_the_session_is_that_of_its_tracks(door, home):
    with opened(door, missing=MissingModalities.DEGRADE) as session:
        track = session.track("door")
        assert show(track, (RGB, IR), frames=3).is_live  # the rig that has no depth sensor
        assert show(track, (RGB,)).codes == (Reason.NEW_COMBINATION,)
        assert show(track, ALL, frames=3).is_live  # more than it showed, and all there is


def test_a_restart_with_a_covered_sensor_is_not_a_new_camera(door, home):
    policy = TrackPolicy(missing="degrade", **ONE)
    with opened(door, missing="degrade") as session:
        assert show(session.track("door", policy), ALL).is_live
    with opened(door, missing="degrade") as session:
        found = show(session.track("door", policy), (RGB,))
        assert found.codes == (Reason.NEW_COMBINATION,)
        assert show(session.track("another door", policy), (RGB,)).is_live
    # The message names a file, and without it the rig may be another one.
    (kept,) = [f for f in (home / "state" / "combinations").iterdir() if str(f) in found.reasons[0]]
    kept.unlink()
    with opened(door, missing="degrade") as session:
        assert show(session.track("door", policy), (RGB,)).is_live


def test_named_combinations_are_the_only_ones_besides_all(door, home):
    policy = TrackPolicy(missing="degrade", combinations=(("rgb", "ir"),), **ONE)
    with opened(door, missing="degrade") as session:
        track = session.track("door", policy)
        assert show(track, (RGB,)).codes == (Reason.NEW_COMBINATION,)  # though it comes first
        assert show(track, (IR, RGB)).is_live
        assert show(track, ALL).is_live
        assert show(track, (RGB,)).codes == (Reason.NEW_COMBINATION,)
    assert not (home / "state" / "combinations").exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"modalities": ["sonar"]}', b"\xff" * 9])
def test_a_damaged_record_is_a_fault_and_not_a_new_camera(home, text):
    first = ShownCombinations("door")
    assert first.finding(ALL, ALL) is None
    (kept,) = (home / "state" / "combinations").iterdir()
    kept.write_bytes(text)
    found = ShownCombinations("door").finding((RGB,), ALL)
    assert found.reason is Reason.NEW_COMBINATION
    assert f"{kept}" in found.message
    kept.unlink()  # as the message says
    assert ShownCombinations("door").finding((RGB,), ALL) is None


def test_where_nothing_can_be_kept_the_process_still_remembers(home, caplog):
    home.write_text("no folder")
    shown = ShownCombinations("door", ((RGB, IR),))
    assert shown.finding((RGB,), ALL).reason is Reason.NEW_COMBINATION
    assert ShownCombinations("door").finding(ALL, ALL).reason is Reason.NEW_COMBINATION


@pytest.mark.parametrize(
    "settings",
    [
        {"combinations": ((RGB,),)},
        {"missing": "degrade", "combinations": ("rgb",)},
        {"missing": "degrade", "combinations": "rgb"},
        {"missing": "degrade", "combinations": ((),)},
        {"missing": "degrade", "combinations": (("sonar",),)},
    ],
)
def test_combinations_that_mean_nothing_are_refused(settings):
    with pytest.raises(UsageError, match="combinations"):
        TrackPolicy(**settings)

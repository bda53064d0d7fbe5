"""Commissioning: planted faults of a site are named, a sound site is READY, nothing is loosened."""

from __future__ import annotations

import math

import pytest

import fasdk
from fasdk.errors import UsageError
from fasdk.quality import QualityLimits
from fasdk_calibration.metrics import ErrorRate
from fasdk_tools.commissioning.checks import Status, more_needed
from fasdk_tools.commissioning.commissioning import Commissioning
from fasdk_tools.commissioning.plan import Plan, StepKind
from fasdk_tools.commissioning.report import report_of

from support import tiny_bundle
from support.site_people import ATTACK, PeopleCamera, frames

PEOPLE = {"people": 2, "presentations": 10, "captures": 3}
COUNT = 60


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = tiny_bundle.write(tmp_path_factory.mktemp("site") / "tiny.fasb")
    with fasdk.open(path, backend="onnxruntime", limits=QualityLimits()) as opened:
        yield opened


def run(session, shown, *, plan=None, max_bpcer=0.15, **camera):
    source = PeopleCamera(shown, **camera)
    commissioning = Commissioning(Plan.of(**(plan or PEOPLE)), session, source)
    for capture in source:
        if commissioning.progress.step is None:
            break
        commissioning.take_in(capture)
    return commissioning, report_of(commissioning, max_bpcer=max_bpcer)


def failed(report):
    return {check.name for check in report.checks if check.status is Status.FAIL}


@pytest.fixture(scope="module")
def sound(session):
    return run(session, [frames(seed, distance_mm=450 + seed) for seed in range(COUNT)])


def test_a_sound_site_is_ready(sound):
    commissioning, report = sound
    assert report.is_ready, [c for c in report.checks if c.status is Status.FAIL]
    assert commissioning.progress.step is None
    assert report.captures == COUNT and report.share_turned_away == 0.0
    assert len(report.of(StepKind.PERSON)) == 20
    assert report.threshold == 0.5


def test_its_profile_tightens_where_people_stood_and_nothing_else(sound):
    commissioning, report = sound
    profile = report.profile(commissioning.started_unix_s)
    assert {"min_distance_mm", "max_distance_mm", "min_face_px"} <= profile.limits.keys()
    assert 400 <= profile.limits["min_distance_mm"] < 450
    assert 510 < profile.limits["max_distance_mm"] <= 560
    tightened = profile.tightened(QualityLimits())
    assert tightened.min_sharpness == QualityLimits().min_sharpness
    assert profile.commissioned.presentations == 20 and profile.commissioned.refused == 0
    assert profile.commissioned.bpcer_upper == pytest.approx(0.139, abs=0.001)


def test_its_profile_has_a_baseline_of_one_group_a_presentation(sound):
    commissioning, report = sound
    baseline = report.profile(commissioning.started_unix_s).baseline
    assert baseline.groups == 20
    names = {event.id for event in baseline.events}
    assert {"sharpness low", "score low", "distance_mm high", "ir-unlit"} <= names
    assert all(0.0 < event.bound < 0.6 for event in baseline.events)


def test_no_frame_is_kept(sound):
    commissioning, _ = sound
    kept = vars(commissioning).values()
    assert not any(isinstance(each, fasdk.Capture) for each in kept)
    assert all(isinstance(each.score, float) for each in commissioning.readings)


@pytest.mark.parametrize(
    ("shown", "camera", "check"),
    [
        ({"ir_level": 8}, {}, "ir-unlit"),
        ({"distance_mm": 1290}, {}, None),
        ({}, {"skew_ms": 70.0}, "skew"),
        ({}, {"times": False}, "stale"),
        ({"distance_mm": 5}, {}, "depth-units"),
        ({"level": 20}, {}, "captures turned away"),
    ],
)
def test_a_planted_fault_is_named(session, shown, camera, check):
    _, report = run(session, [frames(seed, **shown) for seed in range(24)], **camera)
    assert not report.is_ready
    if check is not None:
        assert check in failed(report)
        named = next(each for each in report.checks if each.name == check)
        assert named.fix


def test_a_camera_that_repeats_frames_or_lacks_a_sensor_is_named(session):
    same = [frames(7)] * 24
    assert "not-new" in failed(run(session, same)[1])
    blind = [{k: v for k, v in frames(seed).items() if k != "ir"} for seed in range(24)]
    assert "modalities" in failed(run(session, blind)[1])


def test_genuine_people_who_are_refused_make_it_not_ready(session):
    _, report = run(session, [frames(seed, ATTACK) for seed in range(COUNT)])
    assert "BPCER" in failed(report)


def test_too_few_presentations_say_how_many_more(session):
    plan = {"people": 1, "presentations": 10, "captures": 2}
    _, report = run(session, [frames(seed) for seed in range(20)], plan=plan)
    assert failed(report) == {"BPCER"}
    check = next(each for each in report.checks if each.name == "BPCER")
    assert check.fix.startswith("9 more presentations")  # 19 support 15 %


@pytest.mark.parametrize(
    ("errors", "total", "most", "more"), [(0, 20, 0.15, 0), (0, 1, 0.15, 18), (1, 20, 0.15, 10)]
)
def test_more_needed_is_the_least_number_that_supports_the_rate(errors, total, most, more):
    assert more_needed(ErrorRate(errors, total), most) == more
    assert ErrorRate(errors, total + more).upper() <= most
    if more:
        assert ErrorRate(errors, total + more - 1).upper() > most


@pytest.mark.parametrize(("level", "status"), [(ATTACK, Status.OK), (120, Status.FAIL)])
def test_attacks_are_held_against_the_bundles_bound(session, level, status):
    plan = PEOPLE | {"attacks": ["print"], "attack_presentations": 4}
    shown = [frames(seed) for seed in range(COUNT)]
    shown += [frames(1000 + seed, level) for seed in range(12)]
    _, report = run(session, shown, plan=plan)
    check = next(each for each in report.checks if each.name == "print")
    assert check.status is status, check
    assert len(report.of(StepKind.ATTACK)) == 4


def test_a_step_without_a_judged_capture_ends_and_counts_as_unanswered(session):
    plan = {"people": 1, "presentations": 2, "captures": 2}
    commissioning, report = run(session, [frames(seed, level=20) for seed in range(40)], plan=plan)
    assert commissioning.progress.step is None
    assert all(math.isnan(each.score) for each in report.presentations)
    assert "presentations answered" in failed(report)


@pytest.mark.parametrize(
    "wrong", [{"people": 0}, {"attacks": ["print", "print"]}, {"attacks": [""]}]
)
def test_a_plan_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        Plan.of(**wrong)

"""Verb profile against another bundle and against a stored profile."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fasdk.capture import Modality
from fasdk_tools.profiling import against, run
from fasdk_tools.profiling.against import Against
from fasdk_tools.profiling.interleaved import PairedTimes
from fasdk_tools.profiling.result import ProfileDocument
from fasdk_tools.profiling.yardstick import YardstickTimes

from support import tiny_bundle

QUICK = ("--seconds", "0.05", "--warmup", "1", "--backend", "onnxruntime")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("compared") / "tiny.fasb")


@pytest.fixture
def slowed(monkeypatch):
    """Make the calls of the bundle in question take so much longer than the other's."""

    def by(share):
        first = np.random.default_rng(0).normal(5.0, 0.1, (20, 20))
        times = PairedTimes(first, first * (1.0 + share))
        monkeypatch.setattr(against, "interleave", lambda *_, **__: times)

    return by


def yardstick(check_ms=5.0, compute_ms=1.0):
    return YardstickTimes(
        check_ms=[[check_ms] * 20] * 20,
        compute_ms=[[compute_ms] * 20] * 20,
        copy_ms=[[2.0] * 20] * 20,
    )


@pytest.fixture
def measured(monkeypatch):
    """Make the profile measure given times beside the yardstick."""

    def as_given(**times):
        taken = yardstick(**times)
        monkeypatch.setattr(run, "measure_beside_yardstick", lambda *_, **__: taken)

    return as_given


def test_two_bundles_are_measured_in_turns(fasdk, tiny):
    ran = fasdk("profile", tiny, "--against", tiny, *QUICK, "--json")
    assert ran.status in (0, 1)  # busy cores decide nothing here
    found = Against.model_validate(json.loads(ran.stdout))
    assert found.slower == (ran.status == 1)
    assert found.rounds >= 20
    assert found.bundle == found.against


@pytest.mark.parametrize(
    ("share", "options", "status", "verdict"),
    [
        (0.10, (), 1, "Slower than"),
        (0.00, (), 0, "Not slower than"),
        (0.10, ("--tolerance", "0.2"), 0, "Not slower than"),
        (-0.30, (), 0, "Not slower than"),
    ],
)
def test_a_slower_bundle_ends_in_status_1(fasdk, tiny, slowed, share, options, status, verdict):
    slowed(share)
    ran = fasdk("profile", tiny, "--against", tiny, *options, *QUICK)
    assert (ran.status, ran.error_lines) == (status, [])
    assert ran.stdout.startswith(verdict)
    assert f"{1 + share:.3f} (95 % interval" in ran.stdout


def test_bundles_with_different_inputs_are_refused(fasdk, tiny, tmp_path):
    inputs = tiny_bundle.manifest().inputs
    crop = inputs[Modality.RGB].model_copy(update={"mean": (0.0,) * 3})
    other = tiny_bundle.write(tmp_path / "other.fasb", inputs=inputs | {Modality.RGB: crop})
    ran = fasdk("profile", tiny, "--against", other, *QUICK)
    assert ran.status == 2
    assert len(ran.error_lines) == 1
    assert "have different inputs.rgb" in ran.error_lines[0]


def test_a_profile_is_compared_with_the_one_that_json_stored(fasdk, tiny, measured, tmp_path):
    stored = tmp_path / "old.json"
    measured(check_ms=5.0)
    stored.write_text(fasdk("profile", tiny, *QUICK, "--json").stdout)
    for check_ms, status, verdict in ((5.0, 0, "Not slower than"), (6.0, 1, "Slower than")):
        measured(check_ms=check_ms)
        ran = fasdk("profile", tiny, *QUICK, "--baseline", stored)
        assert (ran.status, ran.error_lines) == (status, [])
        assert verdict in ran.stdout
    again = fasdk("profile", tiny, *QUICK, "--baseline", stored, "--json")
    assert again.status == 1
    found = ProfileDocument.model_validate(json.loads(again.stdout))
    assert (found.baseline.comparable, found.baseline.slower) == (True, True)


def test_a_machine_that_changed_is_not_compared(fasdk, tiny, measured, tmp_path):
    stored = tmp_path / "old.json"
    measured()
    stored.write_text(fasdk("profile", tiny, *QUICK, "--json").stdout)
    measured(check_ms=6.0, compute_ms=1.2)
    ran = fasdk("profile", tiny, *QUICK, "--baseline", stored)
    assert ran.status == 2
    assert "Not comparable" in ran.stdout
    assert "its computation takes 1.20 times as long" in ran.error_lines[0]


def test_what_is_stored_comes_from_calls_beside_the_yardstick(fasdk, tiny):
    ran = fasdk("profile", tiny, *QUICK, "--json")
    taken = ProfileDocument.model_validate(json.loads(ran.stdout)).yardstick
    assert len(taken.check_ms) >= 20
    assert len(taken.check_ms) == len(taken.copy_ms)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--baseline", "absent.json"),
        ("--baseline", __file__),
        ("--against", "absent.fasb"),
        ("--against", __file__),
    ],
)
def test_a_wrong_file_is_one_line(fasdk, tiny, wrong):
    ran = fasdk("profile", tiny, *QUICK, *wrong)
    assert (ran.status, ran.stdout) == (2, "")
    assert len(ran.error_lines) == 1
    assert wrong[1] in ran.error_lines[0]


def test_a_tolerance_that_is_no_share_is_refused(fasdk, tiny):
    ran = fasdk("profile", tiny, *QUICK, "--against", tiny, "--tolerance", "nan")
    assert ran.status == 2
    assert "--tolerance is nan" in ran.error_lines[0]

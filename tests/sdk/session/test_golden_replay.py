"""Golden captures replayed by a session: drift, flips, and captures that make no sense."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fasdk
from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.golden import GoldenCapture
from fasdk.capture import Modality
from fasdk.decision import Verdict
from fasdk.errors import (
    BackendError,
    BundleError,
    PlanError,
)
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.golden_bundle import with_golden
from support.scripted_engine import LIVE, FakeEngine

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR


def test_a_true_engine_reproduces_its_golden_captures(session):
    assert 0.0 <= session.replay_golden() <= 1e-6


def drifted(bundle, change):
    """Return a session whose engine is right but for `change` of its outputs."""
    real = OnnxRuntimeEngine(bundle.graph, threads=1)

    class Drifted(FakeEngine):
        def run(self, inputs):
            return change(real.run(inputs))

    return Liveness(bundle, Drifted(None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: EngineOutputs(o.logits + np.float32([0, 0.5]), o.reliability), "allowed drift"),
        (lambda o: EngineOutputs(-o.logits, o.reliability), "the bundle says"),
        (lambda o: EngineOutputs(o.logits * np.float32(np.nan), o.reliability), "nan"),
        (lambda o: EngineOutputs(o.logits, o.reliability * np.float32(np.nan)), "nan"),
    ],
)
def test_an_engine_that_drifts_fails_its_golden_captures(bundle, change, words):
    with pytest.raises(PlanError, match=words):
        drifted(bundle, change).replay_golden()


def test_golden_drift_within_the_tolerance_is_measured(bundle):
    nudged = drifted(
        bundle, lambda o: EngineOutputs(o.logits + np.float32([0, 0.01]), o.reliability)
    )
    assert 0.0005 < nudged.replay_golden() <= 0.01


def test_an_engine_of_another_shape_fails_its_golden_captures(bundle):
    with pytest.raises(BackendError, match=r"expected float32 \[1, 2\]"):
        drifted(bundle, lambda o: EngineOutputs(o.logits[:, :1], o.reliability)).replay_golden()


def golden_score(folder):
    """Return a golden capture and its score before calibration."""
    described, graph = tiny_bundle.manifest(), tiny_bundle.graph_bytes()
    golden = tiny_bundle.golden(tiny_bundle.capture(200), described, graph)
    path = with_golden(folder, described, graph, golden)
    with fasdk.open(path, backend=Backend.ONNXRUNTIME) as session:
        return golden, session.check(golden.capture).score


def lowered(bundle, by):
    return drifted(bundle, lambda o: EngineOutputs(o.logits - np.float32([0, by]), o.reliability))


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_a_verdict_that_flips_inside_the_tolerance_at_any_level_fails(tmp_path, level):
    golden, score = golden_score(tmp_path)
    others = {"standard": 0.5} | {level: score - 1e-4}
    points = tuple(tiny_bundle.point(name, threshold=value) for name, value in others.items())
    described = tiny_bundle.manifest(operating_points=points, golden_tolerance=0.05)
    bundle = open_bundle(with_golden(tmp_path, described, tiny_bundle.graph_bytes(), golden))
    assert lowered(bundle, 0.0).replay_golden() == 0.0
    with pytest.raises(
        PlanError, match=rf"\(spoof at {level}/rgb\+depth\+ir\), the bundle says .* \(live\)"
    ):
        lowered(bundle, 0.01).replay_golden()


@pytest.mark.parametrize("slope", [1e-6, 1.0, 1e3])
def test_golden_drift_is_the_engines_own_whatever_calibration_makes_of_it(tmp_path, slope):
    golden, _ = golden_score(tmp_path)
    described = tiny_bundle.manifest(
        operating_points=(), score_calibrations=(tiny_bundle.calibration(slope, 0.0),)
    )
    bundle = open_bundle(with_golden(tmp_path, described, tiny_bundle.graph_bytes(), golden))
    assert lowered(bundle, 0.1).replay_golden() == pytest.approx(0.0055, abs=0.0005)
    with pytest.raises(PlanError, match="allowed drift"):
        lowered(bundle, 0.5).replay_golden()


def test_a_calibrated_score_is_what_is_judged_and_shown(tmp_path):
    _, score = golden_score(tmp_path)
    calibration = tiny_bundle.calibration(slope=0.5, offset=-1.0)
    expected = 1 / (1 + math.exp(1.0 - 0.5 * math.log(score / (1 - score))))
    for threshold, verdict in [(expected - 1e-4, Verdict.LIVE), (expected + 1e-4, Verdict.SPOOF)]:
        path = tiny_bundle.write(
            tmp_path / "calibrated.fasb",
            operating_points=(
                tiny_bundle.point(threshold=threshold, calibrated=True),
                tiny_bundle.point(modalities=(RGB,), threshold=0.9),
            ),
            score_calibrations=(calibration,),
        )
        with fasdk.open(path, backend=Backend.ONNXRUNTIME, missing="degrade") as session:
            decision = session.check(tiny_bundle.capture(200))
            alone = session.check(tiny_bundle.capture(200, (RGB,)))
        assert decision.verdict is verdict
        assert decision.score == pytest.approx(expected, abs=1e-6)
        assert decision.class_scores["bona fide"] == pytest.approx(score, abs=1e-6)
        assert alone.score == alone.class_scores["bona fide"]  # nothing was fitted on rgb alone


def test_a_bundle_without_golden_captures_proves_nothing(tmp_path):
    path = with_golden(tmp_path, tiny_bundle.manifest(), tiny_bundle.graph_bytes())
    with pytest.raises(PlanError, match="holds no golden capture"):
        fasdk.open(path, backend=Backend.ONNXRUNTIME)


@pytest.mark.parametrize(
    ("capture", "logits", "words"),
    [
        (tiny_bundle.capture(200, (IR,)), LIVE, "cannot be scored: the capture lacks rgb"),
        (tiny_bundle.capture(200), np.float32([0, np.nan]), "nan"),
    ],
)
def test_a_golden_capture_that_makes_no_sense_fails(tmp_path, capture, logits, words):
    golden = GoldenCapture(capture, logits)
    path = with_golden(tmp_path, tiny_bundle.manifest(), tiny_bundle.graph_bytes(), golden)
    with pytest.raises(PlanError, match=words):
        fasdk.open(path, backend=Backend.ONNXRUNTIME)


def test_a_golden_capture_of_other_labels_is_not_written(tmp_path):
    golden = GoldenCapture(tiny_bundle.capture(200), np.float32([0, 1, 2]))
    with pytest.raises(BundleError, match="3 logits, the manifest has 2 labels"):
        with_golden(tmp_path, tiny_bundle.manifest(), tiny_bundle.graph_bytes(), golden)

"""Liveness sessions: LIVE for a live face, ERROR for every fault."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import threading
import time

import numpy as np
import pytest

import fasdk
from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.golden import GoldenCapture
from fasdk.bundle.signing import generate_key
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import Modality
from fasdk.decision import MissingModalities, Verdict
from fasdk.errors import (
    BackendError,
    BundleError,
    CaptureError,
    TrustError,
    UsageError,
)
from fasdk.preprocess import CropRule, PreprocessSpec, to_batch
from fasdk.reasons import Reason
from fasdk.session.session import Liveness
from fasdk.telemetry import Stage

from support import tiny_bundle
from support.golden_bundle import with_golden
from support.scripted_engine import LIVE, FakeEngine, Gate, live, until

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR


def summary(decision):
    """Return everything but the timings, comparable."""
    fields = dataclasses.asdict(decision)
    del fields["timings_ms"]
    return fields


def test_a_bright_face_is_live_and_a_dark_one_is_not(session):
    bright, dark = session.check(tiny_bundle.capture(200)), session.check(tiny_bundle.capture(60))
    assert (bright.verdict, dark.verdict) == (Verdict.LIVE, Verdict.SPOOF)
    assert bright.reasons == dark.reasons == ()
    assert bright.score > 0.5 > dark.score
    assert bright.threshold == 0.5
    assert bright.operating_point == "standard/rgb+depth+ir"
    assert bright.modalities == (RGB, DEPTH, IR)
    assert bright.bundle_id == session.bundle.id
    assert bright.class_scores["bona fide"] == bright.score
    assert math.isclose(sum(bright.class_scores.values()), 1.0)
    assert list(bright.reliability) == ["rgb", "depth", "ir"]
    assert all(0 <= v <= 1 for v in bright.reliability.values())


def test_the_score_is_the_graphs_own(session):
    capture = tiny_bundle.capture(150)
    means = {
        name: float(tensor.mean(axis=(0, 2, 3)).mean())
        for name, tensor in to_batch([capture], session.bundle.manifest.inputs).items()
    }
    logit = 4 * means["rgb"] + means["depth"] + means["ir"]
    assert session.check(capture).score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)


def test_without_an_operating_point_the_answer_is_error_with_the_score(tmp_path):
    path = tiny_bundle.write(tmp_path / "x.fasb", operating_points=())
    with fasdk.open(path, backend=Backend.ONNXRUNTIME) as session:
        decision = session.check(tiny_bundle.capture(250))
    assert decision.verdict is Verdict.ERROR
    assert "no operating point" in decision.reasons[0]
    assert decision.score > 0.9
    assert decision.threshold is None
    assert decision.operating_point is None


def test_a_level_nobody_tuned_is_error(bundle_path):
    with fasdk.open(bundle_path, backend=Backend.ONNXRUNTIME, level="strict") as session:
        decision = session.check(tiny_bundle.capture(250))
    assert decision.verdict is Verdict.ERROR
    assert "no operating point for strict/rgb+depth+ir" in decision.reasons[0]


def test_an_absent_required_modality_is_error(session):
    decision = session.check(tiny_bundle.capture(250, (DEPTH, IR)))
    assert decision.verdict is Verdict.ERROR
    assert "lacks rgb, which this bundle requires" in decision.reasons[0]
    assert math.isnan(decision.score)
    with pytest.raises(CaptureError, match="lacks rgb"):
        session.require(tiny_bundle.capture(250, (DEPTH, IR)))


def test_a_graph_that_takes_presence_hears_it_in_model_order_for_each_capture(bundle):
    manifest = bundle.manifest.model_copy(update={"presence": True, "required": ()})
    engine = FakeEngine(live)
    mixed = [tiny_bundle.capture(200), tiny_bundle.capture(200, (IR,)), tiny_bundle.capture(9)]
    told = Liveness(dataclasses.replace(bundle, manifest=manifest), engine).check_batch(mixed)
    assert [d.modalities for d in told] == [(RGB, DEPTH, IR), (IR,), (RGB, DEPTH, IR)]
    assert [d.verdict for d in told] == [Verdict.LIVE, Verdict.ERROR, Verdict.LIVE]
    assert "no operating point for standard/ir" in told[1].reasons[0]
    (batch,) = engine.batches
    assert batch["present"].tolist() == [[1, 1, 1], [0, 0, 1], [1, 1, 1]]


def test_a_capture_with_nothing_the_model_looks_at_is_error(bundle):
    only_rgb = {"modalities": (RGB,), "inputs": {RGB: bundle.manifest.inputs[RGB]}, "required": ()}
    manifest = bundle.manifest.model_copy(update=only_rgb)
    only_rgb = dataclasses.replace(bundle, manifest=manifest)
    session = Liveness(only_rgb, FakeEngine(live), missing="degrade")
    decision = session.check(tiny_bundle.capture(200, (IR,)))
    assert decision.verdict is Verdict.ERROR
    assert "holds ir, this bundle uses rgb" in decision.reasons[0]


def test_an_absent_optional_modality_is_judged_by_its_own_point(bundle):
    engine = FakeEngine(live)
    decision = Liveness(bundle, engine, missing="degrade").check(tiny_bundle.capture(200, (RGB,)))
    assert decision.verdict is Verdict.LIVE
    assert decision.operating_point == "standard/rgb"
    assert decision.threshold == 0.9
    assert decision.modalities == (RGB,)
    assert (engine.batches[0]["depth"] == -1.0).all()
    assert (engine.batches[0]["ir"] == 0.0).all()
    decision = Liveness(bundle, engine, missing="degrade").check(
        tiny_bundle.capture(200, (RGB, IR))
    )
    assert decision.verdict is Verdict.ERROR
    assert "no operating point for standard/rgb+ir" in decision.reasons[0]


@pytest.mark.parametrize("missing", list(MissingModalities))
def test_missing_modalities_policy_may_be_given_by_name(bundle, missing):
    color = tiny_bundle.capture(255, (RGB,))
    answers = []
    for said in (missing, missing.value):
        with Liveness(bundle, FakeEngine(live), missing=said) as session:
            answers.append(summary(session.check(color)))
    assert answers[0] == answers[1]
    with pytest.raises(UsageError, match="missing is 'ignore', expected require, degrade or"):
        Liveness(bundle, FakeEngine(live), missing="ignore")


def test_a_batch_gives_each_capture_the_answer_it_gets_alone_in_order(session):
    captures = [
        tiny_bundle.capture(level, modalities, seed)
        for seed, (level, modalities) in enumerate(
            [(200, (RGB, DEPTH, IR)), (60, (RGB,)), (250, (RGB,)), (128, (RGB, DEPTH, IR))]
        )
    ]
    together = session.check_batch(captures)
    alone = [session.check(capture) for capture in captures]
    assert len({d.score for d in together}) == 4
    for one, many in zip(alone, together, strict=True):
        assert many.score == pytest.approx(one.score, abs=1e-6)
        assert (many.verdict, many.modalities) == (one.verdict, one.modalities)
    assert session.check_batch([]) == []
    with pytest.raises(UsageError, match="captures is a int, expected several"):
        session.check_batch(5)
    with pytest.raises(UsageError, match="captures is a Capture, expected several"):
        session.check_batch(captures[0])
    assert [d.score for d in session.check_batch(iter(captures))] == [d.score for d in together]


def test_a_capture_that_cannot_be_judged_spoils_no_other(session):
    good = tiny_bundle.capture(200)
    for bad in (tiny_bundle.capture(200, (IR,)), None, "capture"):
        answers = session.check_batch([good, bad, good])
        assert [a.verdict for a in answers] == [Verdict.LIVE, Verdict.ERROR, Verdict.LIVE]
        assert summary(answers[0]) == summary(answers[2])
        assert answers[1].reasons
    assert session.check_batch([None])[0].verdict is Verdict.ERROR
    assert session.check(None).verdict is Verdict.ERROR


def test_a_model_that_looks_at_the_face_needs_its_box(tmp_path):
    inputs = tiny_bundle.manifest().inputs
    face = inputs | {RGB: inputs[RGB].model_copy(update={"crop": CropRule.FACE})}
    described, graph = tiny_bundle.manifest(inputs=face), tiny_bundle.graph_bytes()
    seen = tiny_bundle.capture(200, face=(4, 3, 20, 15))
    golden = GoldenCapture(seen, OnnxRuntimeEngine(graph).run(to_batch([seen], face)).logits[0])
    path = with_golden(tmp_path, described, graph, golden)
    with fasdk.open(path, backend=Backend.ONNXRUNTIME) as session:
        assert "no face box" in session.check(tiny_bundle.capture(200)).reasons[0]
        assert session.check(tiny_bundle.capture(200, face=(2, 2, 8, 8))).verdict is Verdict.LIVE


# In parts of an image's side; the first is the person's right eye.
LANDMARKS = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]


def test_a_model_that_aligns_faces_needs_their_landmarks(tmp_path):
    inputs = tiny_bundle.manifest().inputs
    size = inputs[RGB].width
    positions = [(size * x, size * y) for x, y in LANDMARKS]
    aligned = PreprocessSpec.model_validate(
        inputs[RGB].model_dump() | {"crop": "landmarks", "landmark_positions": positions}
    )
    described = tiny_bundle.manifest(inputs=inputs | {RGB: aligned})
    bright, landmarks = tiny_bundle.capture(200), np.float32(LANDMARKS) * 10
    found = dataclasses.replace(bright, landmarks=landmarks)
    golden = tiny_bundle.golden(found, described, tiny_bundle.graph_bytes())
    path = with_golden(tmp_path, described, tiny_bundle.graph_bytes(), golden)
    with fasdk.open(path, backend=Backend.ONNXRUNTIME) as session:
        session.replay_golden()
        assert session.check(found).verdict is Verdict.LIVE
        for capture, words in (
            (bright, "aligns the face by its landmarks and the capture has none"),
            (dataclasses.replace(bright, face=(2, 2, 8, 8)), "the capture has none in this frame"),
            (
                dataclasses.replace(bright, landmarks=landmarks[[1, 0, 2, 4, 3]]),
                "do not lie as a face's do",
            ),
        ):
            refused = session.check(capture)
            assert refused.verdict is Verdict.ERROR
            assert words in refused.reasons[0]
            with pytest.raises(CaptureError, match=words):
                session.require(capture)


BAD_ENGINES = {
    "raises its own error": BackendError("the device was lost"),
    "raises anything": ZeroDivisionError("division by zero"),
    "runs out of memory": MemoryError(),
    "times out": TimeoutError("no answer"),
    "returns nothing": None,
    "returns NaN": EngineOutputs(np.full((2, 2), np.nan, np.float32), live(2).reliability),
    "returns infinity": EngineOutputs(np.float32([[0, np.inf]] * 2), live(2).reliability),
    "returns minus infinity": EngineOutputs(np.float32([[-np.inf, 0]] * 2), live(2).reliability),
    "returns too few rows": live(1),
    "returns too many rows": live(3),
    "returns no row": live(0),
    "returns too many classes": EngineOutputs(
        np.tile(np.float32([0, 9, 0]), (2, 1)), live(2).reliability
    ),
    "returns too few classes": EngineOutputs(np.float32([[9]] * 2), live(2).reliability),
    "returns one dimension": EngineOutputs(LIVE, live(2).reliability),
    "returns three dimensions": EngineOutputs(live(2).logits[None], live(2).reliability),
    "returns float64": EngineOutputs(live(2).logits.astype(np.float64), live(2).reliability),
    "returns int32": EngineOutputs(live(2).logits.astype(np.int32), live(2).reliability),
    "returns complex": EngineOutputs(live(2).logits.astype(np.complex64), live(2).reliability),
    "returns objects": EngineOutputs(live(2).logits.astype(object), live(2).reliability),
    "returns a list": EngineOutputs(live(2).logits.tolist(), live(2).reliability),
    "returns no reliability": EngineOutputs(live(2).logits),
    "returns NaN reliability": EngineOutputs(live(2).logits, np.full((2, 3), np.nan, np.float32)),
    "returns too little reliability": EngineOutputs(live(2).logits, live(2).reliability[:, :2]),
    "returns one capture's reliability": EngineOutputs(live(2).logits, live(1).reliability),
}


@pytest.mark.parametrize("fault", BAD_ENGINES)
def test_an_engine_at_fault_is_error_for_every_capture(bundle, fault):
    engine = FakeEngine(BAD_ENGINES[fault])
    answers = Liveness(bundle, engine).check_batch([tiny_bundle.capture(200)] * 2)
    assert len(engine.batches) == 1
    assert [a.verdict for a in answers] == [Verdict.ERROR] * 2
    assert all(a.reasons and math.isnan(a.score) for a in answers)
    assert all(a.bundle_id == bundle.id and "end_to_end" in a.timings_ms for a in answers)


def test_the_engine_the_faults_are_made_from_is_live(bundle):
    answers = Liveness(bundle, FakeEngine(live)).check_batch([tiny_bundle.capture(200)] * 2)
    assert [a.verdict for a in answers] == [Verdict.LIVE] * 2


def test_a_row_that_is_not_finite_is_error_for_that_capture_alone(bundle):
    good = live(3)
    logits = good.logits.copy()
    logits[1, 0] = np.nan
    engine = FakeEngine(EngineOutputs(logits, good.reliability))
    answers = Liveness(bundle, engine).check_batch([tiny_bundle.capture(200)] * 3)
    assert [a.verdict for a in answers] == [Verdict.LIVE, Verdict.ERROR, Verdict.LIVE]
    assert "not finite" in answers[1].reasons[0]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_an_engine_raises_is_a_fault_and_no_order_to_stop(bundle, stop):
    session = Liveness(bundle, FakeEngine(stop()))
    for decision in (
        session.check(tiny_bundle.capture()),
        *session.check_batch([tiny_bundle.capture()]),
    ):
        assert decision.verdict is Verdict.ERROR
        assert decision.codes == (Reason.UNEXPECTED,)


@pytest.mark.parametrize("ask", [Liveness.check, lambda s, capture: s.check_batch([capture])])
def test_ctrl_c_reaches_a_caller_that_waits_for_the_engine(bundle, ask):
    gate = Gate()
    session = Liveness(bundle, FakeEngine(gate))
    threading.Thread(target=_interrupt_when, args=(lambda: gate.inside,)).start()
    with pytest.raises(KeyboardInterrupt):
        ask(session, tiny_bundle.capture())
    gate.open()
    assert session.check(tiny_bundle.capture()).verdict is Verdict.LIVE
    session.close()


def _interrupt_when(holds):
    until(holds)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_fault_in_preprocessing_is_error(bundle, monkeypatch):
    def fail(*_):
        raise RuntimeError("resize failed")

    monkeypatch.setattr("fasdk.scorer.to_batch", fail)
    monkeypatch.setattr("fasdk.scorer.fill_row", fail)
    session = Liveness(bundle, FakeEngine(live))
    for decision in (
        session.check(tiny_bundle.capture()),
        *session.check_batch([tiny_bundle.capture()]),
    ):
        assert decision.verdict is Verdict.ERROR
        assert decision.reasons == ("unexpected RuntimeError: resize failed",)


def test_more_captures_than_the_engine_takes_is_error(bundle):
    engine = FakeEngine(live, max_batch=2)
    session = Liveness(bundle, engine)
    assert session.check_batch([tiny_bundle.capture()] * 2)[1].verdict is Verdict.LIVE
    answers = session.check_batch([tiny_bundle.capture()] * 3)
    assert [a.verdict for a in answers] == [Verdict.ERROR] * 3
    assert "3 captures in one call, this engine takes 2" in answers[0].reasons[0]
    assert len(engine.batches) == 1


def test_stage_times_add_up_to_the_whole(session, bundle):
    slow = FakeEngine(lambda size: (time.sleep(0.02), live(size))[1])
    for decision, engine_floor in (
        (session.check(tiny_bundle.capture()), 0.0),
        (Liveness(bundle, slow).check(tiny_bundle.capture()), 20.0),
        (Liveness(bundle, FakeEngine(OSError("lost"))).check(tiny_bundle.capture()), 0.0),
    ):
        timings = dict(decision.timings_ms)
        total = timings.pop("end_to_end")
        assert list(timings) == [stage.value for stage in Stage]
        assert all(spent >= 0 for spent in timings.values())
        assert sum(timings.values()) == pytest.approx(total, abs=1e-9)
        assert timings["engine"] >= engine_floor
        assert timings["preprocess"] > 0


def test_waiting_for_a_turn_is_not_the_engines_time(bundle):
    session = Liveness(bundle, FakeEngine(live))
    answers = []
    thread = threading.Thread(
        target=lambda: answers.extend(session.check_batch([tiny_bundle.capture()]))
    )
    with session._loaded.turn:
        thread.start()
        time.sleep(0.05)
    thread.join()
    timings = answers[0].timings_ms
    assert timings["other"] > 20 > timings["engine"]


def test_a_decision_stays_as_it_was_given(session):
    first, second = session.check_batch([tiny_bundle.capture()] * 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.verdict = Verdict.LIVE
    first.timings_ms["engine"] = -1.0
    assert second.timings_ms["engine"] > 0


def test_opening_holds_the_bundle_to_the_trust_asked_for(bundle_path, tmp_path):
    public, key_id = generate_key(tmp_path / "vendor.pem")
    trust = TrustPolicy.from_files(public)
    with pytest.raises(TrustError, match="fits none"):
        fasdk.open(bundle_path, trust=trust)
    signed = tiny_bundle.write(tmp_path / "signed.fasb", tmp_path / "vendor.pem")
    with fasdk.open(signed, trust=trust, backend=Backend.ONNXRUNTIME) as session:
        assert session.bundle.signed_by == key_id
    with pytest.raises(BundleError, match=r"absent\.fasb"):
        fasdk.open(tmp_path / "absent.fasb")

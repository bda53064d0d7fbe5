"""Reason codes: each with its remedy and rank, none forgotten."""

from __future__ import annotations

import json
import pickle
import types
from pathlib import Path

import pytest

import fasdk.quality.gates
import fasdk.reasons
from fasdk.decision import Decision, MissingModalities, Verdict, add_findings, refused
from fasdk.errors import UsageError
from fasdk.quality import QualityLimits, assess
from fasdk.reasons import Finding, Reason, Remedy, by_rank
from fasdk.scorer import Scorer

from support import tiny_bundle

RETRY_HELPS = {
    "modality-missing",
    "no-image",
    "stale",
    "not-new",
    "replayed",
    "device-stamps",
    "out-of-step",
    "ir-unlit",
    "no-face",
    "several-faces",
    "out-of-frame",
    "too-close",
    "too-far",
    "not-frontal",
    "too-dark",
    "too-bright",
    "blurred",
    "sensors-disagree",
    "ir-saturated",
    "depth-holes",
    "undecided",
    "wait",
}


def found(*reasons):
    return [Finding(reason, reason.value) for reason in reasons]


def planted(member):
    """Run the module with one more member among the others, and return its `Reason`."""
    source = Path(fasdk.reasons.__file__).read_text("utf-8")
    before = '    STALE = _Definition("stale"'
    assert source.count(before) == 1
    module = types.ModuleType("planted_reasons")
    module.__dict__["__name__"] = fasdk.reasons.__name__
    exec(source.replace(before, f"    PLANTED = {member}\n{before}"), module.__dict__)  # noqa: S102
    return module


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ('"planted"', r"expected _Definition\(code, remedy\)"),
        ('("planted", Remedy.RETRY)', "positional arguments"),
        ('_Definition("planted")', "'remedy'"),
    ],
)
def test_a_reason_without_a_remedy_cannot_be_defined(member, words):
    with pytest.raises(TypeError, match=words):
        planted(member)


def test_a_new_reason_needs_no_second_list():
    module = planted('_Definition("planted", Remedy.RETRY)')
    new = module.Reason.PLANTED
    assert (new.value, new.retry_helps, new.rank) == ("planted", True, Reason.STALE.rank)
    others = [module.Finding(module.Reason.STALE, "s"), module.Finding(new, "p")]
    assert [finding.reason for finding in module.by_rank(others)] == [new, module.Reason.STALE]


def test_a_rank_is_the_position_of_the_definition():
    assert [reason.rank for reason in Reason] == list(range(len(Reason)))


def test_a_code_is_its_text_in_json_lookup_and_comparison():
    for reason in Reason:
        assert json.dumps(reason) == f'"{reason.value}"'
        assert Reason(reason.value) is reason
        assert reason == reason.value
        assert pickle.loads(pickle.dumps(reason)) is reason  # noqa: S301 - our own bytes
    assert {reason.value for reason in Reason if reason.retry_helps} == RETRY_HELPS
    assert {Reason.LOCKED_OUT, Reason.DEPTH_UNITS, Reason.BAD_CAPTURE} <= {
        reason for reason in Reason if reason.remedy is Remedy.OPERATOR
    }


def test_by_rank_keeps_every_reason_once_with_its_first_message():
    findings = [*found(*reversed(Reason)), Finding(Reason.STALE, "again")]
    ranked = by_rank(findings)
    assert [finding.reason for finding in ranked] == list(Reason)
    assert all(finding.message == finding.reason.value for finding in ranked)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("verdict", Verdict)
def test_a_finding_decides_whatever_the_verdict_was_before(reason, verdict):
    expected = Verdict.RETRY if reason.retry_helps else Verdict.ERROR
    decision = add_findings(Decision(verdict, score=0.9), found(reason))
    assert (decision.verdict, decision.codes) == (expected, (reason,))
    assert decision.score == 0.9
    assert refused(found(reason)).verdict is expected


def test_finding_without_a_retry_makes_the_decision_an_error():
    decision = refused(found(Reason.BLURRED, Reason.DEPTH_UNITS, Reason.NO_FACE))
    assert decision.verdict is Verdict.ERROR
    assert decision.codes == (Reason.DEPTH_UNITS, Reason.NO_FACE, Reason.BLURRED)
    assert decision.reasons == ("depth-units", "no-face", "blurred")
    later = add_findings(decision, found(Reason.STALE, Reason.NO_FACE))
    assert later.verdict is Verdict.ERROR
    assert later.codes == (*decision.codes, Reason.STALE)


def test_without_a_finding_a_decision_stays_and_a_refusal_is_an_error():
    live = Decision(Verdict.LIVE, score=0.9)
    assert add_findings(live, []) is live
    assert refused([]).verdict is Verdict.ERROR


@pytest.mark.parametrize("reason", Reason)
def test_a_live_decision_with_a_reason_cannot_be_made(reason):
    with pytest.raises(UsageError, match=f"LIVE decision has the codes {reason.value}"):
        Decision(Verdict.LIVE, codes=(reason,))


@pytest.mark.parametrize("reason", Reason)
def test_no_gate_finds_a_fault_and_lets_the_capture_through(reason, monkeypatch, bundle):
    capture = tiny_bundle.capture()
    scorer = Scorer(bundle, "standard", QualityLimits.off())
    assert scorer.gate(capture) is None
    gate = [Finding(reason, "a gate found it")]
    monkeypatch.setattr(fasdk.quality.gates, "_depth", lambda *_: iter(gate))
    assert assess(capture, QualityLimits.off(), now_ms=0.0) == tuple(gate)
    refusal = scorer.gate(capture)
    assert refusal is not None
    assert (refusal.verdict is Verdict.RETRY) == reason.retry_helps
    assert refusal.verdict in {Verdict.RETRY, Verdict.ERROR}
    assert refusal.codes == (reason,)
    assert scorer.missing is MissingModalities.REQUIRE

"""An artefact in front of a door whose program tests the answer itself: `if liveness.check(c)`.

Every object is true unless it says otherwise, so such a door would open for each SPOOF, RETRY and
ERROR. The program gets a TypeError that names `decision.is_live` at its very first capture.
"""

from __future__ import annotations

import asyncio
import dataclasses
from concurrent.futures import wait

import pytest

import fasdk
from fasdk.capture_loop import CaptureResult
from fasdk.decision import Decision, Verdict
from fasdk.sequential import Step
from fasdk.tracking.track import TrackDecision

from support import tiny_bundle

OUTCOMES = [
    *Verdict,
    *Step,
    *(kind(verdict) for kind in (Decision, TrackDecision) for verdict in Verdict),
    CaptureResult(1, Decision(Verdict.LIVE), None, 0.0),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
@pytest.mark.parametrize(
    "use",
    [
        bool,
        lambda outcome: not outcome,
        lambda outcome: outcome or None,
        lambda outcome: "open" if outcome else "shut",
        lambda outcome: any([outcome]),
        lambda outcome: all([outcome]),
        lambda outcome: list(filter(None, [outcome])),
    ],
)
def test_an_outcome_is_no_condition(outcome, use):
    with pytest.raises(TypeError, match=r"write `if decision\.is_live`"):
        use(outcome)


def test_is_live_is_true_for_live_alone_and_no_method_that_is_always_true():
    for kind in (Decision, TrackDecision):
        assert [kind(verdict).is_live for verdict in Verdict] == [True, False, False, False]
        assert kind("live").is_live is True  # the value of a choice, as it comes out of JSON
        with pytest.raises(dataclasses.FrozenInstanceError):
            kind(Verdict.SPOOF).is_live = True


def test_no_future_of_an_answer_is_a_condition(tmp_path):
    capture = tiny_bundle.capture(20)
    with fasdk.open(tiny_bundle.write(tmp_path / "x.fasb"), threads=1) as liveness:
        for future in (liveness.submit(capture), liveness.track("door").submit(capture)):
            with pytest.raises(TypeError, match=r"write `if decision\.is_live`"):
                bool(future)
            assert wait([future], timeout=30.0).done == {future}
            assert not future.result().is_live
            assert not asyncio.run(awaited(future)).is_live


async def awaited(future):
    return await asyncio.wrap_future(future)


def test_no_answer_of_a_session_or_a_track_is_a_condition(tmp_path):
    bundle = tiny_bundle.write(tmp_path / "x.fasb")
    capture = tiny_bundle.capture(20)
    with fasdk.open(bundle, backend="onnxruntime", threads=1) as liveness:
        answers = [
            liveness.check(capture),
            liveness.check(None),
            *liveness.check_batch([capture]),
            liveness.submit(capture).result(),
            liveness.track("door").check(capture),
        ]
    for answer in [*answers, liveness.check(capture)]:
        assert not answer.is_live
        for outcome in (answer, answer.verdict):
            with pytest.raises(TypeError):
                bool(outcome)

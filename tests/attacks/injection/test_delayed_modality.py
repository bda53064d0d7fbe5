"""An attacker who holds back one sensor's stream, so that it shows another moment than color.

With the stamps of its own time a late frame is RETRY (out-of-step). With new stamps it is found
while the person moves: the sensors do not move together, RETRY (sensors-disagree), and the run ends
without a LIVE. Of somebody who stands still, the frames of half a second ago show the same.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.capture import Modality, monotonic_ms
from fasdk.decision import Verdict
from fasdk.quality import QualityLimits
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.injection import ONLY_AGREEMENT, person, show
from support.scripted_engine import FakeEngine, live

LATE = 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb"))


@pytest.mark.parametrize("sensors", [("ir",), ("depth",), ("depth", "ir")])
def test_a_late_sensor_opens_no_door_while_the_person_moves(bundle, sensors):
    frames = person(5, 4.0)
    delayed = [
        replace(now, **{name: getattr(before, name) for name in sensors})
        for before, now in zip(frames, frames[LATE:], strict=False)
    ]
    decisions = show(bundle, delayed)
    assert not any(each.is_live for each in decisions)
    found = [each for each in decisions if Reason.SENSORS_DISAGREE in each.codes]
    assert found
    assert {(each.verdict, each.codes) for each in found} == {
        (Verdict.RETRY, (Reason.SENSORS_DISAGREE,))
    }


def test_the_same_person_in_time_is_let_through(bundle):
    assert any(each.is_live for each in show(bundle, person(5, 4.0)))


@pytest.mark.parametrize("late", list(Modality))
def test_a_late_sensor_with_its_own_stamps_is_out_of_step(bundle, late):
    usual = QualityLimits()
    limits = ONLY_AGREEMENT.model_copy(update={"max_skew_ms": usual.max_skew_ms})
    now = monotonic_ms()
    times = {m: now - (400.0 if m is late else 0.0) for m in Modality}
    with Liveness(bundle, FakeEngine(live), limits=limits) as session:
        answer = session.check(replace(person(5, 4.0)[0], taken_ms=times))
    assert (answer.verdict, answer.codes) == (Verdict.RETRY, (Reason.OUT_OF_STEP,))

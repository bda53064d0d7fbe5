"""Health of a door: what moves is named, what does not is not, and no frame is kept."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fasdk.decision import Decision, Verdict
from fasdk.reasons import Reason
from fasdk.site.baseline import Baseline, Event, Side
from fasdk.site.change import FALSE_ALARMS, HORIZON, ChangeTest
from fasdk.site.groups import CAPTURES, Group, GroupMaker, Observation
from fasdk.site.health import HealthMonitor, meaning_of
from fasdk.site.measurement import Measurement

LOW = Event(name="sharpness", side=Side.LOW, limit=50.0, bound=0.3)
UNLIT = Event(name="ir-unlit", bound=0.2)
BASELINE = Baseline(groups=40, risk=0.01, events=(LOW, UNLIT))
LIVE = Decision(Verdict.LIVE, score=0.9)


def seen(value=100.0, codes=(), *, at_s=0.0, face=True):
    return Observation(at_s, face, {"sharpness": value, "score": 0.9}, frozenset(codes))


def watch(observations, **options):
    monitor = HealthMonitor(BASELINE, is_recording=True, **options)
    for each in observations:
        monitor.take_in(LIVE, each)
    return monitor


def test_what_becomes_frequent_is_named_and_only_that():
    monitor = watch([seen(10.0)] * 500)
    assert [each.event for each in monitor.moved] == [LOW]
    assert monitor.moved[0].capture <= 150
    assert "fogged" in monitor.moved[0].meaning
    unlit = watch([seen(codes=[Reason.IR_UNLIT])] * 500)
    assert [each.event for each in unlit.moved] == [UNLIT]


def test_what_is_as_usual_never_alarms():
    rng = np.random.default_rng(0)
    monitor = watch([seen(float(v)) for v in rng.uniform(40, 200, 20_000)])
    assert monitor.moved == [] and monitor.groups == 4_000


def test_the_false_alarm_rate_of_the_test_is_at_most_what_it_states():
    # Asked of a much laxer limit, which random events reach now and then: at most n / limit.
    rng = np.random.default_rng(1)
    alarms, runs, length = 0, 400, 200
    for _ in range(runs):
        test = ChangeTest(0.2, 1)
        test._limit = 10.0 * length
        alarms += any(test.take_in(bool(x)) for x in rng.random(length) < 0.2)
    assert 0 < alarms / runs <= 0.1
    assert ChangeTest(0.2, 3)._limit == pytest.approx(3 * HORIZON / FALSE_ALARMS)


def test_events_at_the_bound_itself_are_no_alarm_and_above_it_are_one():
    rng = np.random.default_rng(2)

    def run(share):
        test = ChangeTest(0.3, 40)
        for x in rng.random(3_000) < share:
            test.take_in(bool(x))
        return test.at

    assert run(0.3) is None
    assert run(0.6) is not None


def test_a_group_is_the_median_of_a_visits_captures_and_what_half_of_them_have():
    maker = GroupMaker()
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    codes = [[Reason.BLURRED]] * 2 + [[]] * 3
    made = [g for v, c in zip(values, codes, strict=True) for g in maker.take_in(seen(v, c))]
    assert made == [Group({"sharpness": 3.0, "score": 0.9}, frozenset())]
    assert Group.of([seen(codes=[Reason.BLURRED]), seen()]).codes == {Reason.BLURRED}


def test_who_stays_long_counts_no_more_than_four_times():
    maker = GroupMaker()
    made = [g for n in range(200) for g in maker.take_in(seen(at_s=n / 10))]
    assert len(made) == 4
    assert not maker.take_in(seen(at_s=100.0))
    again = [g for n in range(CAPTURES) for g in maker.take_in(seen(at_s=200.0 + n / 10))]
    assert len(again) == 2  # the one that waited, and a whole one


def test_captures_without_a_face_are_no_group_but_are_counted():
    monitor = watch([seen(face=False)] * 50)
    assert monitor.groups == 0 and monitor.captures == 50


def test_the_document_has_counts_and_quantiles_and_no_frame():
    monitor = watch([seen(10.0, [Reason.BLURRED])] * 200)
    document = json.loads(json.dumps(monitor.document()))
    assert document["captures"] == 200 and document["verdicts"] == {"live": 200}
    assert document["quantiles"]["score"]["0.5"] == pytest.approx(0.925)
    assert document["moved"][0]["name"] == "sharpness low"
    watched = {each["name"]: each for each in document["watched"]}
    assert watched["sharpness low"]["share"] == 1.0 and watched["ir-unlit"]["share"] == 0.0
    assert document["false_alarms"] == {"probability": 0.01, "within_groups": 100_000}
    assert len(json.dumps(document)) < 10_000


def test_numbers_that_are_not_finite_are_left_out():
    decision = Decision(Verdict.RETRY, score=math.nan, reliability={"rgb": 0.5})
    found = Observation.of_measured(Measurement(), decision, 0.0, has_face=True)
    assert found.values == {"reliability.rgb": 0.5}


@pytest.mark.parametrize("side", [*Side, None])
def test_every_event_has_a_meaning(side):
    assert meaning_of(Event(name="new", side=side, limit=1.0, bound=0.1))

"""An attacker who moves before the color camera while another sensor shows what it was fed.

Depth or infrared repeats an old frame with new noise, lags, or comes from a recording of somebody
else who stood at the same place. Frame by frame the sensors may agree, and the model may say LIVE.
A track also asks whether they show one movement: RETRY (sensors-disagree), the run ends as an
attempt without a LIVE, and the next one waits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.quality import QualityLimits
from fasdk.reasons import Reason
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import Track

from support import tiny_bundle
from support.moving_person import frozen, presentation
from support.scripted_engine import LIVE, FakeEngine, live
from support.track_fakes import Hand

POLICY = TrackPolicy(frames_required=4, lock_out=None)
ONLY_AGREEMENT = QualityLimits.off().model_copy(update={"sensors_agree": True})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    return open_bundle(tiny_bundle.write(folder / "door.fasb"))


@pytest.fixture(scope="module")
def person():
    return presentation(4)


@pytest.fixture(scope="module")
def other():
    return presentation(2)


def show(bundle, frames, answer=live, limits=ONLY_AGREEMENT):
    """Return a track's decisions on frames that come every 100 ms, four of which are a LIVE."""
    clock = Hand()
    batching = BatchingPolicy(lanes=1)
    with Liveness(bundle, FakeEngine(answer), batching=batching, limits=limits) as session:
        track = Track(session, "door", POLICY, clock=clock)
        decisions = []
        for frame in frames:
            clock.now_ms += 100.0
            decisions.append(track.check(frame))
    return decisions


def refusals(decisions):
    """Return the decisions that name the movement, and not what one frame shows."""
    return [d for d in decisions if any("same movement" in reason for reason in d.reasons)]


def attack(name, person, other):
    if name == "infrared late":
        late = zip(person[3:], person, strict=False)
        return [replace(frame, ir=earlier.ir) for frame, earlier in late]
    if name == "depth of another":
        # He stands where the person stood in the first frame.
        right, down = (
            person[0].face.x - other[0].face.x,
            person[0].face.y - other[0].face.y,
        )
        return [
            replace(frame, depth=np.roll(another.depth, (down, right), axis=(0, 1)))
            for frame, another in zip(person, other, strict=True)
        ]
    return frozen(person, *name.split("+"))


def test_a_person_who_moves_is_let_through(bundle, person):
    decisions = show(bundle, person)
    assert [decision.is_live for decision in decisions] == [False, False, False, True] * 2
    assert refusals(decisions) == []


@pytest.mark.parametrize("name", ["depth", "ir", "depth+ir", "infrared late", "depth of another"])
def test_a_sensor_that_moves_otherwise_opens_no_door(bundle, person, other, name):
    decisions = show(bundle, attack(name, person, other))
    assert not any(decision.is_live for decision in decisions)
    refused = refusals(decisions)
    assert refused
    for decision in refused:
        assert (decision.verdict, decision.codes) == (Verdict.RETRY, (Reason.SENSORS_DISAGREE,))


def test_what_was_gathered_is_dropped_and_counts_as_an_attempt(bundle, person):
    decisions = show(bundle, frozen(person, "depth"))
    first = decisions.index(refusals(decisions)[0])
    assert decisions[first - 1].frames > 0
    assert decisions[first].wait_ms > 0.0
    assert decisions[first + 1].codes == (Reason.WAIT,)


def test_an_attack_that_the_model_finds_stays_one(bundle, person):
    def spoof(size):
        return EngineOutputs(logits=-LIVE[None].repeat(size, 0), reliability=live(size).reliability)

    decisions = show(bundle, frozen(person, "depth"), answer=spoof)
    assert refusals(decisions) == []
    assert decisions[0].verdict is Verdict.SPOOF


def test_it_is_switched_with_the_other_agreement_of_sensors(bundle, person):
    decisions = show(bundle, frozen(person, "depth"), limits=QualityLimits.off())
    assert decisions[3].is_live

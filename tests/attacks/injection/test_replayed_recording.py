"""An attacker who records the camera's stream and plays it again in a loop, by a codec or changed.

No frame is bit for bit one that was there, and every stamp is new. Each exposure has noise of its
own, and a copy has that of the frame it was made of. A track holds the noise of each frame against
that of the last ten seconds: RETRY (replayed), what was gathered is dropped, and the attempt
counts. The first showing of a recording repeats nothing: that is for the pin, the stamps, and the
model. What a codec at low rates leaves of the noise is too little.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.reasons import Reason

from support import tiny_bundle
from support.injection import POLICY, changed, jpeg, noisy, person, resized, shifted, show, spoof

REPLAYED = (Verdict.RETRY, (Reason.REPLAYED,))
CHANGES = {
    "jpeg 95": jpeg(95),
    "jpeg 80": jpeg(80),
    "half a pixel": shifted(0.5, 0.5),
    "one pixel": shifted(1.0),
    "resized": resized(0.7),
    "new noise": noisy(1.0),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("door") / "door.fasb"))


def replayed(decisions):
    return [at for at, each in enumerate(decisions) if Reason.REPLAYED in each.codes]


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_a_person_is_let_through(bundle, drift):
    decisions = show(bundle, [*person(1, drift), *person(2, drift)])
    assert replayed(decisions) == []
    assert sum(each.is_live for each in decisions) == 4


@pytest.mark.parametrize("drift", [0.0, 1.0])
@pytest.mark.parametrize("name", CHANGES)
def test_a_recording_that_comes_again_is_never_live(bundle, name, drift):
    frames = person(1, drift)
    again = [changed(frame, CHANGES[name]) for frame in frames[6:]]
    decisions = show(bundle, [*frames, *again])[len(frames) :]
    assert len(replayed(decisions)) >= 3
    assert not any(each.is_live for each in decisions)
    first = decisions[replayed(decisions)[0]]
    assert (first.verdict, first.codes) == REPLAYED
    assert "has the noise of a frame that this camera gave before" in first.reasons[0]


def test_a_frozen_frame_is_found_for_as_long_as_it_stays(bundle):
    frames = person(1, 0.0)
    noise = noisy(0.7)
    frozen = [
        changed(frames[-1], lambda frame: jpeg(90)(noise(frame)), seed=at) for at in range(120)
    ]
    decisions = show(bundle, [*frames, *frozen])[len(frames) :]
    assert not any(each.is_live for each in decisions)
    assert len(replayed(decisions)) >= 60  # through more than the ten seconds
    assert replayed(decisions)[-1] >= 110


def test_an_attack_that_the_model_finds_stays_one(bundle):
    frames = person(1, 0.0)
    again = [changed(frame, jpeg(95)) for frame in frames[6:]]
    assert {each.verdict for each in show(bundle, [*frames, *again], model=spoof)} == {
        Verdict.SPOOF
    }


def test_it_is_switched_off_by_the_policy_alone(bundle):
    frames = person(1, 0.0)
    again = [changed(frame, jpeg(95)) for frame in frames[6:]]
    off = replace(POLICY, repeat_ms=0.0)
    assert any(each.is_live for each in show(bundle, [*frames, *again], policy=off)[14:])

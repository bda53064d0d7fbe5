"""An attacker who shows each sensor something else: a picture to one, his own face to the others.

The model sees what it would see of a person in all sensors but one, and may say LIVE. The gates for
a person at a camera then ask whether depth, infrared and color show one face at one place: RETRY
(sensors-disagree), and never LIVE. An attack that the model finds by itself stays a SPOOF.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.decision import Verdict
from fasdk.quality import QualityLimits
from fasdk.reasons import Reason
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy
from fasdk_calibration.synthetic import ATTACKS, Species, Split, generate

from support import tiny_bundle
from support.scripted_engine import LIVE, FakeEngine, live

ALL = tuple(Modality)
MIXES = [mix for size in (1, 2) for mix in combinations(ALL, size)]
ONLY_AGREEMENT = QualityLimits.off().model_copy(update={"sensors_agree": True})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    return open_bundle(tiny_bundle.write(folder / "door.fasb"))


@pytest.fixture(scope="module")
def people():
    return [generate(90, n, Split.HELD_OUT, species=Species.BONA_FIDE).capture for n in range(8)]


@pytest.fixture(scope="module")
def attacks():
    return [generate(90, n, Split.HELD_OUT, species=ATTACKS[n]).capture for n in range(8)]


def spoof(size):
    """Return outputs that call every row an attack."""
    return EngineOutputs(np.tile(-LIVE, (size, 1)), np.full((size, 3), 0.5, np.float32))


def door(bundle, answer=live, limits=ONLY_AGREEMENT):
    batching = BatchingPolicy(lanes=1)
    return Liveness(bundle, FakeEngine(answer), batching=batching, limits=limits)


def mixed(attack, person, of_person):
    frames = {m: (person if m in of_person else attack).frame(m) for m in ALL}
    return Capture.of(frames, face=attack.face)


@pytest.mark.parametrize("of_person", MIXES, ids=lambda mix: "+".join(m.value for m in mix))
def test_most_mixed_captures_are_not_live_whatever_the_model_says(
    bundle, people, attacks, of_person
):
    with door(bundle) as session:
        answers = [
            session.check(mixed(attack, person, of_person))
            for attack, person in zip(attacks, people[::-1], strict=True)
        ]
        track = session.track("door", TrackPolicy(frames_required=1, lock_out=None))
        by_track = track.check(mixed(attacks[0], people[-1], of_person))
    refused = [answer for answer in answers if not answer.is_live]
    assert len(refused) >= 5  # rates are measured by tools/bench/agreement.py
    for answer in refused:
        assert (answer.verdict, answer.codes) == (Verdict.RETRY, (Reason.SENSORS_DISAGREE,))
    assert by_track.is_live == answers[0].is_live


def test_a_person_is_let_through(bundle, people):
    with door(bundle) as session:
        assert all(session.check(person).is_live for person in people)


def test_an_attack_that_the_model_finds_stays_one(bundle, people, attacks):
    capture = mixed(attacks[0], people[1], (Modality.DEPTH, Modality.IR))
    with door(bundle, answer=spoof) as session:
        answer = session.check(capture)
    assert (answer.verdict, answer.codes) == (Verdict.SPOOF, ())


def test_it_is_on_for_a_person_at_a_camera_and_off_for_files(bundle, people, attacks):
    assert QualityLimits().sensors_agree
    capture = mixed(attacks[0], people[1], (Modality.DEPTH, Modality.IR))
    with door(bundle, limits=None) as session:
        assert session.check(capture).is_live
        assert session.check_batch([capture])[0].is_live
    timed = replace(capture, taken_ms=dict.fromkeys(ALL, monotonic_ms()))
    with door(bundle, limits=QualityLimits()) as session:
        assert not session.check(timed).is_live

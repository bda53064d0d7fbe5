"""Attack: a LIVE for a person who has left, said late by a slow engine or a slow order of answers.

The attacker follows a person, and waits for, or causes, an engine that answers seconds late: the
frames were fresh when they were submitted. Answer: a LIVE whose oldest frame has become older than
`max_age_ms` at the moment it is said is RETRY (stale).
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.capture import Modality, monotonic_ms
from fasdk.decision import Verdict
from fasdk.quality import QualityLimits
from fasdk.reasons import Finding, Reason
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy

from support import tiny_bundle
from support.attack_door import AttackDoor
from support.scripted_engine import FakeEngine, Script, live, until
from support.track_fakes import plain_bundle

LATE_S = 0.3
STRICT = QualityLimits.faults().model_copy(update={"max_age_ms": 1e3 * LATE_S / 2})
PATIENT = STRICT.model_copy(update={"max_age_ms": 600e3})
STALE = (Verdict.RETRY, (Reason.STALE,))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("old") / "old.fasb"))


def late(size):
    time.sleep(LATE_S)
    return live(size)


def fresh():
    return replace(tiny_bundle.capture(), taken_ms=dict.fromkeys(Modality, monotonic_ms()))


@pytest.mark.parametrize("by_track", [False, True])
def test_a_late_engine_says_no_live(bundle, by_track):
    with Liveness(bundle, FakeEngine(late), limits=STRICT) as session:
        asked = session.track("door", TrackPolicy(frames_required=1)) if by_track else session
        found = asked.check(fresh())
        assert (found.verdict, found.codes) == STALE
    with Liveness(bundle, FakeEngine(late), limits=PATIENT) as session:
        assert session.check(fresh()).verdict is Verdict.LIVE


def test_a_live_that_waited_for_an_earlier_answer_is_late_too(bundle):
    batching = BatchingPolicy(lanes=2, max_batch=1)
    engine = FakeEngine(Script(late))
    with Liveness(bundle, engine, limits=STRICT, batching=batching) as session:
        futures = [session.submit(fresh())]
        until(lambda: engine.batches)  # else the second may reach the engine first
        futures.append(session.submit(fresh()))
        found = [future.result(60) for future in futures]
    assert [(each.verdict, each.codes) for each in found] == [STALE] * 2


def test_a_track_says_no_live_on_a_frame_that_has_become_old():
    door = AttackDoor(plain_bundle())
    assert [door.see(9.0).verdict for _ in range(2)] == [Verdict.RETRY] * 2
    door.session.lateness = Finding(Reason.STALE, "rgb is 9958 ms old")
    found = door.see(9.0)
    assert (found.verdict, found.codes) == STALE
    door.session.lateness = None
    assert door.see(9.0).codes == (Reason.WAIT,)

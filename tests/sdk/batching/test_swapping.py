"""Bundle swap under load: no capture lost, or no swap."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

import fasdk
from fasdk.backends.engine import Backend
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.signing import generate_key
from fasdk.bundle.trust import TrustPolicy
from fasdk.capture import Modality
from fasdk.decision import MissingModalities, Verdict
from fasdk.errors import (
    BackendError,
    BundleError,
    ClosedError,
    OperatingPointError,
    PlanError,
    RollbackError,
    TrustError,
)
from fasdk.reasons import Reason
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.scripted_engine import SECONDS, FakeEngine, Gate, Proved, Script, live, until

GOOD = tiny_bundle.capture(200)


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("newer") / "newer.fasb", revision=2)


def test_a_bundle_is_swapped_under_load_without_dropping_a_capture(bundle, newer):
    old = FakeEngine(lambda size: (time.sleep(0.001), live(size))[1])
    engines = []

    def load(opened):
        engines.append(Proved(opened))
        return engines[-1]

    session = Liveness(
        bundle, old, batching=BatchingPolicy(lanes=2, max_batch=2, queue_limit=4), loader=load
    )
    answers = [[] for _ in range(6)]
    enough = threading.Event()

    def call(mine):
        while not enough.is_set():
            mine.append(session.check(GOOD))

    threads = [threading.Thread(target=call, args=(own,)) for own in answers]
    for thread in threads:
        thread.start()
    until(lambda: all(len(own) > 5 for own in answers))
    session.swap(newer)
    counts = [len(own) for own in answers]
    until(lambda: all(len(own) > n + 5 for own, n in zip(answers, counts, strict=True)))
    until(lambda: old.closed)
    enough.set()
    for thread in threads:
        thread.join(SECONDS)
    session.close()
    ids = (bundle.id, open_bundle(newer).id)
    assert session.bundle.id == ids[1]
    for own in answers:
        assert {decision.verdict for decision in own} == {Verdict.LIVE}
        told = [decision.bundle_id for decision in own]
        assert told == sorted(told, key=ids.index)  # first the old one, then the new one
        assert set(told) == set(ids)
    assert engines[0].closed == 1


def test_a_swap_that_fails_leaves_the_old_bundle_serving(bundle, newer, tmp_path):
    old = FakeEngine(live)
    engines = []

    def load(opened, drift=9.0):
        engines.append(Proved(opened, drift))
        return engines[-1]

    session = Liveness(bundle, old, loader=load).start()
    with pytest.raises(PlanError, match="allowed drift"):
        session.swap(newer)
    assert [engine.closed for engine in engines] == [1]
    with pytest.raises(BundleError, match=r"absent\.fasb"):
        session.swap(tmp_path / "absent.fasb")
    unlevelled = tiny_bundle.write(tmp_path / "unlevelled.fasb", revision=2, operating_points=())
    with pytest.raises(
        OperatingPointError, match="no operating point for security level 'standard'"
    ):
        session.swap(unlevelled)
    assert session.bundle is bundle
    decision = session.check(GOOD)
    assert (decision.verdict, decision.bundle_id) == (Verdict.LIVE, bundle.id)
    session.close()
    assert old.closed == 1
    with pytest.raises(ClosedError):
        session.swap(newer)


def test_a_session_closed_while_the_new_bundle_is_opened_takes_neither(bundle, newer):
    engines = []

    def load(opened):
        session.close()
        engines.append(Proved(opened))
        return engines[-1]

    session = Liveness(bundle, FakeEngine(live), loader=load).start()
    with pytest.raises(ClosedError):
        session.swap(newer)
    assert engines[0].closed == 1
    assert session.check(GOOD).codes == (Reason.CLOSED,)


def test_an_engine_whose_lanes_cannot_be_opened_is_not_swapped_in(bundle, newer):
    def load(opened):
        engine = Proved(opened)
        engine.open_lane = lambda _: (_ for _ in ()).throw(BackendError("out of memory"))
        engines.append(engine)
        return engine

    engines = []
    session = Liveness(bundle, FakeEngine(live), loader=load).start()
    with pytest.raises(BackendError, match="out of memory"):
        session.swap(newer)
    assert engines[0].closed == 1
    assert session.check(GOOD).bundle_id == bundle.id
    session.close()


def test_a_lower_revision_is_refused_unless_asked_for(bundle, newer):
    with fasdk.open(newer, backend=Backend.ONNXRUNTIME, threads=1) as session:
        with pytest.raises(RollbackError, match="is revision 1, the bundle in force is revision 2"):
            session.swap(bundle)
        session.swap(newer)  # the same again is no step back
        session.swap(bundle, allow_rollback=True)
        assert session.check(GOOD).bundle_id == bundle.id
        assert session.check_batch([GOOD])[0].bundle_id == bundle.id


def test_a_swap_asks_for_the_signature_the_session_was_opened_with(tmp_path, bundle_path):
    key = tmp_path / "vendor.pem"
    trust = TrustPolicy.from_files(generate_key(key)[0])
    signed = tiny_bundle.write(tmp_path / "signed.fasb", key)
    other = tiny_bundle.write(tmp_path / "other.fasb", key, revision=2)
    with fasdk.open(signed, trust=trust, backend=Backend.ONNXRUNTIME) as session:
        with pytest.raises(TrustError, match="fits none"):
            session.swap(bundle_path)
        with pytest.raises(TrustError, match="was not opened with one of the 1 keys"):
            session.swap(open_bundle(other, TrustPolicy.unsigned()))
        session.swap(open_bundle(other, trust))
        session.swap(signed, trust=trust, allow_rollback=True)
        assert session.bundle.signed_by


def test_a_batch_under_way_keeps_its_engine_through_a_swap(bundle, newer):
    gate = Gate()
    old = FakeEngine(gate)
    session = Liveness(bundle, old, loader=Proved)
    decisions = []
    thread = threading.Thread(target=lambda: decisions.extend(session.check_batch([GOOD])))
    thread.start()
    until(lambda: gate.inside == 1)
    session.swap(newer)
    assert not old.closed
    gate.open()
    thread.join(SECONDS)
    assert old.closed == 1
    assert (decisions[0].verdict, decisions[0].bundle_id) == (Verdict.LIVE, bundle.id)
    session.close()


def test_a_capture_let_in_under_old_rules_is_held_to_the_new_ones(bundle, tmp_path):
    gate = Gate()
    session = Liveness(
        bundle,
        FakeEngine(gate),
        batching=BatchingPolicy(lanes=1, max_batch=1),
        missing=MissingModalities.DEGRADE,
        loader=Proved,
    )
    session.submit(GOOD)
    until(lambda: gate.inside == 1)
    color_alone, whole = session.submit(tiny_bundle.capture(255, (Modality.RGB,))), GOOD
    waiting = session.submit(whole)
    stricter = tiny_bundle.write(
        tmp_path / "strict.fasb",
        revision=2,
        required=tiny_bundle.ALL,
        operating_points=(tiny_bundle.point(),),
    )
    session.swap(stricter)
    gate.open()
    assert "lacks depth, ir, which this bundle requires" in color_alone.result(SECONDS).reasons[0]
    assert waiting.result(SECONDS).verdict is Verdict.LIVE
    session.close()


@pytest.mark.parametrize(
    ("missing", "verdict", "codes"),
    [
        (MissingModalities.DEGRADE, Verdict.LIVE, ()),
        (MissingModalities.REQUIRE, Verdict.RETRY, (Reason.MODALITY_MISSING,)),
        (MissingModalities.REFUSE, Verdict.ERROR, (Reason.BAD_CAPTURE,)),
    ],
)
def test_a_capture_let_in_whole_may_lack_what_the_new_model_looks_at(
    bundle, newer, missing, verdict, codes
):
    gate = Gate()
    inputs = {Modality.RGB: bundle.manifest.inputs[Modality.RGB]}
    of_color = {"modalities": (Modality.RGB,), "inputs": inputs}
    old = replace(bundle, manifest=bundle.manifest.model_copy(update=of_color))
    session = Liveness(
        old,
        FakeEngine(gate),
        batching=BatchingPolicy(lanes=1, max_batch=1),
        missing=missing,
        loader=Proved,
    )
    color = tiny_bundle.capture(255, (Modality.RGB,))
    session.submit(color)
    until(lambda: gate.inside == 1)
    waiting = session.submit(color)
    session.swap(newer)
    gate.open()
    found = waiting.result(SECONDS)
    assert (found.verdict, found.codes) == (verdict, codes)
    assert found.bundle_id == session.bundle.id
    session.close()


def test_a_swap_brings_a_session_back_whose_lanes_all_hang(bundle, newer):
    script = Script("hang")
    old = FakeEngine(script)
    session = Liveness(
        bundle,
        old,
        batching=BatchingPolicy(lanes=1, spare_lanes=0, deadline_ms=200),
        loader=Proved,
    )
    until(lambda: session.check(GOOD).codes == (Reason.ENGINE_FAULT,))
    session.swap(newer)
    until(lambda: session.check(GOOD).verdict is Verdict.LIVE)
    assert not old.closed
    script.released.set()
    until(lambda: old.closed)
    session.close()

"""Micro-batcher: a policy's values, batches, and every capture's own answer, in order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest

from fasdk.batching import BatchingPolicy, WhenFull
from fasdk.capture import Modality
from fasdk.decision import Verdict
from fasdk.errors import UsageError
from fasdk.reasons import Reason

from support import tiny_bundle
from support.brightness import GOOD, SHADES, Brightness
from support.scripted_engine import SECONDS, FakeEngine, Gate, Script, live, until


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lanes": 0}, "lanes is 0, expected a whole number of at least 1"),
        ({"lanes": 1.5}, "lanes is 1.5"),
        ({"lanes": True}, "lanes is True"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"queue_limit": 0}, "queue_limit is 0"),
        ({"spare_lanes": -1}, "spare_lanes is -1, expected a whole number of at least 0"),
        ({"max_wait_ms": -1}, "max_wait_ms is -1, expected milliseconds"),
        ({"max_wait_ms": float("nan")}, "max_wait_ms is nan"),
        ({"deadline_ms": float("inf")}, "deadline_ms is inf"),
        (
            {"deadline_ms": 1e15},
            "deadline_ms is 1000000000000000.0, expected .* at most 86,400,000",
        ),
        ({"deadline_ms": None}, "deadline_ms is None"),
        ({"deadline_ms": 0}, "expected more than max_wait_ms"),
        ({"deadline_ms": 5, "max_wait_ms": 5}, "expected more than max_wait_ms"),
        ({"when_full": "drop"}, "expected reject or block"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        BatchingPolicy(**settings)
    assert BatchingPolicy(when_full="reject").when_full is WhenFull.REJECT


# ---- batches ----


def test_captures_that_wait_join_the_next_batch_up_to_its_limit(opened):
    gate = Gate()
    engine = FakeEngine(gate)
    session = opened(engine, lanes=1, max_batch=4)
    first = session.submit(GOOD)
    until(lambda: gate.inside == 1)
    rest = [session.submit(GOOD) for _ in range(6)]
    gate.open()
    assert [f.result(SECONDS).verdict for f in (first, *rest)] == [Verdict.LIVE] * 7
    assert [len(batch["rgb"]) for batch in engine.batches] == [1, 4, 2]


@pytest.mark.parametrize(("wait_ms", "taken"), [(0, [3, 2]), (60, [4, 1])])
def test_lanes_share_what_has_no_answer_unless_large_batches_were_asked_for(opened, wait_ms, taken):
    gates = [Gate(), Gate()]
    engine = FakeEngine(Script(*gates))
    session = opened(engine, lanes=2, max_batch=4, max_wait_ms=wait_ms)
    first = [session.submit(GOOD)]
    until(lambda: gates[0].inside == 1)
    first.append(session.submit(GOOD))
    until(lambda: gates[1].inside == 1)
    rest = [session.submit(GOOD) for _ in range(5)]
    gates[0].open()  # five wait and one is in the other lane: half of six are this one's
    until(lambda: len(engine.batches) == 4)
    gates[1].open()
    assert not wait([*first, *rest], SECONDS).not_done
    assert [len(batch["rgb"]) for batch in engine.batches[2:]] == taken


def test_without_max_batch_a_lane_takes_the_bundles_as_far_as_the_engine_does(bundle, opened):
    assert opened(FakeEngine(live)).check(GOOD).verdict is Verdict.LIVE
    for limit, expected in ((None, bundle.manifest.max_batch), (3, 3), (99, 4)):
        engine = FakeEngine(live, limit)
        opened(engine, lanes=3)
        assert [lane.max_batch for lane in engine.lanes] == [expected] * 3
    with pytest.raises(UsageError, match="max_batch 5, this engine takes 3"):
        opened(FakeEngine(live, 3), max_batch=5)


def test_a_batch_waits_for_others_no_longer_than_it_must(opened):
    engine = FakeEngine(live)
    session = opened(engine, lanes=2, max_batch=3, max_wait_ms=SECONDS * 1e3, deadline_ms=1e6)
    futures = [session.submit(GOOD) for _ in range(3)]
    assert not wait(futures, SECONDS / 2).not_done  # it was full at once
    assert [len(batch["rgb"]) for batch in engine.batches] == [3]
    session = opened(FakeEngine(live), lanes=2, max_batch=3, max_wait_ms=30)
    assert session.check(GOOD).timings_ms["queue"] >= 29


def test_closing_does_not_wait_for_a_batch_to_fill(opened):
    session = opened(FakeEngine(live), max_wait_ms=SECONDS * 1e3, deadline_ms=1e6)
    future = session.submit(GOOD)
    session.close()
    assert future.result(0).verdict is Verdict.LIVE


def test_every_capture_gets_the_answer_to_its_own_pixels(opened, expected):
    session = opened(Brightness(), lanes=2, max_batch=4)
    futures = [session.submit(capture) for capture in SHADES]
    assert [f.result(SECONDS).score for f in futures] == pytest.approx(expected, abs=1e-6)


def test_absent_modalities_leave_nothing_of_the_last_capture_in_a_row(opened):
    engine = Brightness()
    session = opened(engine, lanes=1, max_batch=1)
    session.check(GOOD)
    alone = session.check(tiny_bundle.capture(200, (Modality.RGB,)))
    assert alone.operating_point == "standard/rgb"
    assert (engine.batches[1]["depth"] == -1.0).all()


def test_a_capture_that_cannot_be_judged_never_sees_the_engine(opened):
    engine = FakeEngine(live)
    session = opened(engine, lanes=1)
    for bad in (None, "capture", tiny_bundle.capture(200, (Modality.IR,))):
        future = session.submit(bad)
        assert future.done()
        decision = future.result()
        assert decision.verdict is Verdict.ERROR
        assert decision.reasons
        assert decision.timings_ms["engine"] == 0.0
    assert not engine.batches
    assert session.check(GOOD).verdict is Verdict.LIVE


def test_capture_failing_in_preprocessing_leaves_its_batch_intact(opened, monkeypatch):
    import fasdk.scorer

    real = fasdk.scorer.fill_row
    bad = tiny_bundle.capture(90)

    def fill(capture, *rest):
        real(capture, *rest)
        if capture is bad:
            raise MemoryError("no memory")

    monkeypatch.setattr("fasdk.scorer.fill_row", fill)
    gate = Gate()
    engine = Brightness(lambda inputs: gate(len(inputs["rgb"])))
    session = opened(engine, lanes=1, max_batch=4)
    futures = [session.submit(GOOD)]
    until(lambda: gate.inside == 1)
    futures += [session.submit(capture) for capture in (SHADES[0], bad, SHADES[-1])]
    gate.open()
    answers = [f.result(SECONDS) for f in futures]
    assert [a.verdict for a in answers] == [
        Verdict.LIVE,
        Verdict.SPOOF,
        Verdict.ERROR,
        Verdict.LIVE,
    ]
    assert answers[2].codes == (Reason.UNEXPECTED,)
    assert [len(batch["rgb"]) for batch in engine.batches] == [1, 2]


def test_stage_times_are_each_captures_own_and_add_up(opened):
    gate = Gate()
    session = opened(FakeEngine(gate), lanes=1, max_batch=1)
    first = session.submit(GOOD)
    until(lambda: gate.inside == 1)
    second = session.submit(GOOD)
    time.sleep(0.02)
    gate.open()
    for future, stage in ((first, "engine"), (second, "queue")):
        timings = dict(future.result(SECONDS).timings_ms)
        total = timings.pop("end_to_end")
        assert sum(timings.values()) == pytest.approx(total, abs=1e-9)
        assert all(spent >= 0 for spent in timings.values())
        assert timings[stage] >= 19
        assert timings["preprocess"] > 0


# ---- order ----


def test_a_caller_hears_in_the_order_it_asked_and_nobody_else_waits_for_it(opened):
    calls = iter([Gate(), live, live])
    lock = threading.Lock()
    gates = []

    def answer(size):
        with lock:
            this = next(calls)
            gates.append(this)
        return this(size)

    session = opened(FakeEngine(answer), lanes=2, max_batch=1)
    delivered = []
    first = session.submit(GOOD)
    until(lambda: len(gates) == 1)
    second = session.submit(GOOD)
    for name, future in (("first", first), ("second", second)):
        future.add_done_callback(lambda _, name=name: delivered.append(name))
    until(lambda: len(gates) == 2)
    other = []
    thread = threading.Thread(target=lambda: other.append(session.check(GOOD).verdict))
    thread.start()
    thread.join(SECONDS)
    assert other == [Verdict.LIVE]
    assert not second.done()
    gates[0].open()
    assert first.result(SECONDS).verdict is second.result(SECONDS).verdict is Verdict.LIVE
    until(lambda: len(delivered) == 2)
    assert delivered == ["first", "second"]
    assert second.result().timings_ms["other"] > 0


def test_many_callers_each_hear_their_own_answers_in_order(opened, expected):
    rng = np.random.default_rng(4)
    session = opened(
        Brightness(lambda _: time.sleep(rng.random() * 1e-3)), lanes=3, max_batch=3, queue_limit=8
    )
    wrong = []

    def call(seed):
        order = np.random.default_rng(seed).integers(len(SHADES), size=40)
        delivered, futures = [], []
        for number, shade in enumerate(order):
            future = session.submit(SHADES[shade])
            future.add_done_callback(lambda _, number=number: delivered.append(number))
            futures.append(future)
        scores = [future.result(SECONDS).score for future in futures]
        until(lambda: len(delivered) == len(order))
        if delivered != sorted(delivered) or scores != pytest.approx(
            [expected[shade] for shade in order], abs=1e-6
        ):
            wrong.append((seed, delivered))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not wrong

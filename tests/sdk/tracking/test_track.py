"""Tracks: LIVE once, for the evidence of one face."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from itertools import pairwise
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasdk.capture import Modality
from fasdk.decision import Decision, MissingModalities, Verdict
from fasdk.errors import CaptureError, ClosedError, OutOfViewError, UsageError
from fasdk.reasons import Reason
from fasdk.tracking.policy import LockOutPolicy, TrackPolicy
from fasdk.tracking.track import Track, TrackDecision
from fasdk.tracking.tracks import Tracks

from support import tiny_bundle
from support.scripted_engine import SECONDS
from support.sequential_tests import sigmoid
from support.track_fakes import (
    POINT,
    FakeBundle,
    FakeSession,
    Hand,
    HeldSession,
    bundle_with_test,
    capture,
    error,
    plain_bundle,
    retry,
    scored,
)

LIVE, SPOOF, RETRY, ERROR = Verdict.LIVE, Verdict.SPOOF, Verdict.RETRY, Verdict.ERROR
NEVER = TrackPolicy(attempts=None, lock_out=None)
STRONG = 3.0  # log-odds; two such frames are LIVE by the test's sum, one is not


class Door:
    """A track on a session that answers what it is told, a frame every 100 ms."""

    def __init__(self, bundle=None, policy: TrackPolicy = NEVER) -> None:
        self.clock = Hand()
        self.answer: Decision = error()
        self.session = FakeSession(bundle or bundle_with_test(), lambda _: self.answer)
        self.track = Track(self.session, "door", policy, clock=self.clock)

    def see(self, answer: Decision | float, *, after_ms: float = 100.0, **frame) -> TrackDecision:
        """Hand in a frame that the session answers so; a number stands for log-odds."""
        self.clock.now_ms += after_ms
        self.answer = answer if isinstance(answer, Decision) else scored(sigmoid(answer))
        return self.track.check(capture(**frame))

    def verdicts(self, *answers: Decision | float) -> list[Verdict]:
        return [self.see(answer).verdict for answer in answers]


def test_the_sequential_test_decides_and_each_answer_says_how_far_it_is():
    door = Door()
    first = door.see(STRONG)
    assert (first.verdict, first.codes) == (RETRY, (Reason.UNDECIDED,))
    assert (first.frames, first.log_likelihood_ratio) == (1, pytest.approx(STRONG))
    assert first.frame is not None
    assert (first.frame.verdict, first.frame.codes) == (LIVE, ())
    second = door.see(STRONG)
    assert (second.verdict, second.codes, second.reasons) == (LIVE, (), ())
    assert (second.frames, second.log_likelihood_ratio) == (2, pytest.approx(2 * STRONG))
    assert (second.camera_id, second.operating_point) == ("door", POINT)
    assert second.score == second.frame.score


def test_a_door_gets_no_second_live_from_what_was_left_over():
    door = Door()
    assert door.verdicts(STRONG, STRONG, STRONG, STRONG) == [RETRY, LIVE, RETRY, LIVE]
    assert door.verdicts(-STRONG, -STRONG, STRONG) == [RETRY, SPOOF, RETRY]


def test_the_frame_limit_is_a_retry_and_the_next_frame_begins_anew():
    door = Door()
    assert door.verdicts(1.0, 1.0, 1.0) == [RETRY] * 3
    last = door.see(1.0)
    assert (last.verdict, last.codes, last.frames) == (RETRY, (Reason.UNDECIDED,), 4)
    assert "frame limit" in last.reasons[0]
    assert door.see(STRONG).frames == 1


def test_the_time_limit_is_a_retry_although_the_bound_is_met():
    door = Door()
    door.see(STRONG)
    late = door.see(STRONG, after_ms=1000.1)
    assert late.frames == 1  # a gap of more than a second is another face
    door = Door(policy=TrackPolicy(attempts=None, lock_out=None, face_lost_ms=5000.0))
    door.see(STRONG)
    late = door.see(STRONG, after_ms=1000.1)
    assert (late.verdict, late.codes) == (RETRY, (Reason.UNDECIDED,))
    assert "time limit" in late.reasons[0]
    assert door.see(STRONG).frames == 1


@pytest.mark.parametrize(
    ("frame", "answer", "after_ms"),
    [
        ({"face": (0, 0, 12, 12)}, STRONG, 100.0),  # the box jumps
        ({"face": None}, STRONG, 100.0),
        ({}, STRONG, 1000.1),
    ],
)
def test_track_discards_evidence_when_the_face_is_lost(frame, answer, after_ms):
    door = Door(policy=TrackPolicy(attempts=None, lock_out=None, max_ms=1e6))
    door.see(STRONG)
    after = door.see(answer, after_ms=after_ms, **frame)
    assert (after.verdict, after.frames) == (RETRY, 1)


@pytest.mark.parametrize("reason", [Reason.NO_FACE, Reason.SEVERAL_FACES])
def test_no_face_or_several_drop_what_was_gathered(reason):
    door = Door()
    door.see(STRONG)
    assert door.see(retry(reason)).codes == (reason,)
    assert door.see(STRONG).frames == 1


@pytest.mark.parametrize("fault", [retry(), error(), error(Reason.BAD_CAPTURE)])
def test_a_frame_that_was_not_judged_keeps_its_reason_and_adds_nothing(fault):
    door = Door()
    door.see(STRONG)
    passed = door.see(fault)
    assert (passed.verdict, passed.codes) == (fault.verdict, fault.codes)
    assert (passed.frames, passed.log_likelihood_ratio) == (1, pytest.approx(STRONG))
    assert door.see(STRONG).verdict is LIVE


def test_too_many_of_them_in_a_row_drop_what_was_gathered():
    policy = TrackPolicy(attempts=None, lock_out=None, max_unscored=2)
    for faults, frames in [(2, 2), (3, 1)]:
        door = Door(policy=policy)
        door.see(STRONG)
        for _ in range(faults):
            door.see(retry(), after_ms=10.0)
        assert door.see(STRONG).frames == frames
    # A judged frame between them begins the count again.
    door = Door(bundle_with_test(max_frames=9, live_bound=8.0), policy)
    door.verdicts(1.0, retry(), retry(), 1.0, retry(), retry())
    assert door.see(1.0).frames == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Decision(LIVE, operating_point=POINT, bundle_id="a bundle"), Reason.NOT_FINITE),
        (Decision(LIVE, score=1.5, operating_point=POINT, bundle_id="a bundle"), Reason.NOT_FINITE),
        (Decision(LIVE, score=math.inf, operating_point=POINT), Reason.NOT_FINITE),
        (Decision(LIVE, score=0.99, bundle_id="a bundle"), Reason.NO_OPERATING_POINT),
    ],
)
@pytest.mark.parametrize("bundle", [plain_bundle(), bundle_with_test()])
def test_a_live_that_lacks_what_makes_one_is_an_error(bundle, answer, code):
    door = Door(bundle, TrackPolicy(frames_required=1, attempts=None, lock_out=None))
    found = door.see(answer)
    assert (found.verdict, found.codes) == (ERROR, (code,))
    assert found.frames == 0


def test_frames_of_a_bundle_that_was_replaced_do_not_count():
    door = Door()
    door.see(STRONG)
    door.session.bundle = bundle_with_test("its successor")
    stale = door.see(STRONG)
    assert (stale.verdict, stale.codes) == (RETRY, (Reason.UNDECIDED,))
    fresh = door.see(scored(sigmoid(STRONG), bundle="its successor"))
    assert (fresh.verdict, fresh.frames) == (RETRY, 1)


@pytest.mark.parametrize("reads", range(6))
def test_a_swap_between_two_looks_at_the_bundle_lends_no_frame_the_new_test(reads):
    """One frame is LIVE by the new bundle's test, and it was the old one that scored it."""
    old, new = bundle_with_test(), bundle_with_test("its successor", live_bound=0.1)

    class Swaps(FakeSession):
        looks = 0

        @property
        def bundle(self):
            self.looks += 1
            return old if self.looks <= reads else new

        @bundle.setter
        def bundle(self, _):
            """Nothing to keep."""

    track = Track(Swaps(old, lambda _: scored(sigmoid(STRONG))), "door", NEVER, clock=Hand())
    assert track.check(capture()).verdict is RETRY


def test_another_operating_point_begins_anew():
    door = Door(policy=TrackPolicy(frames_required=2, attempts=None, lock_out=None))
    door.see(STRONG)
    other = scored(sigmoid(STRONG))
    other = Decision(LIVE, score=other.score, operating_point="standard/rgb", bundle_id="a bundle")
    first = door.see(other)
    assert (first.verdict, first.frames, first.log_likelihood_ratio) == (RETRY, 1, None)
    assert door.see(other).verdict is LIVE


def test_without_a_sequential_test_live_takes_three_live_frames_in_a_row():
    door = Door(plain_bundle())
    assert door.verdicts(0.1, 0.1, 0.1, 0.1) == [RETRY, RETRY, LIVE, RETRY]
    assert door.verdicts(0.1, -0.1, 0.1) == [RETRY, SPOOF, RETRY]


def test_track_answers_on_one_frame_only_where_the_policy_allows():
    door = Door(plain_bundle(), TrackPolicy(frames_required=1, attempts=None, lock_out=None))
    assert door.verdicts(0.1, -0.1, 0.1) == [LIVE, SPOOF, LIVE]


# Lock-out.

QUICK = TrackPolicy(
    attempts=None,
    lock_out=LockOutPolicy(spoofs=2, window_ms=1e4, locked_ms=2000.0, same_face_ms=500.0),
)


def test_repeated_spoofs_lock_the_camera_out_for_a_time():
    door = Door(plain_bundle(), QUICK)
    assert door.verdicts(-1.0) == [SPOOF]
    door.see(retry(Reason.NO_FACE))
    assert door.verdicts(-1.0) == [SPOOF]
    assert door.track.is_locked_out
    judged = door.session.judged
    locked = door.see(9.0)
    assert (locked.verdict, locked.codes) == (ERROR, (Reason.LOCKED_OUT,))
    assert "door is locked out for another 1.9 s" in locked.reasons[0]
    assert (locked.frames, door.session.judged) == (0, judged)  # the engine is left alone
    door.see(retry(Reason.NO_FACE))  # the face is lost, the lock-out is not
    assert door.see(9.0).verdict is ERROR
    door.clock.now_ms += 2000.0
    assert not door.track.is_locked_out
    assert door.verdicts(9.0, 9.0, 9.0) == [RETRY, RETRY, LIVE]


def test_a_lock_out_until_unlock():
    policy = TrackPolicy(attempts=None, lock_out=LockOutPolicy(spoofs=1, locked_ms=None))
    door = Door(plain_bundle(), policy)
    door.see(-1.0)
    assert "until unlock()" in door.see(9.0, after_ms=1e9).reasons[0]
    door.track.unlock()
    assert door.see(9.0).verdict is RETRY


def test_picture_held_up_counts_as_a_new_spoof_after_the_window():
    door = Door(plain_bundle(), QUICK)
    assert door.verdicts(*[-1.0] * 5) == [SPOOF] * 5
    assert not door.track.is_locked_out
    assert door.verdicts(-1.0, -1.0) == [SPOOF, ERROR]


def test_live_people_in_between_do_not_clear_the_spoofs():
    door = Door(plain_bundle(), QUICK)
    door.see(-1.0)
    door.see(retry(Reason.NO_FACE))
    assert door.verdicts(1.0, 1.0, 1.0)[-1] is LIVE
    door.see(retry(Reason.NO_FACE))
    door.see(-1.0)
    assert door.track.is_locked_out


def test_frames_under_way_when_it_locks_are_locked_out_too():
    session = HeldSession(plain_bundle())
    policy = TrackPolicy(frames_required=1, attempts=None, lock_out=LockOutPolicy(spoofs=1))
    track = Track(session, "door", policy, clock=Hand())
    futures = [track.submit(capture()) for _ in range(2)]
    session.futures[1].set_result(scored(0.9))
    session.futures[0].set_result(scored(0.1))
    assert [future.result(SECONDS).verdict for future in futures] == [SPOOF, ERROR]


@pytest.mark.parametrize("backwards", [-1e9, math.nan])
def test_a_clock_that_runs_backwards_neither_unlocks_nor_prolongs(backwards):
    door = Door(
        plain_bundle(),
        TrackPolicy(attempts=None, lock_out=LockOutPolicy(spoofs=1, locked_ms=1000.0)),
    )
    door.see(-1.0, after_ms=5000.0)
    door.clock.now_ms = backwards
    assert door.track.is_locked_out
    door.clock.now_ms = 5999.0
    assert door.track.is_locked_out
    door.clock.now_ms = 6000.0
    assert not door.track.is_locked_out


# Missing modalities.

SOME = (Modality.RGB, Modality.IR)


@pytest.mark.parametrize(
    ("missing", "verdict", "codes"),
    [
        (MissingModalities.REQUIRE, RETRY, (Reason.MODALITY_MISSING,)),
        (MissingModalities.REFUSE, ERROR, (Reason.BAD_CAPTURE,)),
    ],
)
def test_a_missing_modality_is_named_and_never_judged(missing, verdict, codes):
    door = Door(policy=TrackPolicy(missing=missing, attempts=None, lock_out=None))
    door.see(STRONG)
    found = door.see(STRONG, modalities=SOME)
    assert (found.verdict, found.codes, door.session.judged) == (verdict, codes, 1)
    assert "lacks depth" in found.reasons[0]
    assert door.see(STRONG).verdict is LIVE  # the next whole capture goes on


def test_a_frame_on_its_way_through_a_swap_is_held_to_what_the_new_model_looks_at():
    of_color = tiny_bundle.manifest().model_copy(update={"modalities": (Modality.RGB,)})
    session = HeldSession(FakeBundle(of_color))
    policy = TrackPolicy(1, attempts=None, missing=MissingModalities.REQUIRE)
    track = Track(session, "door", policy, clock=Hand())
    future = track.submit(capture(modalities=(Modality.RGB,)))
    session.bundle = FakeBundle(tiny_bundle.manifest(), "its successor")
    session.futures[0].set_result(scored(0.99, bundle="its successor"))
    found = future.result(SECONDS)
    assert (found.verdict, found.codes) == (RETRY, (Reason.MODALITY_MISSING,))


def test_by_default_every_modality_is_required():
    door = Door()
    found = door.see(STRONG, modalities=SOME)
    assert (found.verdict, found.codes) == (RETRY, (Reason.MODALITY_MISSING,))
    assert door.session.judged == 0


# Order, faults of the session, one track a camera.


def test_answers_come_in_the_order_of_submission():
    session = HeldSession(bundle_with_test())
    track = Track(session, "door", NEVER, clock=Hand())
    futures = [track.submit(capture()) for _ in range(3)]
    session.futures[2].set_result(scored(sigmoid(-9.0)))
    session.futures[1].set_result(scored(sigmoid(STRONG)))
    assert not any(future.done() for future in futures)
    session.futures[0].set_result(scored(sigmoid(STRONG)))
    assert [future.result(SECONDS).verdict for future in futures] == [RETRY, LIVE, SPOOF]
    assert [future.result(SECONDS).frames for future in futures] == [1, 2, 1]


def test_a_frame_cannot_be_taken_back():
    session = HeldSession(bundle_with_test())
    track = Track(session, "door", NEVER, clock=Hand())
    future = track.submit(capture())
    assert not future.cancel()
    session.futures[0].cancel()
    session.futures[0].set_running_or_notify_cancel()
    assert (future.result(SECONDS).verdict, future.result(SECONDS).codes) == (
        ERROR,
        (Reason.UNEXPECTED,),
    )


def test_a_session_that_raises_or_fails_is_an_error_and_the_next_frame_works():
    session = HeldSession(bundle_with_test())
    track = Track(session, "door", NEVER, clock=Hand())
    failing = track.submit(capture())
    session.futures[0].set_exception(RuntimeError("lost"))
    assert failing.result(SECONDS).codes == (Reason.UNEXPECTED,)
    whole, session.submit = session.submit, None  # type: ignore[method-assign]
    assert track.submit(capture()).result(SECONDS).verdict is ERROR
    session.submit = whole  # type: ignore[method-assign]
    track.submit(capture())
    last = track.submit(capture())
    for future in session.futures[1:]:
        future.set_result(scored(sigmoid(STRONG)))
    assert last.result(SECONDS).verdict is LIVE


@pytest.mark.parametrize(
    ("raised", "verdict", "code"),
    [
        (OutOfViewError("move to the middle"), RETRY, Reason.OUT_OF_FRAME),
        (CaptureError("wrong dtype"), ERROR, Reason.BAD_CAPTURE),
        (ClosedError("closed"), ERROR, Reason.CLOSED),
    ],
)
def test_a_track_answers_an_exception_as_a_session_does(raised, verdict, code):
    session = HeldSession(bundle_with_test())
    track = Track(session, "door", NEVER, clock=Hand())
    future = track.submit(capture())
    session.futures[0].set_exception(raised)
    assert (future.result(SECONDS).verdict, future.result(SECONDS).codes) == (verdict, (code,))
    session.submit = Mock(side_effect=raised)  # type: ignore[method-assign]
    found = track.check(capture())
    assert (found.verdict, found.codes) == (verdict, (code,))


def test_an_interrupt_in_submit_leaves_no_frame_waiting():
    def interrupted(_):
        raise KeyboardInterrupt

    session = HeldSession(bundle_with_test())
    track = Track(session, "door", NEVER, clock=Hand())
    whole, session.submit = session.submit, interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        track.submit(capture())
    session.submit = whole  # type: ignore[method-assign]
    future = track.submit(capture())
    session.futures[0].set_result(scored(0.9))
    assert future.result(SECONDS).verdict is not ERROR


def test_a_callback_may_submit_and_may_raise():
    door = Door()
    inner: list[Future[TrackDecision]] = []
    submitted = threading.Event()

    def again(_: object) -> None:
        inner.append(door.track.submit(capture()))
        submitted.set()
        raise SystemExit

    door.answer = scored(sigmoid(STRONG))
    held = HeldSession(door.session.bundle)
    door.track._session = held
    future = door.track.submit(capture())
    future.add_done_callback(again)
    held.futures[0].set_result(door.answer)
    assert future.result(SECONDS).verdict is RETRY
    # A future wakes those who wait for it before it calls its callbacks.
    assert submitted.wait(SECONDS)
    held.futures[1].set_result(door.answer)
    assert inner[0].result(SECONDS).verdict is LIVE


def test_a_bundle_that_cannot_be_read_is_an_error():
    door = Door()
    door.session.bundle = None
    assert door.see(STRONG).verdict is ERROR
    door.session.bundle = bundle_with_test()
    assert door.see(STRONG).frames == 1


@pytest.mark.parametrize("garbage", [None, "frame", 7, object()])
def test_track_answers_error_to_a_non_capture_and_judges_the_next_frame(garbage):
    door = Door(plain_bundle(), TrackPolicy(frames_required=1, attempts=None))
    door.answer = scored(0.9)
    assert door.track.check(garbage).verdict is ERROR
    assert door.see(scored(0.9)).verdict is LIVE


def test_reset_drops_what_was_gathered_and_keeps_the_lock_out():
    door = Door(policy=TrackPolicy(attempts=None, lock_out=LockOutPolicy(spoofs=1)))
    door.see(STRONG)
    door.track.reset()
    assert door.see(STRONG).frames == 1
    assert door.see(-9.0).verdict is SPOOF
    door.track.reset()
    assert door.track.is_locked_out


def test_frames_under_way_at_a_reset_are_no_evidence_for_whoever_comes_next():
    session = HeldSession(bundle_with_test())
    track = Track(session, "door", NEVER, clock=Hand())
    before = track.submit(capture())
    track.reset()
    after = [track.submit(capture()) for _ in range(2)]
    for future in session.futures:
        future.set_result(scored(sigmoid(STRONG)))
    found = before.result(SECONDS)
    assert (found.verdict, found.codes, found.frames) == (RETRY, (Reason.UNDECIDED,), 0)
    assert [(f.result(SECONDS).verdict, f.result(SECONDS).frames) for f in after] == [
        (RETRY, 1),
        (LIVE, 2),
    ]


def test_camera_has_a_single_track_and_policy():
    tracks = Tracks(FakeSession(plain_bundle(), lambda _: error()))
    track = tracks.of("lobby", NEVER)
    assert (
        tracks.of("lobby") is tracks.of("lobby", TrackPolicy(attempts=None, lock_out=None)) is track
    )
    assert tracks.of("garage") is not track
    assert tracks.of("garage").policy == TrackPolicy()
    with pytest.raises(UsageError, match=r"'lobby' has a track with .* use one policy per camera"):
        tracks.of("lobby", TrackPolicy(frames_required=1, attempts=None, lock_out=None))
    with pytest.raises(UsageError, match=r"has the camera_id .., expected a name"):
        tracks.of("")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames_required": 0}, "frames_required is 0"),
        ({"remembered_frames": -1}, "remembered_frames is -1"),
        ({"on_disk": 1}, "on_disk is 1"),
        ({"max_unscored": -1}, "max_unscored is -1"),
        ({"max_ms": math.inf}, "max_ms is inf"),
        ({"face_lost_ms": 0}, "face_lost_ms is 0"),
        ({"min_overlap": 1.1}, "min_overlap is 1.1"),
        ({"min_overlap": math.nan}, "min_overlap is nan"),
        ({"missing": "ignore"}, "missing is 'ignore', expected require, degrade or refuse"),
    ],
)
def test_a_policy_out_of_range_is_refused(change, words):
    with pytest.raises(UsageError, match=words):
        TrackPolicy(**change)


ANSWERS = st.one_of(
    st.floats(-6, 6).map(lambda value: scored(sigmoid(value))),
    st.sampled_from(
        [
            retry(),
            retry(Reason.NO_FACE),
            error(),
            Decision(LIVE, score=math.nan, operating_point=POINT, bundle_id="a bundle"),
            Decision(LIVE, score=0.999, bundle_id="a bundle"),
            scored(0.999, bundle="another"),
        ]
    ),
)
FRAMES = st.tuples(ANSWERS, st.sampled_from([0.0, 50.0, 400.0, 1500.0]), st.booleans())


def counts(answer: Decision) -> bool:
    return (
        answer.verdict in (LIVE, SPOOF)
        and 0.0 <= answer.score <= 1.0
        and answer.operating_point == POINT
        and answer.bundle_id == "a bundle"
    )


@settings(max_examples=150)
@given(frames=st.lists(FRAMES, max_size=25), tested=st.booleans())
def test_whatever_comes_live_is_never_said_without_its_evidence(frames, tested):
    """Every LIVE is accounted for by frames since the last verdict or loss of the face."""
    door = Door(bundle_with_test() if tested else plain_bundle())
    at_ms, history = 0.0, []
    for answer, after_ms, moved in frames:
        at_ms += after_ms
        face = (0, 0, 12, 12) if moved else (20, 10, 20, 20)
        found = door.see(answer, after_ms=after_ms, face=face)
        history.append((answer, at_ms, moved, found.verdict))
        if found.verdict is not LIVE:
            continue
        assert counts(answer)
        own = [history[-1]]
        for later, one in pairwise(reversed(history)):
            if one[3] in (LIVE, SPOOF) or one[2] != later[2] or later[1] - one[1] > 1000.0:
                break
            if one[0].codes == (Reason.NO_FACE,):
                break
            own.append(one)
        evidence = [item for item in own if counts(item[0])]
        newest = evidence[: found.frames]
        assert len(newest) == found.frames  # no frame of another face, or from before a verdict
        assert at_ms - newest[-1][1] <= (1000.0 if tested else 5000.0)
        if tested:
            total = sum(math.log(a.score) - math.log1p(-a.score) for a, *_ in newest)
            assert found.frames <= 4
            assert total > 5.0 - 1e-9
        else:
            assert found.frames == 3
            assert all(a.verdict is LIVE for a, *_ in newest)


def test_a_track_of_the_tiny_bundle_is_named_by_its_operating_point():
    assert tiny_bundle.point().id == POINT

"""First decisions after pauses and times to a track's verdict, on a clock moved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.decision import Verdict
from fasdk.errors import BackendError, UsageError
from fasdk.reasons import Reason
from fasdk_tools.profiling.idle import IdleRequest, Timing, measure_pauses
from fasdk_tools.profiling.track_time import measure_tracks

from support.track_fakes import FakeSession, capture, plain_bundle, retry, scored

CAPTURES = [capture(1), capture(2)]


class Sleeper:
    """A clock that sleeping and deciding move; a decision is slower the longer nothing was asked.

    Attributes:
        now_s: Time in seconds.
        slept_s: Every pause asked for.
    """

    def __init__(self, busy_ms: float = 8.0, wake_up_ms: float = 0.0) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []
        self._busy_ms, self._wake_up_ms = busy_ms, wake_up_ms
        self._last_s = self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def decide(self, score: float = 0.9):
        is_woken = self.now_s - self._last_s >= 5.0
        self.now_s += (self._busy_ms + (self._wake_up_ms if is_woken else 0.0)) / 1e3
        self._last_s = self.now_s
        return scored(score)

    @property
    def timing(self) -> Timing:
        return Timing(clock_s=lambda: self.now_s, sleep_s=self.sleep)


def pauses(sleeper, request, say=None):
    session = FakeSession(plain_bundle(), say or (lambda _: sleeper.decide()))
    return measure_pauses(session, CAPTURES, request, timing=sleeper.timing)


def test_the_default_is_twenty_of_five_pauses_and_quick_says_that_it_is_fewer():
    assert IdleRequest() == IdleRequest((0.0, 1.0, 5.0, 10.0, 60.0), 20, quick=False)
    quick = IdleRequest.quickly()
    assert quick.quick
    assert quick.seconds < IdleRequest().seconds / 50


def test_a_wake_up_shows_after_the_pauses_that_are_long_enough():
    found = pauses(Sleeper(busy_ms=8.0, wake_up_ms=92.0), IdleRequest(count=4))
    assert [each.pause_s for each in found] == [0.0, 1.0, 5.0, 10.0, 60.0]
    assert [round(each.median_ms, 6) for each in found] == [8.0, 8.0, 100.0, 100.0, 100.0]
    assert [round(each.ratio_to_busy, 6) for each in found] == [1.0, 1.0, 12.5, 12.5, 12.5]
    assert all(each.calls == len(each.latencies_ms) == 4 for each in found)


def test_the_largest_is_kept_beside_the_median():
    sleeper = Sleeper()
    slow = iter([False] * 11 + [True] + [False] * 100)

    def say(_):
        sleeper.now_s += 0.05 if next(slow) else 0.0
        return sleeper.decide()

    (found,) = pauses(sleeper, IdleRequest(pauses_s=(0.0,), count=5), say)
    assert found.median_ms == pytest.approx(8.0)
    assert found.largest_ms == pytest.approx(58.0)


def test_lengths_take_turns_so_that_a_drift_is_not_taken_for_a_pause():
    sleeper = Sleeper()
    pauses(sleeper, IdleRequest(pauses_s=(0.0, 1.0, 5.0), count=2))
    assert sleeper.slept_s == [1.0, 5.0, 1.0, 5.0]


@pytest.mark.parametrize(
    "changes", [{"pauses_s": (1.0,)}, {"pauses_s": (0.0, -1.0)}, {"count": 0}], ids=str
)
def test_pauses_without_a_busy_door_to_compare_with_are_refused(changes):
    with pytest.raises(UsageError, match="expected lengths"):
        IdleRequest(**changes)


def test_a_capture_without_a_score_ends_the_measurement_with_its_reason():
    with pytest.raises(BackendError, match=Reason.BLURRED.value):
        pauses(Sleeper(), IdleRequest(count=1), lambda _: retry())


def test_no_capture_is_refused_with_what_to_do():
    session = FakeSession(plain_bundle(), lambda _: scored(0.9))
    with pytest.raises(UsageError, match="--captures LIST"):
        measure_pauses(session, [], IdleRequest(count=1), timing=Sleeper().timing)


def tracks(sleeper, score=0.9, **options):
    session = FakeSession(plain_bundle(), lambda _: sleeper.decide(score))
    return measure_tracks(session, CAPTURES, timing=sleeper.timing, **options)


def test_a_live_takes_three_frames_in_a_row_at_the_cameras_rate():
    found = tracks(Sleeper(busy_ms=8.0), fps=10.0, tracks=4)
    assert (found.verdicts, found.median_frames) == (4, 3)
    # The third frame is due after 200 ms.
    assert found.times_ms == tuple([pytest.approx(208.0)] * 4)
    assert found.frame_median_ms == pytest.approx(8.0)


def test_frames_closer_than_the_policy_counts_do_not_bring_the_verdict_forward():
    # At 50 frames/s every third is 60 ms after the last that counted, the policy asks for 50.
    assert tracks(Sleeper(busy_ms=1.0), fps=50.0, tracks=1).times_ms[0] == pytest.approx(121.0)


def test_an_engine_slower_than_the_camera_sets_the_pace_and_frames_are_passed_over():
    found = tracks(Sleeper(busy_ms=240.0), fps=10.0, tracks=1)
    # Frames of 0, 200 and 400 ms are judged: the newest when the one before was done.
    assert found.times_ms[0] == pytest.approx(720.0)
    assert found.frame_median_ms == pytest.approx(280.0)


def test_a_spoof_is_a_verdict_at_once_and_delays_nobody_after_it():
    found = tracks(Sleeper(busy_ms=8.0), score=0.1, fps=10.0, tracks=3)
    assert found.times_ms == tuple([pytest.approx(8.0)] * 3)
    assert scored(0.1).verdict is Verdict.SPOOF


def test_a_person_without_a_verdict_has_no_time():
    sleeper = Sleeper()

    def say(_):
        sleeper.now_s += 0.01
        return retry()

    session = FakeSession(plain_bundle(), say)
    found = measure_tracks(session, CAPTURES, tracks=2, timing=sleeper.timing)
    assert (found.verdicts, found.median_ms, found.times_ms) == (0, None, (None, None))
    assert np.isfinite(found.frame_median_ms)


@pytest.mark.parametrize("options", [{"tracks": 0}, {"fps": 0.0}, {"fps": float("nan")}])
def test_a_track_needs_persons_and_a_frame_rate(options):
    with pytest.raises(UsageError, match="at least one of each"):
        tracks(Sleeper(), **options)

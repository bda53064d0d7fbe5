"""Backlog of a stream: frames that piled up are passed over, fresh ones are not."""

from __future__ import annotations

import pytest

from fasdk.cameras.backlog import Backlog


def fresh(backlog, times):
    return [backlog.is_fresh(time_ms) for time_ms in times]


def test_what_piled_up_while_the_stream_was_opened_is_passed_over():
    backlog = Backlog(25.0)
    burst = [100.0 + 3.0 * n for n in range(40)]
    assert not any(fresh(backlog, burst))
    live = [217.0 + 40.0 * n for n in range(1, 20)]
    assert fresh(backlog, live) == [False] * 3 + [True] * 16


def test_a_busy_machine_does_not_make_a_backlog_fresh():
    backlog = Backlog(25.0)
    assert not any(fresh(backlog, [0.0, 50.0, 140.0, 150.0, 160.0, 170.0, 220.0, 230.0]))


def test_what_piled_up_while_the_network_stood_still_is_passed_over():
    backlog = Backlog(25.0)
    assert all(fresh(backlog, [40.0 * n for n in range(20)])[4:])
    stalled = 760.0 + 3000.0
    assert not any(fresh(backlog, [stalled, *(stalled + 4.0 * n for n in range(1, 60))]))
    assert all(fresh(backlog, [stalled + 240.0 + 40.0 * n for n in range(1, 9)])[3:])


def test_the_senders_times_tell_a_backlog_that_is_decoded_slowly():
    backlog = Backlog(25.0)
    # 100 frames of 30 a second, decoded in 25 ms each: 500 ms are made good in 60 frames.
    arrived = [25.0 * n for n in range(60)]
    sent = [1000.0 * n / 30.0 for n in range(60)]
    assert not any(map(backlog.is_fresh, arrived, sent))
    later = range(1, 20)
    found = [
        backlog.is_fresh(arrived[-1] + 1000.0 * n / 30.0, sent[-1] + 1000.0 * n / 30.0)
        for n in later
    ]
    assert found == [False] * found.index(True) + [True] * (19 - found.index(True))
    assert found.index(True) <= 3


def test_times_of_a_sender_that_stand_still_are_not_used():
    backlog = Backlog(25.0)
    assert [backlog.is_fresh(40.0 * n, 7.0) for n in range(10)] == [False] * 4 + [True] * 6


@pytest.mark.parametrize("fps", [25.0, 0.0, -1.0, float("nan"), 90_000.0])
@pytest.mark.parametrize("interval_ms", [11.0, 16.0, 33.0, 66.0, 1000.0])
def test_a_rate_other_than_the_declared_one_is_learned(fps, interval_ms):
    found = fresh(Backlog(fps), [interval_ms * n for n in range(400)])
    # A stream at more than twice the declared rate is taken for a backlog, for two seconds.
    first = found.index(True)
    assert first * interval_ms <= 2000.0 + 2 * interval_ms
    assert first >= 2
    assert all(found[first:])


def test_jitter_is_no_gap():
    backlog = Backlog(25.0)
    times = [40.0 * n + (15.0 if n % 3 else 0.0) for n in range(60)]
    assert all(fresh(backlog, times)[4:])
    assert backlog.is_fresh(times[-1] + 400.0)

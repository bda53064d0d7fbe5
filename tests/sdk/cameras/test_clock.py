"""Device clocks mapped to time.monotonic, never later than the arrival."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.cameras.clock import DeviceClock, PipelineClock

PERIOD_MS = 33.0


def arrivals(*, clock_ahead_ms, drift=0.0, sets=2000, seed=3):
    """Yield when each frame was taken and arrived, and what the device's clock said then."""
    rng = np.random.default_rng(seed)
    for number in range(sets):
        taken = 5000.0 + number * PERIOD_MS
        delay = 4.0 + rng.exponential(6.0)  # never below 4 ms, as a USB transfer takes its time
        yield taken, taken + delay, (taken + clock_ahead_ms) * (1 + drift)


@pytest.mark.parametrize("clock_ahead_ms", [-4000.0, 0.0, 1.7e12])
def test_a_stamp_is_late_by_the_smallest_delay_at_most(clock_ahead_ms):
    clock = DeviceClock()
    errors = []
    for taken, arrived, device in arrivals(clock_ahead_ms=clock_ahead_ms):
        stamp = device + clock.observe(device, arrived)
        assert stamp <= arrived + 1e-3
        errors.append(stamp - taken)
    # The true delay is hidden in the arrival; what remains is the smallest one, 4 ms.
    assert np.all(np.array(errors[100:]) == pytest.approx(4.0, abs=0.5))


def test_drift_of_fifty_millionths_costs_less_than_two_milliseconds():
    clock = DeviceClock()
    late = [
        device + clock.observe(device, arrived) - taken
        for taken, arrived, device in arrivals(clock_ahead_ms=9e4, drift=50e-6, sets=20_000)
    ]
    assert max(late[100:]) < 4.0 + 2.0
    assert min(late[100:]) > 4.0 - 2.0


@pytest.mark.parametrize("jump_ms", [-1e6, 1e6])
def test_a_clock_that_jumps_is_estimated_anew(jump_ms):
    clock = DeviceClock()
    for number in range(100):
        clock.observe(1e7 + number * PERIOD_MS, 5000.0 + number * PERIOD_MS)
    device, arrived = 1e7 + 100 * PERIOD_MS + jump_ms, 5000.0 + 100 * PERIOD_MS
    assert device + clock.observe(device, arrived) == pytest.approx(arrived)


def test_queued_frames_that_follow_at_once_do_not_look_like_a_jump():
    clock = DeviceClock()
    clock.observe(1000.0, 5000.0)
    late = clock.observe(1033.0, 5400.0)  # held up 367 ms, then two more at once
    assert clock.observe(1066.0, 5401.0) == clock.observe(1099.0, 5402.0) == late == 4000.0


def test_a_sources_running_times_count_from_the_pipelines_base():
    clock = PipelineClock(1000.0)
    assert clock.taken_ms(10.0, 1015.0) == 1010.0
    assert clock.taken_ms(20.0, 1090.0) == 1020.0  # late, and stamped when it was taken
    assert clock.taken_ms(30.0, 9000.0) == 1030.0  # as after this process was stopped
    assert clock.taken_ms(None, 9001.0) == 9001.0


@pytest.mark.parametrize("origin_ms", [500.0, -5000.0])
def test_running_times_of_another_origin_are_mapped_by_the_least_delay(origin_ms):
    clock = PipelineClock(1000.0)
    delays = [9.0, 4.0, 30.0, 6.0]
    stamps = []
    for number, delay in enumerate(delays):
        running = origin_ms + 40.0 * number
        arrived = 1100.0 + 40.0 * number + delay
        stamps.append(clock.taken_ms(running, arrived))
        assert stamps[-1] <= arrived
    assert stamps == [1109.0, 1144.0, 1184.0, 1224.0]


def test_one_frame_from_the_future_shows_another_origin():
    clock = PipelineClock(1000.0)
    assert clock.taken_ms(90.0, 1100.0) == 1090.0
    assert clock.taken_ms(140.0, 1130.0) == 1130.0
    stamps = [clock.taken_ms(140.0 + step, 1140.0 + step) for step in (30.0, 60.0)]
    assert stamps == [1160.0, 1190.0]

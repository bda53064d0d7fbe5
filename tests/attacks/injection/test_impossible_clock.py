"""An attacker whose injected frames carry a clock that no sensor runs by.

A film is played faster or slower than it was taken, all at once, or in a loop, with the device's
clock as it was recorded. The track holds that clock against the one before and against this
machine's: RETRY (device-stamps).
"""

from __future__ import annotations

import math

import pytest

from fasdk.capture import DeviceStamp, Modality
from fasdk.reasons import Reason
from fasdk.tracking.stamp_watch import StampWatch

from support.track_fakes import capture

IR = Modality.IR


def watched(clocks_ms, *, every_ms=33.0):
    """Return the numbers of the frames whose infrared clock is refused."""
    watch, found = StampWatch(), []
    for at, clock_ms in enumerate(clocks_ms):
        stamps = {IR: DeviceStamp(at, clock_ms)}
        finding = watch.take_in(capture(stamps=stamps), at * every_ms)
        if finding is not None:
            assert finding.reason is Reason.DEVICE_STAMPS
            assert finding.message.startswith("ir ")
            found.append(at)
    return found


def test_a_clock_that_runs_as_this_machines_is_taken():
    drifting = [1e6 + 33.0 * n * (1 + 100e-6) + 3.0 * math.sin(n) for n in range(3_000)]
    assert watched(drifting) == []


@pytest.mark.parametrize(
    ("clocks_ms", "at"),
    [
        pytest.param([0.0, 33.0, 66.0, 33.0, 66.0], [3], id="a loop"),
        pytest.param([0.0, 33.0, 33.0, 66.0], [2], id="stands still"),
        pytest.param([0.0, 33.0, 33.2, 66.0], [2], id="two frames at once"),
        pytest.param([0.0, 33.0, 9_000.0, 9_033.0], [2], id="jumps ahead"),
        pytest.param([0.0, 33.0, math.nan, 99.0], [2, 3], id="no number"),
        pytest.param([0.0, 33.0, None, 99.0], [2], id="ends"),
    ],
)
def test_a_clock_that_jumps_is_found_and_then_taken_as_it_is(clocks_ms, at):
    assert watched(clocks_ms) == at


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 4.0])
def test_a_film_at_another_speed_is_found_within_half_a_minute(speed):
    found = watched([33.0 * n * speed for n in range(900)])
    assert found
    assert found[0] * 33.0 <= 30_000.0

"""An attacker who feeds recorded frames under a driver, so that the device's own count tells of it.

A recording begins anew, repeats a frame or has none of the device's stamps. The track holds each
frame's count against the one before: RETRY (device-stamps), what was gathered is dropped, and the
attempt counts. A camera that was connected again gets one such answer too.
"""

from __future__ import annotations

import pytest

from fasdk.capture import DeviceStamp, Modality
from fasdk.decision import Verdict
from fasdk.reasons import Reason

from support.attack_door import AttackDoor
from support.track_fakes import plain_bundle

EVERY = tuple(Modality)
STRANGE = (Verdict.RETRY, (Reason.DEVICE_STAMPS,))


def answers(numbers, *, of=EVERY):
    """Return the answers on frames that are LIVE alone, 100 ms apart, with these counts."""
    door = AttackDoor(plain_bundle())
    found = []
    for at, number in enumerate(numbers):
        stamps = {m: DeviceStamp(100 + at) for m in EVERY}
        stamps |= {m: DeviceStamp(number) for m in of}
        if number is None:
            stamps = {m: stamp for m, stamp in stamps.items() if m not in of}
        answer = door.see(9.0, stamps=stamps)
        found.append((answer.verdict, answer.codes))
    return found


def test_a_count_that_goes_on_is_live():
    assert answers([100, 101, 104])[-1] == (Verdict.LIVE, ())


@pytest.mark.parametrize("of", [*((m,) for m in EVERY), EVERY])
@pytest.mark.parametrize(
    "strange",
    [
        pytest.param(3, id="begins anew"),
        pytest.param(100, id="steps back"),
        pytest.param(101, id="repeats"),
        pytest.param(5_000_000, id="jumps ahead"),
        pytest.param(None, id="is no longer there"),
    ],
)
def test_a_count_that_no_sensor_gives_ends_the_attempt(of, strange):
    found = answers([100, 101, strange, 103], of=of)
    assert found[2] == STRANGE
    assert found[3] == (Verdict.RETRY, (Reason.WAIT,))


def test_a_count_that_stands_still_is_refused_each_time():
    found = answers([100] * 4)
    assert found[1] == STRANGE
    assert not any(verdict is Verdict.LIVE for verdict, _ in found)


def test_frames_of_a_device_that_counts_none_are_taken():
    door = AttackDoor(plain_bundle())
    assert [door.see(9.0).verdict for _ in range(3)][-1] is Verdict.LIVE

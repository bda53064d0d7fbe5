"""What captures of a recording waited for: made-up recordings, and waits planted in real runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from fasdk.batching import BatchingPolicy
from fasdk.telemetry import SessionRecording, Stage, StageClock, SwapSpan
from fasdk_tools.profiling.recording import Collection, Recording
from fasdk_tools.profiling.waits import DURING_SWAP, Wait, Waits

from support import profile_waits

# Half of what is planted, but for a collection, whose length is the machine's.
LEAST_MS = defaultdict(lambda: 500 * profile_waits.PLANTED_S, {Wait.COLLECTION.value: 2.0})


def clock(start, taken, done, end=None, *, gates=0, room=None, lane=0) -> StageClock:
    """Return the clock of a capture; times in milliseconds, all of the batch is its engine call."""
    found = StageClock()
    found.start_ns, found.end_ns, found.lane = ms(start), ms(done if end is None else end), lane
    found.room_ns = None if room is None else ms(room)
    found.add(Stage.GATES, ms(start), ms(start + gates))
    found.add(Stage.QUEUE, ms(start + gates), ms(taken))
    found.add(Stage.ENGINE, ms(taken), ms(done))
    return found


def ms(value) -> int:
    return round(1e6 * value)


def waits(*clocks, returns=(), lanes=1, max_wait_ms=0.0, swaps=(), due=(), **events) -> Waits:
    session = SessionRecording(
        list(clocks),
        [(lane, ms(at)) for lane, at in returns],
        [SwapSpan(ms(start), ms(end)) for start, end in swaps],
    )
    return Waits(
        Recording(
            session,
            BatchingPolicy(lanes=lanes, max_wait_ms=max_wait_ms),
            due_ns={number: ms(at) for number, at in due},
            **events,
        )
    )


def parts(found: Waits, number: int) -> list[tuple[str, float, float]]:
    return [(p.name, p.start_ns / 1e6, p.end_ns / 1e6) for p in found.parts(number)]


FIRST = clock(0, 0, 100)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            waits(FIRST, clock(10, 100, 120), returns=[(0, 100)]),
            [("busy lanes", 10, 100), ("engine", 100, 120)],
        ),
        (
            waits(FIRST, clock(10, 130, 140), returns=[(0, 130)]),
            [("busy lanes", 10, 100), ("callbacks of answers", 100, 130), ("engine", 130, 140)],
        ),
        (
            waits(FIRST, clock(10, 110, 120), returns=[(0, 100)]),
            [("busy lanes", 10, 100), ("wake-up of a lane", 100, 110), ("engine", 110, 120)],
        ),
        (
            waits(FIRST, clock(10, 100, 120, gates=5, room=60), returns=[(0, 100)]),
            [
                ("gates", 10, 15),
                ("room in the queue", 15, 60),
                ("busy lanes", 60, 100),
                ("engine", 100, 120),
            ],
        ),
        (
            waits(FIRST, clock(10, 40, 60), returns=[(0, 100)], lanes=2, max_wait_ms=20.0),
            [("others for the batch", 10, 30), ("wake-up of a lane", 30, 40), ("engine", 40, 60)],
        ),
        (
            waits(FIRST, clock(10, 12, 20, 101, lane=1), lanes=2),
            [
                ("wake-up of a lane", 10, 12),
                ("engine", 12, 20),
                ("order of answers", 20, 100),
                ("other", 100, 101),
            ],
        ),
        (
            waits(clock(0, 50, 60, gates=30, room=50), clock(50, 60, 70), due=[(1, 20)]),
            [
                ("gates", 20, 30),
                ("room in the queue", 30, 50),
                ("busy lanes", 50, 60),
                ("engine", 60, 70),
            ],
        ),
        (
            waits(FIRST, clock(50, 100, 120), due=[(1, 30)], returns=[(0, 100)]),
            [("submission", 30, 50), ("busy lanes", 50, 100), ("engine", 100, 120)],
        ),
        (
            waits(
                FIRST,
                clock(10, 100, 120),
                returns=[(0, 100)],
                collections=[Collection(2, ms(90), ms(105))],
                stalls=[(ms(20), ms(40)), (ms(95), ms(115))],
            ),
            [
                ("busy lanes", 10, 20),
                ("stall of the process", 20, 40),
                ("busy lanes", 40, 90),
                ("garbage collection", 90, 95),
                ("garbage collection", 95, 100),
                ("garbage collection", 100, 105),
                ("stall of the process", 105, 115),
                ("engine", 115, 120),
            ],
        ),
    ],
)
def test_the_parts_of_a_capture_name_what_it_waited_for(found, expected):
    assert parts(found, 1) == expected


def test_two_lanes_are_busy_only_where_both_are():
    found = waits(
        clock(0, 0, 40),
        clock(0, 0, 60, lane=1),
        clock(10, 40, 50),
        returns=[(0, 40), (1, 60)],
        lanes=2,
    )
    assert parts(found, 2) == [("busy lanes", 10, 40), ("engine", 40, 50)]


def on_time(count):
    return [clock(1000 * n, 1000 * n + 1, 1000 * n + 6) for n in range(count)]


def test_a_late_capture_is_named_by_what_it_waited_for_beyond_the_others():
    usual = on_time(10)
    # It waits for the lane for 8 ms; its call takes 9 ms, of which 5 are usual.
    before, late = clock(20_000, 20_001, 20_010), clock(20_002, 20_010, 20_019)
    returns = [(0, 1000 * n + 6) for n in range(10)] + [(0, 20_010)]
    told = waits(*usual, before, late, returns=returns).late()
    (found,) = [one for one in told if one.number == 11]
    assert found.waited_for == Wait.LANES
    assert found.beyond_ms == pytest.approx(8.0)
    assert (found.start_ns, found.end_ns) == (ms(20_002), ms(20_019))


def test_a_wait_within_a_swap_says_so():
    slow = clock(20_000, 20_001, 20_040)
    (during,) = waits(*on_time(10), slow, swaps=[(20_010, 20_100)]).late()
    assert during.waited_for == f"{Stage.ENGINE.value}{DURING_SWAP}"
    (before,) = waits(*on_time(10), slow, swaps=[(20_035, 20_100)]).late()
    assert before.waited_for == Stage.ENGINE


def test_no_capture_is_late_where_all_are_alike_or_there_is_none():
    assert waits(*on_time(10)).late() == []
    assert waits().late() == []


def most_ms(recording: Recording, name: str) -> float:
    """Return the longest that one capture waited for something, in milliseconds."""
    found = Waits(recording)
    spent: Counter[int] = Counter()
    for number in range(len(recording.clocks)):
        for part in found.parts(number):
            if part.name == name:
                spent[number] += part.end_ns - part.start_ns
    return max(spent.values(), default=0) / 1e6


@pytest.mark.slow
@pytest.mark.parametrize("planted", profile_waits.PLANTED)
def test_what_was_planted_in_a_run_is_what_a_capture_waited_for(planted, tmp_path):
    """A capture on a busy machine waits for other things too, so that no share is asked for."""
    name = planted.removesuffix(DURING_SWAP)
    told = []
    for _ in range(3):
        recording = profile_waits.record(profile_waits.PLANTED[planted], tmp_path)
        late = [each.waited_for for each in Waits(recording).late()]
        if name != Wait.STALL:  # those of a busy machine hide what was planted
            recording = replace(recording, stalls=[])
        told.append(most_ms(recording, name))
        in_swap = any(each.endswith(DURING_SWAP) for each in late)
        if told[-1] >= LEAST_MS[name] and in_swap == (planted != name):
            return
    pytest.fail(f"no capture waited long for {planted}: {told} ms; late ones for {late}")

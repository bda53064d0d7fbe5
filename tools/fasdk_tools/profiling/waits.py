"""What the captures of a recorded run waited for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import TYPE_CHECKING, Final

from fasdk.telemetry import Stage, StageSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fasdk.telemetry import StageClock
    from fasdk_tools.profiling.recording import Recording

LATE: Final = 2.0
"""A capture is late where it takes this many times the median of all."""

Interval = tuple[int, int]
"""Begin and end in nanoseconds of `time.perf_counter_ns`."""


class Wait(str, Enum):
    """What a capture can wait for besides the stages of its own batch.

    SUBMISSION is the thread of its camera, which had not come to it when it was due. ROOM is room
    in a full queue. LANES are lanes that work for other captures, CALLBACKS those that run
    callbacks of earlier answers. BATCH is a lane that waits for more captures, by `max_wait_ms`.
    WAKE_UP is a lane without work that has not taken it yet. ORDER is an earlier answer to its
    caller. COLLECTION is a garbage collection. STALL is a time in which other threads did not come
    to run Python: the process got no processor, or one thread held the interpreter.
    """

    SUBMISSION = "submission"
    ROOM = "room in the queue"
    LANES = "busy lanes"
    CALLBACKS = "callbacks of answers"
    BATCH = "others for the batch"
    WAKE_UP = "wake-up of a lane"
    ORDER = "order of answers"
    COLLECTION = "garbage collection"
    STALL = "stall of the process"


DURING_SWAP: Final = ", during a swap"
"""Ends the name of a wait most of which fell into a swap of the bundle."""


@dataclass(frozen=True)
class Part:
    """Part of a capture's time.

    Attributes:
        name: What it waited for: a `Wait`, or the `Stage` of its own batch that was under way.
        start_ns: Begin, in nanoseconds of `time.perf_counter_ns`.
        end_ns: End, on the same clock.
    """

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class LateCapture:
    """A capture that took at least `LATE` times the median.

    Attributes:
        number: Its number in order of submission.
        start_ns: When it was due, else when it was submitted, in nanoseconds of
            `time.perf_counter_ns`.
        end_ns: When it was answered.
        waited_for: Name of what it waited for longer than others do, by most.
        beyond_ms: By how much, in milliseconds: what it waited for that beyond the median of the
            captures that were not late.
    """

    number: int
    start_ns: int
    end_ns: int
    waited_for: str
    beyond_ms: float


class Waits:
    """What each capture of a recording waited for.

    Args:
        recording: A finished recording.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        clocks = recording.clocks
        self._finished = [n for n, clock in enumerate(clocks) if clock.end_ns is not None]
        busy, answering = _lane_intervals(recording)
        self._all_busy = _at_least(busy, recording.batching.lanes)
        self._answering = _united(answering)
        self._gating = _united(_gates_of(clock) for clock in clocks)
        self._no_room = _united(
            (_gates_of(clock)[1], clock.room_ns) for clock in clocks if clock.room_ns is not None
        )
        self._collecting = _united((c.start_ns, c.end_ns) for c in recording.collections)
        self._stalled = _united(recording.stalls)
        last_ns = max((clocks[n].end_ns or 0 for n in self._finished), default=0)
        self._swapping = _united(
            (swap.start_ns, swap.end_ns or max(swap.start_ns, last_ns))
            for swap in recording.session.swaps
        )
        self._latest_end_ns = _running_most(clocks)

    def start_ns(self, number: int) -> int:
        """Return when a capture was due, or else submitted."""
        submitted_ns = self._recording.clocks[number].start_ns
        return min(submitted_ns, self._recording.due_ns.get(number, submitted_ns))

    def parts(self, number: int) -> list[Part]:
        """Return the time of a finished capture in parts, which fill it without a gap."""
        clock = self._recording.clocks[number]
        found = [
            *self._before_submission(number),
            *(part for piece in _stages_of(clock) for part in self._within(number, clock, piece)),
        ]
        for interrupted, name in (
            (self._stalled, Wait.STALL.value),
            (self._collecting, Wait.COLLECTION.value),
        ):
            found = [part for each in found for part in _split(each, interrupted, name)]
        return [part for part in found if part.end_ns > part.start_ns]

    def late(self) -> list[LateCapture]:
        """Return the captures that are late, in order of submission, with what they waited for."""
        lengths = {n: self._end_ns(n) - self.start_ns(n) for n in self._finished}
        if not lengths:
            return []
        limit_ns = LATE * median(lengths.values())
        spent = {n: _by_name(self.parts(n)) for n in self._finished}
        others = [each for n, each in spent.items() if lengths[n] < limit_ns]
        names = {name for each in spent.values() for name in each}
        usual = {name: median(each[name] for each in others) if others else 0 for name in names}
        found = []
        for number, each in spent.items():
            if lengths[number] >= limit_ns:
                beyond = {name: ns - usual[name] for name, ns in each.items()}
                name = max(beyond, key=beyond.__getitem__)
                found.append(
                    LateCapture(
                        number,
                        self.start_ns(number),
                        self._end_ns(number),
                        name + (DURING_SWAP if self._is_in_swap(number, name) else ""),
                        beyond[name] / 1e6,
                    )
                )
        return found

    def _end_ns(self, number: int) -> int:
        end_ns = self._recording.clocks[number].end_ns
        assert end_ns is not None  # noqa: S101 - of a finished one
        return end_ns

    def _is_in_swap(self, number: int, name: str) -> bool:
        parts = [part for part in self.parts(number) if part.name == name]
        inside = [p for part in parts for p in _split(part, self._swapping, DURING_SWAP)]
        swapped_ns = sum(p.end_ns - p.start_ns for p in inside if p.name == DURING_SWAP)
        return 2 * swapped_ns > sum(part.end_ns - part.start_ns for part in parts)

    def _before_submission(self, number: int) -> list[Part]:
        """Return what held up the thread that was to submit a capture, from its due time on."""
        submitted_ns = self._recording.clocks[number].start_ns
        found = [Part(Wait.SUBMISSION.value, self.start_ns(number), submitted_ns)]
        for others, name in (
            (self._gating, Stage.GATES.value),
            (self._no_room, Wait.ROOM.value),
        ):
            found = [part for each in found for part in _split(each, others, name)]
        return found

    def _within(self, number: int, clock: StageClock, piece: Part) -> Iterator[Part]:
        """Yield what a capture waited for within one stage."""
        if piece.name == Stage.QUEUE.value:
            yield from self._in_queue(clock, piece)
        elif piece.name == Stage.OTHER.value and piece.end_ns == clock.end_ns:
            earlier_ns = self._latest_end_ns[number]
            turn_ns = min(max(earlier_ns, piece.start_ns), piece.end_ns)
            yield Part(Wait.ORDER.value, piece.start_ns, turn_ns)
            yield Part(Stage.OTHER.value, turn_ns, piece.end_ns)
        else:
            yield piece

    def _in_queue(self, clock: StageClock, piece: Part) -> Iterator[Part]:
        room_ns = piece.start_ns if clock.room_ns is None else clock.room_ns
        room_ns = min(max(room_ns, piece.start_ns), piece.end_ns)
        yield Part(Wait.ROOM.value, piece.start_ns, room_ns)
        batch_ns = round(1e6 * self._recording.batching.max_wait_ms)
        waits_for_batch = [(piece.start_ns, piece.start_ns + batch_ns)] if batch_ns else []
        for idle in _split(Part(Wait.WAKE_UP.value, room_ns, piece.end_ns), self._all_busy, ""):
            if idle.name:
                yield from _split(idle, waits_for_batch, Wait.BATCH.value)
            else:
                busy = Part(Wait.LANES.value, idle.start_ns, idle.end_ns)
                yield from _split(busy, self._answering, Wait.CALLBACKS.value)


def _stages_of(clock: StageClock) -> Iterator[Part]:
    """Yield the stages of a finished capture, `other` for what lies between two of them."""
    end_ns = clock.end_ns or clock.start_ns
    last_ns = clock.start_ns
    for span in (*clock.spans(), StageSpan(Stage.OTHER, end_ns, end_ns)):
        yield Part(Stage.OTHER.value, last_ns, span.start_ns)
        yield Part(span.stage.value, span.start_ns, span.end_ns)
        last_ns = span.end_ns


def _gates_of(clock: StageClock) -> Interval:
    ends = [span.end_ns for span in clock.spans() if span.stage is Stage.GATES]
    return clock.start_ns, max(ends, default=clock.start_ns)


def _running_most(clocks: Sequence[StageClock]) -> list[int]:
    """Return, for each capture, when the last of the earlier ones was answered; 0 for none."""
    found, last_ns = [], 0
    for clock in clocks:
        found.append(last_ns)
        last_ns = max(last_ns, clock.end_ns or 0)
    return found


def _lane_intervals(recording: Recording) -> tuple[list[Interval], list[Interval]]:
    """Return when lanes had to do with a batch, and when they were answering the last of it."""
    returns: dict[int, list[int]] = {}
    for lane, returned_ns in recording.session.lane_returns:
        returns.setdefault(lane, []).append(returned_ns)
    taken: dict[int, dict[int, int]] = {}  # last end of a stage by when the batch was taken
    for clock in recording.clocks:
        spans = clock.spans()
        ends = [span.end_ns for span in spans if span.stage is Stage.QUEUE]
        if clock.lane is not None and ends:
            batches = taken.setdefault(clock.lane, {})
            batches[ends[0]] = max(batches.get(ends[0], 0), spans[-1].end_ns)
    busy, answering = [], []
    for lane, batches in taken.items():
        own = returns.get(lane, [])
        for taken_ns, done_ns in batches.items():
            place = bisect_left(own, done_ns)
            returned_ns = own[place] if place < len(own) else done_ns
            busy.append((taken_ns, returned_ns))
            answering.append((done_ns, returned_ns))
    return busy, answering


def _at_least(intervals: Iterable[Interval], number: int) -> list[Interval]:
    """Return the times at which at least so many intervals overlap, in order."""
    changes = sorted(
        change for start, end in intervals if end > start for change in ((start, 1), (end, -1))
    )
    found: list[Interval] = []
    depth, since = 0, 0
    for at, change in changes:
        before, depth = depth, depth + change
        if before < number <= depth:
            since = at
        elif depth < number <= before:
            if found and found[-1][1] == since:
                found[-1] = (found[-1][0], at)
            elif at > since:
                found.append((since, at))
    return found


def _united(intervals: Iterable[Interval]) -> list[Interval]:
    return _at_least(intervals, 1)


def _split(part: Part, intervals: Sequence[Interval], name: str) -> list[Part]:
    """Return a part cut where disjoint intervals begin and end; inside them it has another name."""
    found = []
    at = part.start_ns
    place = max(0, bisect_right(intervals, (at, at)) - 1)
    while place < len(intervals) and intervals[place][0] < part.end_ns:
        start, end = max(intervals[place][0], at), min(intervals[place][1], part.end_ns)
        if end > start:
            found += [Part(part.name, at, start), Part(name, start, end)]
            at = end
        place += 1
    found.append(Part(part.name, at, part.end_ns))
    return [each for each in found if each.end_ns > each.start_ns]


def _by_name(parts: Iterable[Part]) -> Counter[str]:
    """Return the nanoseconds of each name."""
    found: Counter[str] = Counter()
    for part in parts:
        found[part.name] += part.end_ns - part.start_ns
    return found

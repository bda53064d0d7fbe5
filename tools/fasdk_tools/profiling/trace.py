"""Perfetto traces of a run: lanes, queue and captures as tracks, one slice a stage.

Open a trace at https://ui.perfetto.dev, which keeps it in the browser.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from fasdk.atomic import atomic_write
from fasdk.errors import UsageError
from fasdk.extras import how_to_install
from fasdk.telemetry import Stage, StageSpan
from fasdk_tools.profiling.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fasdk.telemetry import StageClock
    from fasdk_tools.profiling.recording import Recording

_SEQUENCE = 1  # all packets are of one writer
_ON_A_LANE = (Stage.PREPROCESS, Stage.UPLOAD, Stage.ENGINE, Stage.DOWNLOAD, Stage.DECISION)
ANSWERS = "answers"


@dataclass(frozen=True)
class _Slice:
    """One slice of a track.

    Attributes:
        name: What it shows.
        start_ns: Its begin, in nanoseconds of `time.perf_counter_ns`.
        end_ns: Its end, on the same clock.
        captures: Numbers of the captures it concerns, from 0 in order of submission.
    """

    name: str
    start_ns: int
    end_ns: int
    captures: tuple[int, ...] = ()


def require_trace_library() -> None:
    """Check that traces can be written here.

    Raises:
        UsageError: The package perfetto is not installed.
    """
    try:
        import_module("perfetto.trace_builder.proto_builder")
    except ImportError as error:
        raise UsageError(
            f"a trace needs the package perfetto ({error}): {how_to_install('build')}"
        ) from error


def write_trace(path: Path, recording: Recording) -> None:
    """Write the trace of a run.

    Tracks: "queue", where each capture waits, and "queue length"; "lane N", with one slice a stage
    of each batch and "answers" for the callbacks after it; "captures", with one slice a capture
    from when it was due, which holds one slice a stage, "other" for the time between two stages
    included, and in those what it waited for; "late captures", with one slice for each that took
    twice the median, named by what it waited for beyond others; "garbage collection", "stalls of
    the process" and "swaps". Slices name their captures in the argument `capture` and those of one
    capture are joined by a flow.

    Args:
        path: File to write, by custom named `.perfetto-trace`.
        recording: Stages of the run's captures; captures without an answer are left out.

    Raises:
        UsageError: The package perfetto is not installed.
        FasdkError: The file cannot be written.
    """
    require_trace_library()
    finished = [
        (number, clock) for number, clock in enumerate(recording.clocks) if clock.end_ns is not None
    ]
    trace = _Trace()
    waits = [
        _Slice(Stage.QUEUE.value, span.start_ns, span.end_ns, (number,))
        for number, clock in finished
        for span in clock.spans()
        if span.stage is Stage.QUEUE
    ]
    trace.overlapping("queue", [[wait] for wait in waits])
    trace.counter("queue length", _lengths(waits))
    for lane, slices in sorted(_by_lane(finished).items()):
        trace.track(f"lane {lane}", _with_answers(slices, _returns_of(lane, recording)))
    found = Waits(recording)
    trace.overlapping("captures", [_whole(number, clock, found) for number, clock in finished])
    late = [_Slice(one.waited_for, one.start_ns, one.end_ns, (one.number,)) for one in found.late()]
    trace.overlapping("late captures", [[one] for one in late])
    for name, interruptions in _interruptions(recording, finished).items():
        if interruptions:
            trace.track(name, interruptions)
    with atomic_write(path) as file:
        file.write(trace.serialized())


def _by_lane(finished: Iterable[tuple[int, StageClock]]) -> dict[int, list[_Slice]]:
    """Return each lane's slices in time; captures of one batch share those they waited for."""
    lanes: dict[int, dict[StageSpan, list[int]]] = {}
    for number, clock in finished:
        if clock.lane is None:
            continue
        for span in clock.spans():
            if span.stage in _ON_A_LANE:
                lanes.setdefault(clock.lane, {}).setdefault(span, []).append(number)
    return {
        lane: [
            _Slice(span.stage.value, span.start_ns, span.end_ns, tuple(numbers))
            for span, numbers in sorted(spans.items(), key=lambda item: item[0].start_ns)
        ]
        for lane, spans in lanes.items()
    }


def _returns_of(lane: int, recording: Recording) -> list[int]:
    return [at_ns for number, at_ns in recording.session.lane_returns if number == lane]


def _with_answers(slices: Sequence[_Slice], returns_ns: Sequence[int]) -> list[_Slice]:
    """Return a lane's slices with what it did after each decision until the next slice or batch."""
    found = []
    for one, after in zip_longest(slices, slices[1:]):
        found.append(one)
        place = bisect_left(returns_ns, one.end_ns)
        until_ns = returns_ns[place] if place < len(returns_ns) else one.end_ns
        if after is not None:
            until_ns = min(until_ns, after.start_ns)
        if one.name == Stage.DECISION.value and until_ns > one.end_ns:
            found.append(_Slice(ANSWERS, one.end_ns, until_ns, one.captures))
    return found


def _interruptions(
    recording: Recording, finished: Sequence[tuple[int, StageClock]]
) -> dict[str, list[_Slice]]:
    """Return what concerns no capture alone, by the name of its track."""
    last_ns = max((clock.end_ns or 0 for _, clock in finished), default=0)
    return {
        "garbage collection": [
            _Slice(f"generation {one.generation}", one.start_ns, one.end_ns)
            for one in recording.collections
        ],
        "stalls of the process": [
            _Slice("stall", start_ns, end_ns) for start_ns, end_ns in recording.stalls
        ],
        "swaps": [
            _Slice("swap", one.start_ns, one.end_ns or max(one.start_ns, last_ns))
            for one in recording.session.swaps
        ],
    }


def _whole(number: int, clock: StageClock, waits: Waits) -> list[_Slice]:
    """Return a capture's slice, followed by those of its stages, which fill it without a gap.

    Each stage is followed by what the capture waited for in it, where that is something else.
    """
    start_ns, end_ns = waits.start_ns(number), clock.end_ns or clock.start_ns
    stages = []
    last_ns = start_ns
    for span in (*clock.spans(), StageSpan(Stage.OTHER, end_ns, end_ns)):
        stages.append(_Slice(Stage.OTHER.value, last_ns, span.start_ns, (number,)))
        stages.append(_Slice(span.stage.value, span.start_ns, span.end_ns, (number,)))
        last_ns = span.end_ns
    parts = waits.parts(number)
    slices = [_Slice(f"capture {number}", start_ns, end_ns, (number,))]
    for stage in stages:
        if stage.end_ns > stage.start_ns:
            slices.append(stage)
            slices += [
                _Slice(part.name, part.start_ns, part.end_ns, (number,))
                for part in parts
                if stage.start_ns <= part.start_ns < stage.end_ns and part.name != stage.name
            ]
    return slices


def _lengths(waits: Sequence[_Slice]) -> list[tuple[int, int]]:
    """Return the queue's length after each change, with its time."""
    changes = sorted([(w.start_ns, 1) for w in waits] + [(w.end_ns, -1) for w in waits])
    lengths: dict[int, int] = {}
    length = 0
    for time_ns, change in changes:
        length += change
        lengths[time_ns] = length
    return list(lengths.items())


class _Trace:
    """Trace under construction, by the protobuf classes of Perfetto's own package."""

    def __init__(self) -> None:
        builder = import_module("perfetto.trace_builder.proto_builder")
        protos = import_module("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
        self._builder: Any = builder.TraceProtoBuilder()
        self._events: Any = protos.TrackEvent
        self._tracks = 0

    def serialized(self) -> bytes:
        """Return the trace as Perfetto reads it."""
        data: bytes = self._builder.serialize()
        return data

    def track(self, name: str, slices: Iterable[_Slice], parent: int | None = None) -> None:
        """Add a track of slices that nest or follow one another, outer ones first."""
        track = self._describe(name, parent)
        open_slices: list[_Slice] = []
        for one in slices:
            while open_slices and open_slices[-1].end_ns <= one.start_ns:
                self._end(track, open_slices.pop())
            self._begin(track, one)
            open_slices.append(one)
        while open_slices:
            self._end(track, open_slices.pop())

    def overlapping(self, name: str, groups: Iterable[Sequence[_Slice]]) -> None:
        """Add a track of groups of slices that may overlap, on as few rows as that takes.

        Args:
            name: Name of the track and of each of its rows.
            groups: Groups in order of their begin, whose first slice spans the others.
        """
        rows: list[list[_Slice]] = []
        ends_ns: list[int] = []
        for group in sorted(groups, key=lambda group: group[0].start_ns):
            start_ns, end_ns = group[0].start_ns, group[0].end_ns
            row = next((i for i, end in enumerate(ends_ns) if end <= start_ns), len(rows))
            if row == len(rows):
                rows.append([])
                ends_ns.append(end_ns)
            rows[row] += group
            ends_ns[row] = end_ns
        parent = self._describe(name, None)
        for row_slices in rows:
            self.track(name, row_slices, parent)

    def counter(self, name: str, values: Iterable[tuple[int, int]]) -> None:
        """Add a track of a number over time, in nanoseconds of `time.perf_counter_ns`."""
        packet = self._packet()
        descriptor = packet.track_descriptor
        descriptor.uuid, descriptor.name = self._next(), name
        descriptor.counter.SetInParent()
        for time_ns, value in values:
            event = self._event(descriptor.uuid, time_ns, self._events.TYPE_COUNTER)
            event.counter_value = value

    def _describe(self, name: str, parent: int | None) -> int:
        descriptor = self._packet().track_descriptor
        descriptor.uuid, descriptor.name = self._next(), name
        if parent is not None:
            descriptor.parent_uuid = parent
        return int(descriptor.uuid)

    def _begin(self, track: int, one: _Slice) -> None:
        event = self._event(track, one.start_ns, self._events.TYPE_SLICE_BEGIN)
        event.name = one.name
        for number in one.captures:
            event.flow_ids.append(number + 1)  # 0 is no flow
            annotation = event.debug_annotations.add()
            annotation.name, annotation.int_value = "capture", number

    def _end(self, track: int, one: _Slice) -> None:
        self._event(track, one.end_ns, self._events.TYPE_SLICE_END)

    def _event(self, track: int, time_ns: int, kind: int) -> Any:
        packet = self._packet()
        packet.timestamp = time_ns
        packet.track_event.track_uuid, packet.track_event.type = track, kind
        return packet.track_event

    def _packet(self) -> Any:
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def _next(self) -> int:
        self._tracks += 1
        return self._tracks

"""Slices and counters of a Perfetto trace, by the protobuf classes of Perfetto's own package."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple


class TraceSlice(NamedTuple):
    """One slice: its track, name, begin and end in nanoseconds, captures and depth from 0 on."""

    track: str
    name: str
    start_ns: int
    end_ns: int
    captures: tuple[int, ...]
    depth: int


def slices_of(trace: Path) -> tuple[list[TraceSlice], list[int]]:
    """Return every slice of a trace, in order of their ends, and the values of its counters."""
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

    packets = protos.Trace.FromString(trace.read_bytes()).packet
    names = {p.track_descriptor.uuid: p.track_descriptor.name for p in packets}
    under_way = defaultdict(list)
    found, counted = [], []
    for packet in packets:
        event = packet.track_event
        if not packet.HasField("track_event"):
            continue
        stack = under_way[event.track_uuid]
        if event.type == event.TYPE_SLICE_BEGIN:
            captures = tuple(a.int_value for a in event.debug_annotations if a.name == "capture")
            assert list(event.flow_ids) == [number + 1 for number in captures]
            stack.append((event.name, packet.timestamp, captures))
        elif event.type == event.TYPE_SLICE_END:
            name, start, captures = stack.pop()
            track = names[event.track_uuid]
            found.append(TraceSlice(track, name, start, packet.timestamp, captures, len(stack)))
        else:
            counted.append(event.counter_value)
    assert not any(under_way.values()), "a slice has no end"
    return found, counted

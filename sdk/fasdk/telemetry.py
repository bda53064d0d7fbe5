"""Stage timings of one check."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Stage(str, Enum):
    """Stages of a check, in order; `OTHER` is the rest of the end-to-end time.

    GATES can refuse a capture before an engine sees it. QUEUE runs from there until a lane takes
    the capture, waiting for room in the queue included. PREPROCESS and ENGINE are the time of the
    whole batch, because every capture in it waits for that long. UPLOAD and DOWNLOAD are copies to
    and from a GPU, where the engine times them on the device; elsewhere they are 0, and ENGINE is
    the whole call. Where they are timed, ENGINE is the execution on the device, and what starting
    the call and waking up after it take is part of OTHER. Where the device preprocesses too and is
    timed, PREPROCESS is its kernels alone, and packing the frames is part of OTHER.
    """

    GATES = "gates"
    QUEUE = "queue"
    PREPROCESS = "preprocess"
    UPLOAD = "upload"
    ENGINE = "engine"
    DOWNLOAD = "download"
    DECISION = "decision"
    OTHER = "other"

    __hash__ = str.__hash__  # Enum's own runs in Python, and every capture needs many


@dataclass(frozen=True)
class DeviceTimes:
    """Times of one engine call on the device, in milliseconds.

    Attributes:
        upload_ms: Copies to the device.
        engine_ms: Execution of the graph.
        download_ms: Copies to the host.
        preprocess_ms: Kernels that make the tensors; 0 where the host makes them.
    """

    upload_ms: float
    engine_ms: float
    download_ms: float
    preprocess_ms: float = 0.0


@dataclass(frozen=True)
class StageSpan:
    """One stage of one check in time.

    Attributes:
        stage: Stage that was under way.
        start_ns: Its begin, in nanoseconds of `time.perf_counter_ns`.
        end_ns: Its end, on the same clock.
    """

    stage: Stage
    start_ns: int
    end_ns: int


class StageClock:
    """Clock of the stages of one check; it starts when it is made.

    Attributes:
        start_ns: When it was made, in nanoseconds of `time.perf_counter_ns`.
        end_ns: When it was finished, on the same clock; None before.
        lane: Number of the lane that took the capture, from 0; None where none did.
        room_ns: When it got room in the queue, on the same clock; None where it waited for none.
    """

    __slots__ = ("_spans", "end_ns", "lane", "room_ns", "start_ns")

    def __init__(self) -> None:
        self.start_ns = time.perf_counter_ns()
        self.end_ns: int | None = None
        self.lane: int | None = None
        self.room_ns: int | None = None
        self._spans: list[tuple[Stage, int, int]] = []

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Count the time inside the block towards `stage`, also when it raises."""
        start_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(stage, start_ns, time.perf_counter_ns())

    def add(self, stage: Stage, start_ns: int, end_ns: int) -> None:
        """Count a span of `time.perf_counter_ns` towards `stage`; spans must not overlap."""
        self._spans.append((stage, start_ns, end_ns))

    def add_all(self, spans: Sequence[tuple[Stage, int, int]]) -> None:
        """Count spans as `add` does, such as those of `split_call`."""
        self._spans += spans

    def finish(self) -> dict[str, float]:
        """Return milliseconds by stage name, and their sum as `end_to_end`."""
        self.end_ns = end_ns = time.perf_counter_ns()
        total_ns = other_ns = end_ns - self.start_ns
        timings = dict(_NOTHING_SPENT)
        for stage, began_ns, ended_ns in self._spans:
            timings[_NAMES[stage]] += (ended_ns - began_ns) / 1e6
            other_ns -= ended_ns - began_ns
        timings[_NAMES[Stage.OTHER]] = other_ns / 1e6
        timings["end_to_end"] = total_ns / 1e6
        return timings

    def spans(self) -> tuple[StageSpan, ...]:
        """Return the stages of a finished check in time, without OTHER, which has no one place."""
        last_ns = self.end_ns
        return tuple(
            StageSpan(*span) for span in self._spans if last_ns is not None and span[2] <= last_ns
        )


@dataclass
class SwapSpan:
    """One swap of the bundle in time, golden captures that prove it included.

    Attributes:
        start_ns: Its begin, in nanoseconds of `time.perf_counter_ns`.
        end_ns: Its end, on the same clock; None while it is under way.
    """

    start_ns: int
    end_ns: int | None = None


@dataclass(frozen=True)
class SessionRecording:
    """What a session did while it was recorded; filled as it happens.

    Attributes:
        clocks: Clock of every capture, in order of submission; unfinished while it has no answer.
        lane_returns: Number of a lane and when it came back for its next batch, in nanoseconds of
            `time.perf_counter_ns`; until then it had to do with the last one, callbacks included.
        swaps: Swaps of the bundle, in order.
    """

    clocks: list[StageClock] = field(default_factory=list)
    lane_returns: list[tuple[int, int]] = field(default_factory=list)
    swaps: list[SwapSpan] = field(default_factory=list)


def split_call(
    started_ns: int, ended_ns: int, device: DeviceTimes | None
) -> tuple[tuple[Stage, int, int], ...]:
    """Return the spans of one engine call.

    The device's clock is another than the host's: UPLOAD, PREPROCESS (where the device does it),
    ENGINE and DOWNLOAD are laid end to end from the begin of the call, and shortened together where
    rounding makes them longer than it.

    Args:
        started_ns: Begin of the call, in nanoseconds of `time.perf_counter_ns`.
        ended_ns: End of the call, on the same clock.
        device: Times on the device, or None where the engine has none.
    """
    if device is None:
        return ((Stage.ENGINE, started_ns, ended_ns),)
    spent_ms = {Stage.UPLOAD: device.upload_ms}
    if device.preprocess_ms > 0.0:
        spent_ms[Stage.PREPROCESS] = device.preprocess_ms
    spent_ms |= {Stage.ENGINE: device.engine_ms, Stage.DOWNLOAD: device.download_ms}
    call_ns, device_ns = ended_ns - started_ns, sum(spent_ms.values()) * 1e6
    scale = 1e6 if device_ns <= call_ns else 1e6 * call_ns / device_ns
    spans, start_ns = [], started_ns
    for stage, ms in spent_ms.items():
        end_ns = min(start_ns + round(ms * scale), ended_ns)
        spans.append((stage, start_ns, end_ns))
        start_ns = end_ns
    return tuple(spans)


_NAMES = {stage: stage.value for stage in Stage}
_NOTHING_SPENT = dict.fromkeys(_NAMES.values(), 0.0)

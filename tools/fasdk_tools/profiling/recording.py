"""Recording of a run: stages of every capture, lanes, swaps, garbage collections and stalls."""

from __future__ import annotations

import gc
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fasdk.telemetry import SessionRecording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fasdk.batching import BatchingPolicy
    from fasdk.session.session import Liveness
    from fasdk.telemetry import StageClock

_BEAT_NS: Final = 1_000_000


@dataclass(frozen=True)
class Collection:
    """One garbage collection, during which no thread of Python's runs.

    Attributes:
        generation: Oldest generation that was collected, 0 to 2.
        start_ns: Its begin, in nanoseconds of `time.perf_counter_ns`.
        end_ns: Its end, on the same clock.
    """

    generation: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Recording:
    """What happened in one run; times are nanoseconds of `time.perf_counter_ns`.

    Attributes:
        session: What the session did.
        batching: Settings of the session.
        collections: Garbage collections, in order.
        stalls: Begin and end of each time in which a thread that was to run every millisecond did
            not, for twice the interval at which threads of Python take turns: the process got no
            processor, or one thread held the interpreter.
        due_ns: When captures of an open load were due, by their number in order of submission.
    """

    session: SessionRecording
    batching: BatchingPolicy
    collections: list[Collection] = field(default_factory=list)
    stalls: list[tuple[int, int]] = field(default_factory=list)
    due_ns: dict[int, int] = field(default_factory=dict)

    @property
    def clocks(self) -> list[StageClock]:
        """Clock of each capture, in order of submission; unfinished while it has no answer."""
        return self.session.clocks

    def note_due(self, first: int, due_ns: Sequence[int]) -> None:
        """Note when captures were due.

        Args:
            first: Number of captures before them.
            due_ns: When each of the following was due, in the order of their submission, in
                nanoseconds of `time.perf_counter_ns`.
        """
        order = sorted(range(first, len(self.clocks)), key=lambda n: self.clocks[n].start_ns)
        self.due_ns.update(zip(order, due_ns, strict=False))


@contextmanager
def recorded(liveness: Liveness) -> Iterator[Recording]:
    """Yield the recording of what a session does inside the block, filled as it happens.

    Raises:
        BackendError: A lane cannot be opened, or the session is closed.
    """
    started_ns = 0
    with liveness.recorded_stages() as session:
        recording = Recording(session, liveness.batching)

        def on_collection(phase: str, info: dict[str, int]) -> None:
            nonlocal started_ns
            if phase == "start":
                started_ns = time.perf_counter_ns()
            elif started_ns:
                ended_ns = time.perf_counter_ns()
                recording.collections.append(Collection(info["generation"], started_ns, ended_ns))

        gc.callbacks.append(on_collection)
        try:
            with _noting_stalls(recording.stalls):
                yield recording
        finally:
            gc.callbacks.remove(on_collection)


@contextmanager
def _noting_stalls(stalls: list[tuple[int, int]]) -> Iterator[None]:
    """Note the stalls of the process while the block runs, by a thread that sleeps and looks."""
    over = threading.Event()
    least_ns = int(2e9 * sys.getswitchinterval())

    def beat() -> None:
        while not over.is_set():
            due_ns = time.perf_counter_ns() + _BEAT_NS
            time.sleep(_BEAT_NS / 1e9)
            now_ns = time.perf_counter_ns()
            if now_ns - due_ns >= least_ns:
                stalls.append((due_ns, now_ns))

    thread = threading.Thread(target=beat, name="stalls", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

"""Recording of what a session did during a run: stages of every capture and garbage collections."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk.session.session import Liveness
    from fasdk.telemetry import StageClock


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
    """Stages and collections of one run.

    Attributes:
        clocks: Clock of each capture, in order of submission; unfinished while it has no answer.
        collections: Garbage collections, in order.
    """

    clocks: list[StageClock]
    collections: list[Collection] = field(default_factory=list)


@contextmanager
def recorded(liveness: Liveness) -> Iterator[Recording]:
    """Yield the recording of what a session does inside the block, filled as it happens.

    Raises:
        BackendError: A lane cannot be opened, or the session is closed.
    """
    started_ns = 0
    with liveness.recorded_stages() as clocks:
        recording = Recording(clocks)

        def on_collection(phase: str, info: dict[str, int]) -> None:
            nonlocal started_ns
            if phase == "start":
                started_ns = time.perf_counter_ns()
            elif started_ns:
                ended_ns = time.perf_counter_ns()
                recording.collections.append(Collection(info["generation"], started_ns, ended_ns))

        gc.callbacks.append(on_collection)
        try:
            yield recording
        finally:
            gc.callbacks.remove(on_collection)

"""Engine that waits a known time in each call, and stalls now and then if told to."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.trust import TrustPolicy
from fasdk.session.session import Liveness

from support import tiny_bundle
from support.scripted_engine import FakeEngine, live

QUEUE_LIMIT = 100_000  # no arrival is refused


@dataclass(frozen=True)
class Stall:
    """Interruptions of an engine.

    Attributes:
        every_ms: Time between the starts of two stalls, in milliseconds.
        length_ms: Length of each, in milliseconds; it comes before a call that is due then.
    """

    every_ms: float
    length_ms: float


class TimedEngine(FakeEngine):
    """An engine whose calls wait as long as a function says.

    Attributes:
        service_ms: Function that returns the next call's time, in milliseconds.
        asked_ms: Times that the function returned, in order of calls.
    """

    def __init__(self, service_ms: Callable[[], float], stall: Stall | None = None) -> None:
        super().__init__(live)
        self.service_ms = service_ms
        self.asked_ms: list[float] = []
        self._stall = stall
        self._start_ns = time.monotonic_ns()
        self._stalls = 0

    def run(self, inputs) -> EngineOutputs:
        begun_ns = time.monotonic_ns()
        asked_ms = self.service_ms()
        self.asked_ms.append(asked_ms)
        if self._stall is not None:
            passed = int((begun_ns - self._start_ns) / 1e6 / self._stall.every_ms)
            if passed > self._stalls:
                self._stalls = passed
                asked_ms += self._stall.length_ms
        outputs = live(len(inputs["rgb"]))
        left_s = asked_ms / 1e3 - (time.monotonic_ns() - begun_ns) / 1e9
        if left_s > 0:
            time.sleep(left_s)  # against the monotonic clock, and other threads run meanwhile
        return outputs


@contextmanager
def timed_session(engine: TimedEngine) -> Iterator[Liveness]:
    """Open a session of one lane and batch 1 on an engine that waits."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(tiny_bundle.write(Path(folder) / "tiny.fasb"), TrustPolicy.unsigned())
    batching = BatchingPolicy(lanes=1, max_batch=1, queue_limit=QUEUE_LIMIT, deadline_ms=600_000.0)
    with Liveness(bundle, engine, batching=batching) as session:
        yield session

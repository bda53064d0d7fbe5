"""Scripted engine: answers, raises, hangs or waits, as the test states."""

from __future__ import annotations

import threading
import time

import numpy as np

from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.backends.onnxruntime import OnnxRuntimeEngine

from support import tiny_bundle

SECONDS = 20.0  # what no wait comes near, unless something hangs
LIVE = np.float32([0, 9])


def live(size):
    """Return outputs that call every row live."""
    return EngineOutputs(np.tile(LIVE, (size, 1)), np.full((size, 3), 0.5, np.float32))


class FakeEngine:
    """An engine that answers what the test says, or raises it; its lanes do the same."""

    backend = Backend.ONNXRUNTIME
    version = "test"

    def __init__(self, answer, max_batch=None) -> None:
        self.answer = answer
        self.max_batch = max_batch
        self.batches: list[dict[str, np.ndarray]] = []
        self.lanes: list[FakeLane] = []
        self.closed = 0

    def run(self, inputs):
        self.batches.append({name: rows.copy() for name, rows in inputs.items()})
        answer = self.answer(len(inputs["rgb"])) if callable(self.answer) else self.answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def open_lane(self, max_batch):
        lane = FakeLane(self, max_batch)
        self.lanes.append(lane)
        return lane

    def close(self):
        assert all(lane.closed for lane in self.lanes), "an engine was closed under its lanes"
        self.closed += 1


class FakeLane:
    """One lane of a FakeEngine, for the tiny bundle's inputs."""

    def __init__(self, engine, max_batch) -> None:
        self.engine = engine
        self.max_batch = max_batch
        shape = (max_batch, 3, tiny_bundle.SIZE, tiny_bundle.SIZE)
        self.inputs = {m.value: np.full(shape, np.nan, np.float32) for m in tiny_bundle.ALL}
        self.closed = False
        self._turn = threading.Lock()

    def run(self, batch):
        assert not self.closed, "a closed lane was run"
        assert self._turn.acquire(blocking=False), "two calls of one lane overlap"
        try:
            return self.engine.run({name: rows[:batch] for name, rows in self.inputs.items()})
        finally:
            self._turn.release()

    def close(self):
        self.closed = True


class Proved(FakeEngine):
    """The tiny graph's own answers, so that golden captures agree."""

    def __init__(self, bundle, drift=0.0) -> None:
        super().__init__(live)
        self.real = OnnxRuntimeEngine(bundle.graph, threads=1)
        self.drift = np.float32([0, drift])

    def run(self, inputs):
        outputs = self.real.run(inputs)
        return EngineOutputs(outputs.logits + self.drift, outputs.reliability)


def until(holds):
    """Wait until something holds that another thread brings about."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.001)


class Gate:
    """An answer that waits in the engine until the test lets calls through."""

    def __init__(self, answer=live) -> None:
        self.answer = answer
        self.inside = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, size):
        with self._lock:
            self.inside += 1
        assert self._open.wait(SECONDS)
        return self.answer(size) if callable(self.answer) else self.answer

    def open(self):
        self._open.set()


class Script:
    """Does what stands in its list, call by call, then answers live."""

    def __init__(self, *steps) -> None:
        self.steps = list(steps)
        self.released = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, size):
        with self._lock:
            step = self.steps.pop(0) if self.steps else live
        if step == "hang":
            self.released.wait(SECONDS)
            return live(size)
        if isinstance(step, BaseException):
            raise step
        return step(size)

"""An engine that does what a test says: answer, raise, hang, or wait to be told."""

from __future__ import annotations

import threading

import numpy as np
import tiny_bundle

from fasdk.backends import Backend, EngineOutputs

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

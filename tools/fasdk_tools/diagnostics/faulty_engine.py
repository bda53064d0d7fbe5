"""Engine that fails on purpose, for endurance runs."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.engine import EngineOutputs
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.backends.engine import Engine, Lane


class EngineFault(str, Enum):
    """Way in which an engine call fails.

    - RAISE: It raises an error of fasdk's own.
    - UNEXPECTED: It raises an exception that no backend should.
    - NOT_FINITE: Its logits are NaN.
    - SHAPE: It answers for one capture more.
    - TYPE: Its logits are no array.
    - LATE: It returns after the deadline.
    """

    RAISE = "raise"
    UNEXPECTED = "unexpected"
    NOT_FINITE = "not-finite"
    SHAPE = "shape"
    TYPE = "type"
    LATE = "late"


class FaultPlan:
    """Faults of engine calls, drawn at random, and the inputs on which they fell; thread-safe.

    Attributes:
        injected: Number of faults so far.

    Args:
        share: Share of the engine calls that fail, in [0, 1].
        late_s: Seconds that a late call takes.
        seed: Seed of the draws.
    """

    def __init__(self, share: float, late_s: float, seed: int = 0) -> None:
        self._share = share
        self._late_s = late_s
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._lock = threading.Lock()
        self._hit: set[bytes] = set()
        self.injected = 0

    def draw(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineFault | None:
        """Return the fault of a call with these inputs, which are noted, or None."""
        with self._lock:
            if self._random.random() >= self._share:
                return None
            # A late call holds a lane up for seconds, so there are fewer of those.
            kinds = [
                kind for kind in EngineFault for _ in range(1 + (kind != EngineFault.LATE) * 9)
            ]
            fault = self._random.choice(kinds)
            self.injected += 1
        rows = len(next(iter(inputs.values())))
        hit = {
            digest_of({name: value[row] for name, value in inputs.items()}) for row in range(rows)
        }
        with self._lock:
            self._hit |= hit
        return fault

    def take(self, digest: bytes) -> bool:
        """Return whether a call with that input failed since the last call of this, and forget."""
        with self._lock:
            if digest not in self._hit:
                return False
            self._hit.discard(digest)
            return True

    def sleep_late(self) -> None:
        """Wait as long as a late call takes."""
        time.sleep(self._late_s)


def digest_of(row: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Return a digest of one capture's input rows, float32 [...] by input name."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(row):
        found.update(np.ascontiguousarray(row[name]).data)
    return found.digest()


class FaultyEngine:
    """An engine whose lanes fail as a plan says; `run`, which proves it, does not.

    Args:
        engine: Engine that answers.
        plan: Faults of its lanes' calls.
    """

    def __init__(self, engine: Engine, plan: FaultPlan) -> None:
        self._engine = engine
        self._plan = plan
        self.backend = engine.backend
        self.version = engine.version
        self.max_batch = engine.max_batch

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch, without a fault."""
        return self._engine.run(inputs)

    def open_lane(self, max_batch: int) -> Lane:
        """Return a lane that fails."""
        return _FaultyLane(self._engine.open_lane(max_batch), self._plan)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class LyingEngine(FaultyEngine):
    """An engine that cannot be proven: its outputs are none."""

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:  # noqa: ARG002
        """Raise what no engine should."""
        raise AttributeError("this engine was made to lie")


class _FaultyLane:
    def __init__(self, lane: Lane, plan: FaultPlan) -> None:
        self._lane = lane
        self._plan = plan
        self.max_batch = lane.max_batch
        self.inputs = lane.inputs

    def run(self, batch: int) -> EngineOutputs:
        fault = self._plan.draw({name: rows[:batch] for name, rows in self.inputs.items()})
        if fault is EngineFault.RAISE:
            raise BackendError("this call was made to fail")
        if fault is EngineFault.UNEXPECTED:
            raise ZeroDivisionError("this call was made to fail")
        outputs = self._lane.run(batch)
        if fault is EngineFault.NOT_FINITE:
            return replace(outputs, logits=np.full_like(outputs.logits, np.nan))
        if fault is EngineFault.SHAPE:
            return replace(outputs, logits=np.repeat(outputs.logits, batch + 1, axis=0))
        if fault is EngineFault.TYPE:
            return EngineOutputs("live")  # type: ignore[arg-type]
        if fault is EngineFault.LATE:
            self._plan.sleep_late()
        return outputs

    def close(self) -> None:
        self._lane.close()

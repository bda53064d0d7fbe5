"""Waits planted one kind at a time, and what the trace names for the captures that come late.

    PYTHONPATH=tests python -m support.profile_waits

prints one JSON document. A call takes 5 ms; what is planted takes eight times as long, in a few
captures of a run of some twenty.
"""

from __future__ import annotations

import ctypes
import gc
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.bundle.revisions import RevisionState
from fasdk.bundle.trust import TrustPolicy
from fasdk.session.session import Liveness
from fasdk.telemetry import Stage
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.open_loop import measure_open
from fasdk_tools.profiling.recording import Recording, recorded
from fasdk_tools.profiling.trace import write_trace
from fasdk_tools.profiling.waits import DURING_SWAP, Wait

from support import tiny_bundle
from support.scripted_engine import SECONDS, FakeEngine, Proved, live
from support.trace_slices import slices_of

SERVICE_S, PLANTED_S = 0.005, 0.04
APART_MS = 60.0  # more than what is planted takes, so that no other capture waits for it
SLOW = (6, 13)  # captures or calls with something planted
CAPTURES = 20
_TRIES = 3
_JUNK = 200_000  # lists that a garbage collection looks at


def nothing() -> None:
    """Plant nothing."""


def spaced(apart_ms: float = APART_MS) -> np.ndarray:
    """Return due times at even intervals."""
    return apart_ms * np.arange(CAPTURES)


def bursts(size: int, apart_ms: float = APART_MS) -> np.ndarray:
    """Return due times at even intervals, of which two are of several captures at once."""
    times = np.arange(8) * apart_ms * 2
    return np.sort(np.concatenate([times, np.repeat(times[[3, 6]] + apart_ms, size)]))


@dataclass
class Plant:
    """Something planted.

    Attributes:
        arrivals_ms: When captures are due.
        policy: Settings of the session, which has one lane and batches of one without.
        slow_s: Function that returns the seconds of a call by its number, from 0.
        in_call: Function that the engine calls in the planted calls.
        on_scorer: Name of the scorer's function that takes long in the planted captures, or "".
        before_submit: Function that the camera calls before it submits one of them.
        on_answer: Function that the caller has called back with the answer of one of them.
        swaps: Whether the bundle is swapped, which slows the engine's calls down.
        keeps: Number of lists that are kept, for the garbage collection to look at.
    """

    arrivals_ms: np.ndarray = field(default_factory=spaced)
    policy: dict[str, Any] = field(default_factory=dict)
    slow_s: Callable[[int], float] = lambda _: SERVICE_S
    in_call: Callable[[], object] = nothing
    on_scorer: str = ""
    before_submit: Callable[[], None] = nothing
    on_answer: Callable[[], None] | None = None
    swaps: bool = False
    keeps: int = 0


def delay() -> None:
    """Take as long as what is planted does."""
    time.sleep(PLANTED_S)


def hold_interpreter() -> None:
    """Have another thread hold Python's lock, as a library does that never releases it."""
    libc = ctypes.PyDLL(None)
    threading.Thread(target=libc.usleep, args=(round(1e6 * PLANTED_S),), daemon=True).start()


def slow_calls(number: int) -> float:
    """Return the seconds of a call, eight times as many for the planted ones."""
    return PLANTED_S if number in SLOW else SERVICE_S


# Two captures in a row, the second just after the first.
_PAIRS = np.sort(np.concatenate([spaced(), spaced()[list(SLOW)] + 12.0]))
_BATCHES = np.sort(np.concatenate([np.repeat(np.arange(8) * 120.0, 4), [300.0, 660.0]]))

PLANTED: dict[str, Plant] = {
    Stage.GATES.value: Plant(on_scorer="gate"),
    Stage.PREPROCESS.value: Plant(on_scorer="fill"),
    Stage.ENGINE.value: Plant(slow_s=slow_calls),
    Stage.DECISION.value: Plant(on_scorer="answer"),
    Wait.SUBMISSION.value: Plant(before_submit=delay),
    Wait.ROOM.value: Plant(arrivals_ms=bursts(10), policy={"queue_limit": 1}),
    Wait.LANES.value: Plant(arrivals_ms=bursts(8)),
    Wait.CALLBACKS.value: Plant(arrivals_ms=_PAIRS, on_answer=delay),
    Wait.BATCH.value: Plant(
        arrivals_ms=_BATCHES, policy={"max_batch": 4, "max_wait_ms": 1e3 * PLANTED_S}
    ),
    Wait.ORDER.value: Plant(
        arrivals_ms=spaced(15.0),
        policy={"lanes": 2},
        slow_s=lambda number: 2 * PLANTED_S if number == SLOW[0] else SERVICE_S,
    ),
    Wait.COLLECTION.value: Plant(in_call=gc.collect, keeps=_JUNK),
    Wait.STALL.value: Plant(in_call=hold_interpreter),
    Stage.ENGINE.value + DURING_SWAP: Plant(swaps=True),
}
"""What is planted by the name that the trace is to give it."""


class _Engine(FakeEngine):
    """Engine with what is planted in its calls."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(self._call)
        self.is_swapping = threading.Event()
        self._plant = plant
        self._numbers = count()

    def _call(self, size: int):
        number = next(self._numbers)
        time.sleep(PLANTED_S if self.is_swapping.is_set() else self._plant.slow_s(number))
        if number in SLOW:
            self._plant.in_call()
        return live(size)


class _Camera:
    """A session as a load sees it, with what is planted around `submit`."""

    def __init__(self, session: Liveness, plant: Plant) -> None:
        self.batching, self.bundle, self.check = session.batching, session.bundle, session.check
        self._session, self._plant = session, plant
        self._numbers = count()

    def submit(self, capture) -> Future[Any]:
        number = next(self._numbers)
        if number in SLOW:
            self._plant.before_submit()
        future = self._session.submit(capture)
        on_answer = self._plant.on_answer
        # The first of each pair: the second one is due 12 ms later, and counts before the next.
        if on_answer is not None and number in (SLOW[0], SLOW[1] + 1):
            future.add_done_callback(lambda _: on_answer())
        return future


def _slow_down(session: Liveness, name: str) -> None:
    """Have a function of the scorer take long in the planted captures."""
    scorer = session._loaded.scorer
    real, numbers = getattr(scorer, name), count()

    def slow(*arguments: Any) -> Any:
        if next(numbers) in SLOW:
            delay()
        return real(*arguments)

    setattr(scorer, name, slow)


def _load_slowly(engine: _Engine, bundle: Bundle) -> Proved:
    engine.is_swapping.set()
    time.sleep(4 * APART_MS / 1e3)
    engine.is_swapping.clear()
    return Proved(bundle)


def record(plant: Plant, folder: Path) -> Recording:
    """Run a session with something planted and return its recording."""
    bundle = open_bundle(tiny_bundle.write(folder / "tiny.fasb"), TrustPolicy.unsigned())
    engine = _Engine(plant)
    kept: list[list[object]] = [[] for _ in range(plant.keeps)]
    policy = BatchingPolicy(**{"lanes": 1, "max_batch": 1, **plant.policy})
    with Liveness(
        bundle,
        engine,
        batching=policy,
        trust=TrustPolicy.unsigned(),
        revisions=RevisionState.unchecked(),
        loader=lambda opened: _load_slowly(engine, opened),
    ) as session:
        session.start()
        if plant.on_scorer:
            _slow_down(session, plant.on_scorer)
        swap = threading.Thread(
            target=session.swap, args=(tiny_bundle.write(folder / "newer.fasb", revision=2),)
        )
        request = LoadRequest(load=Load.REPLAY, arrivals_ms=plant.arrivals_ms, warmup=0)
        with recorded(session) as recording:
            if plant.swaps:
                swap.start()
            measure_open(
                _Camera(session, plant), [tiny_bundle.capture()], request, recording=recording
            )
        if plant.swaps:
            swap.join(SECONDS)
    kept.clear()
    return recording


def late_captures(recording: Recording, folder: Path) -> Counter[str]:
    """Return how many late captures the trace of a recording names by what."""
    path = folder / "run.perfetto-trace"
    write_trace(path, recording)
    found, _ = slices_of(path)
    return Counter(one.name for one in found if one.track == "late captures")


def found() -> dict[str, dict[str, int]]:
    """Return what the trace names, by what was planted.

    A run in which something else makes as many captures late, such as another process, is repeated,
    twice at most.
    """
    named: dict[str, dict[str, int]] = {}
    for name, plant in PLANTED.items():
        for _ in range(_TRIES):
            with tempfile.TemporaryDirectory() as folder:
                late = late_captures(record(plant, Path(folder)), Path(folder))
            named[name] = dict(late)
            if 2 * late[name] > late.total():
                break
    return named


def main() -> None:
    """Print what is named."""
    print(json.dumps(found()))


if __name__ == "__main__":
    main()

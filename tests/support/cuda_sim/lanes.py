"""Comparison of several lanes with a serial run on the simulated driver, as one JSON line.

    PYTHONPATH=tests python -m support.cuda_sim.lanes [--captures 100000] [--lanes 4] [--session]

The real pycuda and TensorRtEngine run on the simulated CUDA driver (`support.cuda_sim.build`
makes), with ONNX Runtime standing in for TensorRT's kernels. Serial: one lane, one capture a call,
enqueued. Lanes: a thread each, which take the next one to four captures as they come free, as
recorded graphs. Every capture's pixels are its own, drawn from its number; scores must be equal to
the bit. With --session both are sessions on raw frames, checked one by one and submitted by four
threads, so that preprocessing, queue and batches of whatever size are part of it. Exits 1 if scores
differ, if the driver saw a violation, or if memory or graphs are left behind. Times say nothing of
a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from support import tiny_bundle
from support.cuda_sim.simulated_cuda import load
from support.tensorrt_standin.module import stand_in
from support.tensorrt_standin.settings import Behavior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.lane import TensorRtLane
    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture

SEED = 7
LARGEST = 4
THREADS = 4


class Captures:
    """Hands out numbers of captures, from many threads, each once and in runs of random length."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._next = 0
        self._random = np.random.default_rng(seed)
        self._turn = threading.Lock()

    def take(self) -> range:
        """Return the next one to four numbers; none once all are taken."""
        with self._turn:
            first = self._next
            self._next = min(self._count, first + int(self._random.integers(1, LARGEST + 1)))
            return range(first, self._next)


def fill(lane: TensorRtLane, row: int, number: int) -> None:
    """Write a capture's pixels into one row of every input."""
    random = np.random.default_rng(number)
    for name in sorted(lane.inputs):
        random.random(dtype=np.float32, out=lane.inputs[name][row])


def scores_of(logits: NDArray[np.float32]) -> list[float]:
    """Return the score of each row: P(bona fide)."""
    from fasdk.decision import live_score

    return [live_score(row, 1, None) for row in logits]


def run_serially(engine: TensorRtEngine, count: int) -> NDArray[np.float64]:
    """Return every capture's score, one capture a call on one lane."""
    scores = np.full(count, np.nan)
    lane = engine.open_lane(1, graphs=False)
    for number in range(count):
        fill(lane, 0, number)
        scores[number] = scores_of(lane.run(1).logits)[0]
    lane.close()
    return scores


def run_on_lanes(
    engine: TensorRtEngine, count: int, lanes: int, seed: int, *, graphs: bool = True
) -> tuple[NDArray[np.float64], list[int]]:
    """Return every capture's score and how many captures each lane took."""
    scores = np.full(count, np.nan)
    captures = Captures(count, seed)

    def work(lane: TensorRtLane) -> int:
        taken = 0
        while numbers := captures.take():
            for row, number in enumerate(numbers):
                fill(lane, row, number)
            scores[numbers.start : numbers.stop] = scores_of(lane.run(len(numbers)).logits)
            taken += len(numbers)
        return taken

    opened = [engine.open_lane(LARGEST, graphs=graphs) for _ in range(lanes)]
    if any(lane.uses_graphs is not graphs for lane in opened):
        raise SystemExit("a lane records no graphs")
    with ThreadPoolExecutor(lanes) as pool:
        taken = list(pool.map(work, opened))
    return scores, taken


def check_serially(bundle: Bundle, engine: TensorRtEngine, count: int) -> NDArray[np.float64]:
    """Return every capture's score, one check after the other on one lane."""
    from fasdk.batching.policy import BatchingPolicy
    from fasdk.session.session import Liveness

    policy = BatchingPolicy(lanes=1, max_batch=1)
    with Liveness(bundle, engine, batching=policy) as session:
        return np.array([session.check(capture_of(number)).score for number in range(count)])


def submit_from_threads(
    bundle: Bundle, engine: TensorRtEngine, count: int, lanes: int
) -> NDArray[np.float64]:
    """Return every capture's score, submitted by four threads, which wait for each eighth."""
    from fasdk.batching.policy import BatchingPolicy
    from fasdk.session.session import Liveness

    policy = BatchingPolicy(lanes=lanes, max_batch=LARGEST)
    scores = np.full(count, np.nan)

    def work(first: int) -> None:
        for start in range(first, count, 8 * THREADS):
            numbers = range(start, min(count, start + 8 * THREADS), THREADS)
            futures = [session.submit(capture_of(number)) for number in numbers]
            for number, future in zip(numbers, futures, strict=True):
                scores[number] = future.result().score

    with (
        Liveness(bundle, engine, batching=policy).start() as session,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        list(pool.map(work, range(THREADS)))
    return scores


def capture_of(number: int) -> Capture:
    """Return a capture whose frames are drawn from its number."""
    from fasdk.capture import Capture

    random = np.random.default_rng(number)
    return Capture(
        rgb=random.integers(0, 256, (24, 32, 3), np.uint8),
        depth=random.integers(300, 700, (24, 32), np.uint16),
        ir=random.integers(0, 256, (24, 32), np.uint8),
    )


def measure(count: int, lanes: int, *, through_session: bool) -> dict[str, Any]:
    """Run both ways and return the result's fields."""
    simulator = load()
    simulator.reset(SEED)
    simulator.run_freely()
    sys.modules["tensorrt"] = stand_in(simulator, Behavior())

    from fasdk.backends.engine import Backend
    from fasdk.backends.tensorrt.opening import open_tensorrt_engine
    from fasdk.bundle.bundle import open_bundle

    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(tiny_bundle.write(Path(folder) / "tiny.fasb"))
        engine = open_tensorrt_engine(bundle, Backend.TENSORRT)
        taken: list[int] = []
        start = time.perf_counter()
        if through_session:
            serial = check_serially(bundle, engine, count)
            engine = open_tensorrt_engine(bundle, Backend.TENSORRT)  # the session closed it
            between = time.perf_counter()
            beside = submit_from_threads(bundle, engine, count, lanes)
        else:
            serial = run_serially(engine, count)
            between = time.perf_counter()
            beside, taken = run_on_lanes(engine, count, lanes, SEED)
        end = time.perf_counter()
        executed = dict(simulator.report().executed)
        engine.close()
    report = simulator.report()
    return {
        "benchmark": "simulated_lanes",
        "through": "session" if through_session else "lanes",
        "captures": count,
        "lanes": lanes,
        "captures_by_lane": taken,
        "equal": bool(np.isfinite(serial).all() and np.array_equal(serial, beside)),
        "different": int((serial != beside).sum()),
        "distinct_scores": int(np.unique(serial).size),
        "violations": sum(violation.count for violation in report.violations),
        "left_behind": report.live.objects,
        "operations": sum(executed.values()),
        "serial_s": round(between - start, 1),
        "lanes_s": round(end - between, 1),
        "machine": platform.machine(),
    }


def main() -> None:
    """Print the result; exit 1 unless it is right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--captures", type=int, default=100_000)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--session", action="store_true")
    asked = parser.parse_args()
    result = measure(asked.captures, asked.lanes, through_session=asked.session)
    print(json.dumps(result))
    clean = not result["violations"] and not result["left_behind"]
    sys.exit(0 if result["equal"] and clean else 1)


if __name__ == "__main__":
    main()

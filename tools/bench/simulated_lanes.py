"""Captures over several lanes on the simulated driver against a serial run: one JSON line.

    python tools/bench/simulated_lanes.py [--captures 100000] [--lanes 4]

The real pycuda and TensorRtEngine run on the simulated CUDA driver, with ONNX Runtime standing in
for TensorRT's kernels. Serial: one lane, one capture a call, enqueued. Lanes: a thread each, which
take the next one to four captures as they come free, as recorded graphs. Every capture's pixels are
its own, drawn from its number; scores must be equal to the bit. Exits 1 if they are not, or if the
driver saw a violation. Times say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.lane import TensorRtLane

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 4


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
    engine: TensorRtEngine, count: int, lanes: int, seed: int
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

    opened = [engine.open_lane(LARGEST) for _ in range(lanes)]
    if not all(lane.uses_graphs for lane in opened):
        raise SystemExit("a lane records no graphs")
    with ThreadPoolExecutor(lanes) as pool:
        taken = list(pool.map(work, opened))
    return scores, taken

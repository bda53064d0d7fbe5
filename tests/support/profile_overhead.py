"""Time that the profiler adds to a call, against a bare loop over the same lane.

    PYTHONPATH=tests python -m support.profile_overhead [--blocks 10] [--seconds 1.0]

Blocks of both alternate as ABBA, so that a machine that drifts slows both alike. Prints one JSON
document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.trust import TrustPolicy
from fasdk.scorer import Scorer
from fasdk.session.session import Liveness
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.measure import measure

from support import tiny_bundle
from support.profile_queueing import fixed
from support.timed_engine import TimedEngine, timed_session


def bare_ms(session: Liveness, seconds: float) -> NDArray[np.float64]:
    """Return the time from call to call of a loop that does nothing else, in milliseconds."""
    capture, scorer, begun_ns = tiny_bundle.capture(), Scorer(session.bundle, session.level), []
    lane = session.engine.open_lane(1)
    end_ns = time.perf_counter_ns() + int(1e9 * seconds)
    try:
        while not begun_ns or begun_ns[-1] < end_ns:
            begun_ns.append(time.perf_counter_ns())
            scorer.require(capture)
            scorer.fill(capture, lane.inputs, 0)
            scorer.score(capture, scorer.require_outputs(lane.run(1), 1), 0)
    finally:
        lane.close()
    return np.diff(begun_ns) / 1e6


def profiled_ms(session: Liveness, seconds: float) -> NDArray[np.float64]:
    """Return the time from call to call of the profiler's closed loop, in milliseconds."""
    request = LoadRequest(load=Load.CLOSED, seconds=seconds)
    return np.diff(measure(session, [tiny_bundle.capture()], request).counted.due_ms)


def added(session: Liveness, blocks: int, seconds: float) -> dict[str, Any]:
    """Return the medians of both over all blocks, and the share that the profiler adds."""
    found: dict[str, list[NDArray[np.float64]]] = {"bare": [], "profiled": []}
    loops = {"bare": bare_ms, "profiled": profiled_ms}
    for block in range(blocks):
        for name in list(loops) if block % 2 == 0 else reversed(list(loops)):
            found[name].append(loops[name](session, seconds))
    medians = {f"{name}_ms": float(np.median(np.concatenate(of))) for name, of in found.items()}
    share = medians["profiled_ms"] / medians["bare_ms"] - 1.0
    calls = sum(map(len, found["profiled"]))
    return medians | {"added": share, "calls": calls}


def main() -> int:
    """Measure both engines and print what the profiler adds to each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one block")
    options = parser.parse_args()
    with timed_session(TimedEngine(fixed())) as session:
        rows = [{"engine": "waits 5 ms"} | added(session, options.blocks, options.seconds)]
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_bundle.write(Path(folder) / "tiny.fasb")
        bundle = open_bundle(path, TrustPolicy.unsigned())
        with Liveness(bundle, OnnxRuntimeEngine(bundle.graph, threads=1)) as session:
            row = added(session, options.blocks, options.seconds)
            rows.append({"engine": "averages in ONNX Runtime"} | row)
    print(json.dumps({"engines": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Overhead, throughput and memory of a session over the engine it runs, as one JSON line.

    python tools/bench/session.py [--parts overhead,throughput,latency,memory] [--bundle FILE]

Work: captures of RGB 1280x720 with a 400x400 face, depth and IR 640x480 with 240x240 ones, scored
by the tiny MMDG with random weights (64x64 inputs; built here unless a bundle is given) in ONNX
Runtime, with the quality limits off. The bare side fills a lane's rows and runs it, without queue,
threads, rules or decisions. Both sides take turns, so that a busy machine slows both alike. Parts:

- overhead: one `check` after another, max_wait_ms 0, against the bare lane with one row. Median of
  the differences; the time of the gates, which the bare side lacks, is taken off.
- throughput: eight threads that `check` as fast as they can, against the best of bare loops over
  batch sizes and the engine's own threads, one or one a core; these gate each capture too. What
  two bare loops reach at once is reported as well.
- latency: captures submitted at a fixed rate, 70 % of what eight threads reached just before; p99
  over the median, from the time a capture was due to its answer, by the constant load of
  `fasdk profile`. Median over runs. Beside it the same for the engine without a session: one thread
  that gates, fills and runs each capture when it is due, at 70 % of its own rate; what it shows is
  this machine's. Under a real-time policy (`chrt -r 1`, for a busy machine) a waking thread does
  not interrupt one of its own priority, as it does under the usual one; so the submitting thread
  then runs one above.
- memory: resident size after 100,000 captures from eight threads against that after the first
  tenth as many.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from session_tail import BareEngine, constant_tail, is_real_time

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import Bundle, open_bundle
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.decision import OperatingPoint, Verdict
from fasdk.preprocess import fill_row
from fasdk.quality import QualityLimits
from fasdk.scorer import Scorer
from fasdk.session.session import Liveness
from fasdk.telemetry import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fasdk.backends.engine import Lane

CALLERS = 8
_SESSION, _TWO_LOOPS = "session", "two loops at once, largest batch"
_REST_SECONDS = 0.05  # the threads of the previous run go on spinning for work
_THROTTLE_SECONDS = 1.0  # Linux holds what is real-time up once it had 95 % of a core for so long
LOAD = 0.7
MOST_OVERHEAD_MS, LEAST_THROUGHPUT, MOST_P99, MOST_GROWTH = 0.3, 0.9, 2.0, 0.01


def main() -> int:
    """Measure, print one JSON line, and return 0; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--bundle", type=Path, help="a bundle to use instead of a tiny one")
    parser.add_argument("--threads", type=int, default=1, help="ONNX Runtime's, of the session")
    parser.add_argument("--lanes", type=int, default=BatchingPolicy().lanes)
    parser.add_argument("--max-wait-ms", type=float, default=BatchingPolicy().max_wait_ms)
    parser.add_argument("--pairs", type=int, default=2000, help="of the overhead")
    parser.add_argument("--rounds", type=int, default=7, help="of the throughput")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one loop")
    parser.add_argument("--runs", type=int, default=9, help="of the latency")
    parser.add_argument("--latency-seconds", type=float, default=1.0, help="of one latency run")
    parser.add_argument("--captures", type=int, default=100_000, help="of the memory")
    settings = parser.parse_args()

    result: dict[str, Any] = {"benchmark": "session"}
    with tempfile.TemporaryDirectory() as folder:
        bundle = thresholded(open_bundle(settings.bundle or tiny_bundle(Path(folder))))
        result["model"] = f"{bundle.manifest.model.family} {bundle.manifest.model.parameters}"
        result |= {"threads": settings.threads, "lanes": settings.lanes, "cores": os.cpu_count()}
        gc.collect()
        gc.freeze()  # what built the bundle is no part of a session's heap
        for part in settings.parts.split(","):
            result[part] = PARTS[part](bundle, settings)
    result["load_average"] = round(os.getloadavg()[0], 1)  # above `cores`, others were competing
    result["ok"] = all(result[part]["ok"] for part in settings.parts.split(","))
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def tiny_bundle(folder: Path) -> Path:
    """Build a bundle of the tiny MMDG with random weights."""
    import torch

    from fasdk.backends.engine import Backend
    from fasdk_engines.build.pipeline import build_bundle
    from fasdk_engines.build.request import BuildRequest
    from fasdk_engines.models.checkpoint import save_checkpoint
    from fasdk_engines.models.registry import get_family

    torch.manual_seed(0)
    family = get_family("mmdg")
    config = family.configs["tiny"]
    save_checkpoint(folder / "tiny.safetensors", family.build(config), family, config)
    request = BuildRequest(
        source=folder / "tiny.safetensors",
        out=folder / "tiny.fasb",
        model="mmdg",
        backend=Backend.ONNXRUNTIME,
    )
    build_bundle(request)
    return folder / "tiny.fasb"


def thresholded(bundle: Bundle) -> Bundle:
    """Return the bundle with a made-up threshold, so that a check ends in LIVE or SPOOF."""
    manifest = bundle.manifest
    if manifest.operating_points:
        return bundle
    point = OperatingPoint(
        level="standard",
        modalities=manifest.modalities,
        threshold=0.5,
        source="made up for a benchmark",
        apcer_upper=1.0,
        graph_sha256=manifest.members["model.onnx"],
    )
    return replace(bundle, manifest=manifest.model_copy(update={"operating_points": (point,)}))


def camera_capture() -> Capture:
    """Return smooth frames with sensor noise, of the sizes cameras have."""
    rng = np.random.default_rng(7)

    def view(width: int, height: int) -> NDArray[np.float64]:
        y, x = np.mgrid[0:height, 0:width]
        return np.asarray(0.5 + 0.4 * np.sin(x / width * 5.0) * np.cos(y / height * 3.0))

    color = view(1280, 720)[..., None] * np.array([230.0, 180.0, 150.0])
    small = FaceBox(200, 120, 240, 240)
    return Capture(
        rgb=np.clip(color + rng.normal(0.0, 4.0, color.shape), 0, 255).astype(np.uint8),
        depth=(400.0 + 300.0 * view(640, 480)).astype(np.uint16),
        ir=np.clip(220.0 * view(640, 480) + rng.normal(0, 4, (480, 640)), 0, 255).astype(np.uint8),
        face=FaceBox(440, 160, 400, 400),
        faces={Modality.DEPTH: small, Modality.IR: small},
    )


class Bench:
    """One engine with a session on it, and bare lanes of the same engine."""

    def __init__(self, bundle: Bundle, settings: argparse.Namespace) -> None:
        self.engine = OnnxRuntimeEngine(bundle.graph, threads=settings.threads)
        self.manifest = bundle.manifest
        self.scorer = Scorer(bundle, "standard", QualityLimits.off())
        self.session = Liveness(
            bundle,
            self.engine,
            batching=BatchingPolicy(lanes=settings.lanes, max_wait_ms=settings.max_wait_ms),
            limits=QualityLimits.off(),
        ).start()
        self.capture = camera_capture()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def lane(self) -> Lane:
        """Return a bare lane."""
        return self.engine.open_lane(self.manifest.max_batch)

    def bare(self, lane: Lane, batch: int) -> None:
        """Do what a session does of an engine's work: fill rows and run them."""
        for row in range(batch):
            fill_row(
                self.capture, self.manifest.inputs, self.manifest.presence_order, lane.inputs, row
            )
        lane.run(batch)

    def gated(self, lane: Lane, batch: int) -> None:
        """Do the same with what a session does to a capture before."""
        for _ in range(batch):
            if self.scorer.gate(self.capture) is not None:
                raise SystemExit("a capture was refused: the times would be meaningless")
        self.bare(lane, batch)

    def check(self) -> dict[str, float]:
        """Check a capture; its time counts only if it was scored."""
        decision = self.session.check(self.capture)
        require(decision.verdict)
        return decision.timings_ms


def require(verdict: Verdict) -> None:
    """End the benchmark when a capture was not scored."""
    if verdict is Verdict.ERROR:
        raise SystemExit("a capture was not scored: the times would be meaningless")


def overhead(bundle: Bundle, settings: argparse.Namespace) -> dict[str, Any]:
    """Return what `check` adds to the bare lane, in milliseconds."""
    stages: dict[str, list[float]] = {stage.value: [] for stage in Stage}
    bare, checked = [], []
    with Bench(bundle, settings) as bench:
        lane = bench.lane()
        for _ in range(50):
            bench.bare(lane, 1)
            bench.check()
        for _ in range(settings.pairs):
            start = time.perf_counter()
            bench.bare(lane, 1)
            middle = time.perf_counter()
            timings = bench.check()
            end = time.perf_counter()
            bare.append(1e3 * (middle - start))
            checked.append(1e3 * (end - middle) - timings[Stage.GATES.value])
            for stage, spent in stages.items():
                spent.append(timings[stage])
        lane.close()
    differences = [mine - theirs for mine, theirs in zip(checked, bare, strict=True)]
    found = statistics.median(differences)
    return {
        "bare_ms": round(statistics.median(bare), 4),
        "check_without_gates_ms": round(statistics.median(checked), 4),
        "overhead_ms": round(found, 4),
        "limit_ms": MOST_OVERHEAD_MS,
        "stages_ms": {name: round(statistics.median(spent), 4) for name, spent in stages.items()},
        "pairs": settings.pairs,
        "ok": found <= MOST_OVERHEAD_MS,
    }


def throughput(bundle: Bundle, settings: argparse.Namespace) -> dict[str, Any]:
    """Return captures a second of eight callers against the best bare batched loop."""
    engines = {
        threads: OnnxRuntimeEngine(bundle.graph, threads=threads)
        for threads in sorted({1, os.cpu_count() or 1})
    }
    sizes = [size for size in (1, 2, 4, 8, 16) if size <= bundle.manifest.max_batch]
    with Bench(bundle, settings) as bench:
        ways: dict[str, Callable[[], float]] = {_SESSION: lambda: saturate(bench, settings)}
        for threads, engine in engines.items():
            for size in sizes:
                work = partial(bench.gated, engine.open_lane(size), size)
                name = f"batch {size}, engine threads {threads}"
                ways[name] = partial(run_loops, [work], size, settings.seconds)
        pair = [partial(bench.gated, bench.lane(), sizes[-1]) for _ in range(2)]
        ways[_TWO_LOOPS] = partial(run_loops, pair, sizes[-1], settings.seconds)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(settings.rounds):
            for name, way in ways.items():
                time.sleep(_REST_SECONDS)
                rates[name].append(way())
    median = {name: statistics.median(found) for name, found in rates.items()}
    best = max(set(ways) - {_SESSION, _TWO_LOOPS}, key=lambda name: median[name])
    # Round by round, so that what slows a whole round slows both sides.
    ratios = [mine / bare for mine, bare in zip(rates[_SESSION], rates[best], strict=True)]
    share = statistics.median(ratios)
    return {
        "session_per_s": round(median[_SESSION], 1),
        "best_bare": best,
        "best_bare_per_s": round(median[best], 1),
        "bare_per_s": {name: round(rate, 1) for name, rate in median.items() if name != _SESSION},
        "share": round(share, 3),
        "least_share": LEAST_THROUGHPUT,
        "callers": CALLERS,
        "rounds": settings.rounds,
        "ok": share >= LEAST_THROUGHPUT,
    }


def saturate(bench: Bench, settings: argparse.Namespace) -> float:
    """Return captures a second of eight callers."""
    return run_loops([bench.check] * CALLERS, 1, settings.seconds)


def run_loops(works: Sequence[Callable[[], object]], captures: int, seconds: float) -> float:
    """Return captures a second of threads that each repeat one piece of work."""
    counts = [0] * len(works)
    end = time.perf_counter() + seconds

    def loop(index: int) -> None:
        while time.perf_counter() < end:
            works[index]()
            counts[index] += captures

    start = time.perf_counter()
    threads = [threading.Thread(target=loop, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def latency(bundle: Bundle, settings: argparse.Namespace) -> dict[str, Any]:
    """Return p99 over the median at a fixed arrival rate."""
    runs, bare_runs = [], []
    with Bench(bundle, settings) as bench:
        lane = bench.lane()
        bare = partial(bench.gated, lane, 1)
        engine = BareEngine(bundle, bare, bench.session.check(bench.capture))
        saturate(bench, settings)
        for _ in range(settings.runs):
            rate = LOAD * saturate(bench, settings)
            rest()
            tail = constant_tail(bench.session, bench.capture, rate, settings.latency_seconds)
            runs.append((rate, *tail))
            rate = LOAD * run_loops([bare], 1, settings.seconds)
            rest()
            tail = constant_tail(engine, bench.capture, rate, settings.latency_seconds)
            bare_runs.append((rate, *tail))
        lane.close()
    found = tail_of(runs)
    return {
        **found,
        "limit": MOST_P99,
        "runs": settings.runs,
        "bare_one_thread": tail_of(bare_runs),
        "ok": found["p99_over_p50"] < MOST_P99,
    }


def tail_of(runs: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Return medians over runs of a rate a second, a median and a p99 in milliseconds."""
    rates, medians, tails = zip(*runs, strict=True)
    ratios = [tail / middle for middle, tail in zip(medians, tails, strict=True)]
    return {
        "rate_per_s": round(statistics.median(rates), 1),
        "p50_ms": round(statistics.median(medians), 3),
        "p99_ms": round(statistics.median(tails), 3),
        "p99_over_p50": round(statistics.median(ratios), 2),
        "each_run": [round(ratio, 2) for ratio in ratios],
    }


def rest() -> None:
    """Wait until threads of the last run stop and real-time threads may run again."""
    time.sleep(_THROTTLE_SECONDS if is_real_time() else _REST_SECONDS)


def memory(bundle: Bundle, settings: argparse.Namespace) -> dict[str, Any]:
    """Return how much the resident size grows over many captures."""
    first = settings.captures // 10
    with Bench(bundle, settings) as bench:

        def check_many(captures: int) -> int:
            def loop() -> None:
                for _ in range(captures // CALLERS):
                    bench.check()

            threads = [threading.Thread(target=loop) for _ in range(CALLERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gc.collect()
            return resident_bytes()

        before = check_many(first)
        sizes = [check_many(settings.captures // 10) for _ in range(10)]
    growth = sizes[-1] / before - 1
    return {
        "captures": settings.captures,
        "after_first": first,
        "resident_mb": round(before / 1e6, 2),
        "resident_after_mb": round(sizes[-1] / 1e6, 2),
        "growth": round(growth, 5),
        "limit": MOST_GROWTH,
        "ok": growth <= MOST_GROWTH,
    }


def resident_bytes() -> int:
    """Return this process's resident size."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


PARTS: dict[str, Callable[[Bundle, argparse.Namespace], dict[str, Any]]] = {
    "overhead": overhead,
    "throughput": throughput,
    "latency": latency,
    "memory": memory,
}


if __name__ == "__main__":
    raise SystemExit(main())

"""Comparison of several lanes with a serial run on the simulated driver, as one JSON line.

    PYTHONPATH=tests python -m support.cuda_sim.lanes [--captures 100000] [--lanes 4] [--session]
        [--preprocess device] [--integrated]

The real pycuda and TensorRtEngine run on the simulated CUDA driver (`support.cuda_sim.build`
makes), with ONNX Runtime standing in for TensorRT's kernels. Serial: one lane, one capture a call,
enqueued. Lanes: a thread each, which take the next one to four captures as they come free, as
recorded graphs. Every capture's pixels are its own, drawn from its number; scores must be equal to
the bit. With --session both are sessions on raw frames, checked one by one and submitted by four
threads, so that preprocessing, queue and batches of whatever size are part of it. The serial one is
preprocessed on the host; with `--preprocess device` the other one by kernels that the driver
executes, from frames of many sizes and strides, some modalities missing, and what is copied to the
device is counted. With --integrated, CPU and GPU share one memory. Exits 1 if scores differ, if the
driver saw a violation, if memory or graphs are left behind, or if more is copied than the frames'
regions and 1 KB a capture. Times say nothing of a GPU.
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

from support import capture_bundle, tiny_bundle
from support.cuda_sim.kernel_image import image
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
DEADLINE_MS = 60_000  # bits are compared here, however busy the machine is


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

    policy = BatchingPolicy(lanes=1, max_batch=1, deadline_ms=DEADLINE_MS)
    with Liveness(bundle, engine, batching=policy, missing="degrade") as session:
        return np.array([session.check(capture_of(number)).score for number in range(count)])


def submit_from_threads(
    bundle: Bundle, engine: TensorRtEngine, count: int, lanes: int, meter: UploadMeter
) -> NDArray[np.float64]:
    """Return every capture's score, submitted by four threads, which wait for each eighth.

    Args:
        bundle: Bundle to score by.
        engine: Engine of it, which the session closes.
        count: Number of captures.
        lanes: Number of lanes.
        meter: Meter that is reset once the lanes are open.
    """
    from fasdk.batching.policy import BatchingPolicy
    from fasdk.session.session import Liveness

    policy = BatchingPolicy(lanes=lanes, max_batch=LARGEST, deadline_ms=DEADLINE_MS)
    scores = np.full(count, np.nan)

    def work(first: int) -> None:
        for start in range(first, count, 8 * THREADS):
            numbers = range(start, min(count, start + 8 * THREADS), THREADS)
            futures = [session.submit(capture_of(number)) for number in numbers]
            for number, future in zip(numbers, futures, strict=True):
                scores[number] = future.result().score

    with (
        Liveness(bundle, engine, batching=policy, missing="degrade").start() as session,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        meter.copied_bytes = 0
        list(pool.map(work, range(THREADS)))
    return scores


class UploadMeter:
    """Count of the bytes that drivers copied to the device."""

    def __init__(self) -> None:
        self.copied_bytes = 0
        self._turn = threading.Lock()

    def driver(self) -> Any:
        """Return a driver on pycuda whose copies are counted."""
        from fasdk.backends.cuda import PyCudaDriver

        meter = self

        class Counting(PyCudaDriver):
            def copy_to_device(self, target: Any, source: Any, *rest: Any) -> None:
                with meter._turn:
                    meter.copied_bytes += source.nbytes
                super().copy_to_device(target, source, *rest)

        return Counting()


def capture_of(number: int) -> Capture:
    """Return a capture whose frames, their sizes and strides are drawn from its number.

    No quality limit refuses it: a depth that reads as meters is drawn again.
    """
    from fasdk.capture import monotonic_ms
    from fasdk.quality.gates import QualityLimits, assess

    faults = QualityLimits.faults()
    random = np.random.default_rng(number)
    while True:
        capture = capture_bundle.random_capture(random, longest_px=48)
        if capture.rgb is not None and not assess(capture, faults, now_ms=monotonic_ms()):
            return capture


def regions_bytes(bundle: Bundle, count: int) -> int:
    """Return the bytes of the parts of every capture's frames that the model sees."""
    from fasdk.preprocess.parts import part_of

    found = 0
    for capture in map(capture_of, range(count)):
        for modality, spec in bundle.manifest.inputs.items():
            if modality in capture.present:
                face = capture.face_in(modality)
                found += part_of(capture.frame(modality), face, spec).pixels.nbytes
    return found


def _face_bundle(path: Path) -> Bundle:
    """Write a bundle whose model looks at the face, and takes `present`."""
    from fasdk.capture import Modality
    from fasdk.preprocess import CropBounds, CropRule, DepthEncoding, PreprocessSpec

    spec = PreprocessSpec(
        width=16,
        height=16,
        crop=CropRule.FACE,
        crop_scale=1.5,
        crop_bounds=CropBounds.PAD,
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
    )
    depth = DepthEncoding(near_mm=300, far_mm=2500, polarity="near-bright")
    specs = {
        Modality.RGB: spec,
        Modality.DEPTH: spec.model_copy(update={"depth": depth, "missing_value": -1.0}),
        Modality.IR: spec,
    }
    return capture_bundle.write(path, specs, presence=True)


def measure(
    count: int,
    lanes: int,
    *,
    through_session: bool,
    preprocess: str = "host",
    integrated: bool = False,
) -> dict[str, Any]:
    """Run both ways and return the result's fields."""
    simulator = load()
    simulator.reset(SEED)
    simulator.run_freely()
    simulator.set_integrated(integrated=integrated)
    sys.modules["tensorrt"] = stand_in(simulator, Behavior())

    from fasdk.backends.engine import Backend, Preprocessing
    from fasdk.backends.tensorrt import device_preprocessing
    from fasdk.backends.tensorrt.opening import open_tensorrt_engine
    from fasdk.bundle.bundle import open_bundle

    device_preprocessing.kernel_image = lambda *_: image()
    meter = UploadMeter()

    def open_engine(where: str) -> TensorRtEngine:
        return open_tensorrt_engine(
            bundle, Backend.TENSORRT, driver=meter.driver(), preprocess=Preprocessing(where)
        )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.fasb"
        bundle = _face_bundle(path) if through_session else open_bundle(tiny_bundle.write(path))
        engine = open_engine("host")
        taken: list[int] = []
        start = time.perf_counter()
        if through_session:
            serial = check_serially(bundle, engine, count)
            engine = open_engine(preprocess)  # the session closed the other
            between = time.perf_counter()
            beside = submit_from_threads(bundle, engine, count, lanes, meter)
        else:
            serial = run_serially(engine, count)
            between = time.perf_counter()
            beside, taken = run_on_lanes(engine, count, lanes, SEED)
        end = time.perf_counter()
        executed = dict(simulator.report().executed)
        engine.close()
    report = simulator.report()
    on_device = preprocess == "device"
    seen_bytes = regions_bytes(bundle, count) if through_session and on_device else None
    most_bytes = None
    if seen_bytes is not None:
        most_bytes = 0 if integrated else seen_bytes + 1024 * count
    return {
        "benchmark": "simulated_lanes",
        "through": "session" if through_session else "lanes",
        "preprocess": preprocess,
        "integrated": integrated,
        "captures": count,
        "lanes": lanes,
        "captures_by_lane": taken,
        "equal": bool(np.isfinite(serial).all() and np.array_equal(serial, beside)),
        "different": int((serial != beside).sum()),
        "distinct_scores": int(np.unique(serial).size),
        "violations": sum(violation.count for violation in report.violations),
        "left_behind": report.live.objects,
        "operations": sum(executed.values()),
        "kernels": sum(n for name, n in executed.items() if name.startswith("fasdk_")),
        "copied_bytes": meter.copied_bytes if through_session else None,
        "regions_bytes": seen_bytes,
        "most_bytes": most_bytes,
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
    parser.add_argument("--preprocess", choices=["host", "device"], default="host")
    parser.add_argument("--integrated", action="store_true")
    asked = parser.parse_args()
    result = measure(
        asked.captures,
        asked.lanes,
        through_session=asked.session,
        preprocess=asked.preprocess,
        integrated=asked.integrated,
    )
    print(json.dumps(result))
    clean = not result["violations"] and not result["left_behind"]
    most_bytes = result["most_bytes"]
    frugal = most_bytes is None or result["copied_bytes"] <= most_bytes
    sys.exit(0 if result["equal"] and clean and frugal else 1)


if __name__ == "__main__":
    main()

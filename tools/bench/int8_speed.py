"""Latency of a full-size model's `int8-fp32` graph against its float32 graph, in ONNX Runtime.

Calibrates `int8-fp32` on a few seeded captures and rounds weights to nearest (neither scales nor
INT8 codes change the time), then runs both graphs alternately on one capture. Prints one JSON line
and exits 1 where the INT8 graph is not fast enough.

    python tools/bench/int8_speed.py GRAPH.onnx --model mmdg [--config full] [--threads 2]

GRAPH.onnx is the model's float32 graph, such as the model.onnx of a bundle of precision fp32.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.manifest import Precision
from fasdk_engines.models.registry import get_family
from fasdk_engines.quantization import Quantizer, RangeMethod, int8_share
from fasdk_engines.quantization.quantizer import default_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION = 2  # captures


def _median_ms(
    engines: dict[str, OnnxRuntimeEngine], batch: dict[str, NDArray[np.float32]], pairs: int
) -> dict[str, float]:
    """Return the median time of one call by engine; calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.run(batch)
    for _ in range(pairs):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(batch)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def main() -> int:
    """Measure and print; exit 1 where the INT8 graph is too slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("--model", default="mmdg")
    parser.add_argument("--config", default="full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--least", type=float, default=1.3, help="least ratio that passes")
    arguments = parser.parse_args()
    family = get_family(arguments.model)
    config = family.configs[arguments.config]
    specs = family.preprocess(config)
    inputs = family.example_inputs(config, CALIBRATION, seed=2)
    captures = dict(zip(family.input_names, (x.numpy() for x in inputs), strict=True))
    graph = arguments.graph.read_bytes()
    start = time.perf_counter()
    quantizer = Quantizer.prepare(
        graph,
        [captures],
        specs,
        precision=Precision.INT8_FP32,
        float32_islands=family.float32_islands,
        options=replace(default_options(Precision.INT8_FP32, RangeMethod.MSE), gptq=False),
    )
    quantized = quantizer.write()
    prepared_in = time.perf_counter() - start
    engines = {
        "fp32": OnnxRuntimeEngine(graph, threads=arguments.threads),
        "int8-fp32": OnnxRuntimeEngine(quantized, threads=arguments.threads, as_written=False),
    }
    one = {name: array[:1] for name, array in captures.items()}
    taken = _median_ms(engines, one, arguments.pairs)
    ratio = taken["fp32"] / taken["int8-fp32"]
    line = {
        "model": arguments.model,
        "config": arguments.config,
        "threads": arguments.threads,
        "fp32_ms": round(taken["fp32"], 1),
        "int8_fp32_ms": round(taken["int8-fp32"], 1),
        "times_faster": round(ratio, 3),
        "limit": arguments.least,
        "share_of_macs": round(int8_share(quantizer.layers), 4),
        "fp32_bytes": len(graph),
        "int8_fp32_bytes": len(quantized),
        "prepare_s": round(prepared_in, 1),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "ok": ratio >= arguments.least,
    }
    print(json.dumps(line))
    return 0 if line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""Latency of OpenVINO and ONNX Runtime on one model, both on the CPU.

    python tools/bench/backends.py mmdg [--config full] [--precision fp32] [--threads 2]

makes the graph from random weights, which do not change the time, and runs both backends in turn on
one capture. Prints one JSON line: medians, their ratio, the largest difference of a logit and the
versions of both.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from fasdk.backends.engine import Backend
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.backends.registry import installed_backends
from fasdk.bundle.manifest import Precision
from fasdk_engines.graph.export import export_graph
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.models.registry import get_family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.backends.engine import Engine


def make_graph(
    model: str, config_name: str, precision: Precision
) -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """Return a model's typed graph with random weights, and one capture for it."""
    torch.manual_seed(0)
    family = get_family(model)
    config = family.configs[config_name]
    graph = export_graph(family.build(config).deployed().eval(), family, config)
    if precision is Precision.FP16:
        graph = convert(graph, precision, islands_matching(graph, family.float32_islands))
    inputs = family.example_inputs(config, 1, seed=2)
    return graph, dict(zip(family.input_names, (x.numpy() for x in inputs), strict=True))


def median_ms(
    engines: Mapping[str, Engine], batch: Mapping[str, NDArray[np.float32]], rounds: int
) -> dict[str, float]:
    """Return the median time of one call by engine; calls take turns, the first is not timed."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.run(batch)
    for _ in range(rounds):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(batch)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="mmdg")
    parser.add_argument("--config", default="full")
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if Backend.OPENVINO not in installed_backends():
        print("openvino is not installed: pip install fasdk[openvino]", file=sys.stderr)
        return 1
    from fasdk.backends.openvino import OpenVinoEngine

    graph, batch = make_graph(arguments.model, arguments.config, Precision(arguments.precision))
    engines: dict[str, Engine] = {
        "onnxruntime": OnnxRuntimeEngine(graph, threads=arguments.threads),
        "openvino": OpenVinoEngine(graph, threads=arguments.threads),
    }
    logits = [engine.run(batch).logits for engine in engines.values()]
    taken = median_ms(engines, batch, arguments.rounds)
    line = {
        "model": arguments.model,
        "config": arguments.config,
        "precision": arguments.precision,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "onnxruntime_ms": round(taken["onnxruntime"], 2),
        "openvino_ms": round(taken["openvino"], 2),
        "openvino_over_onnxruntime": round(taken["openvino"] / taken["onnxruntime"], 3),
        "logit_difference": float(np.abs(logits[0] - logits[1]).max()),
        "versions": {name: engine.version for name, engine in engines.items()},
    }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())

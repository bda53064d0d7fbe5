"""Latency of a full model, its published code and the machine's own matrix products.

    python tools/bench/latency.py mmdg --published path/to/a/checkout

prints one JSON line: the median over interleaved pairs of one engine call of ours and one forward
of the published code (`published_MODEL.py` runs it), both on one capture and equally many threads,
on the same weights; how long the graph's own matrix products would take at the best rate ONNX
Runtime reaches here; and what the rest of a call is spent on, by operator. Without a checkout only
ours is timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk_engines.graph.export import export_graph
from fasdk_engines.models.checkpoint import Checkpoint, load_into
from fasdk_engines.models.registry import get_family

_REST_SECONDS = 0.3
_PEAK_SIZES = (1024, 1536, 2048, 3072)
_PRODUCTS = ("MatMul", "Gemm", "Conv", "FusedMatMul", "FusedGemm", "FusedConv")
_Inputs = dict[str, NDArray[np.float32]]


def main() -> int:
    """Measure, print one JSON line, and return 0; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("mmdg", "mmdgpp", "mmda", "bigmoe"))
    parser.add_argument("--published", type=Path, help="checkout of the published repository")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--least-speedup", type=float, default=0.0)
    parser.add_argument("--most-gemm-ratio", type=float, default=float("inf"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    family = get_family(arguments.model)
    config = family.default_config
    module = family.build(config).eval()
    theirs = code = None
    if arguments.published is not None:
        code = importlib.import_module(f"published_{arguments.model}")
        theirs = code.load(arguments.published.resolve())
        weights = Checkpoint(arguments.published, "0" * 64, theirs.state_dict())
        load_into(module, weights, family)
    graph = export_graph(module.deployed(), family, config)
    parameters = sum(p.numel() for p in module.deployed().parameters())
    del module
    engine = OnnxRuntimeEngine(graph, threads=arguments.threads)
    tensors = family.example_inputs(config, batch=8)
    named = dict(zip(family.input_names, tensors, strict=True))

    def batch_of(size: int) -> _Inputs:
        return {name: tensor[:size].numpy() for name, tensor in named.items()}

    def published_logits() -> NDArray[np.float32]:
        images = [named[name][:1] for name in ("rgb", "depth", "ir")]
        with torch.no_grad():
            return np.asarray(code.forward(theirs, *images).numpy())  # type: ignore[union-attr]

    one = batch_of(1)
    first = engine.run(one).logits
    batches = {size: engine.run(batch_of(size)).logits[:1] for size in (3, 8)}
    peak = 0.0
    our_seconds: list[float] = []
    their_seconds: list[float] = []
    products = [_product(size, arguments.threads) for size in _PEAK_SIZES]
    for _ in range(arguments.pairs):
        peak = max(peak, *(flops / _seconds(run) for flops, run in products))
        our_seconds.append(_seconds(partial(engine.run, one)))
        if theirs is not None:
            their_seconds.append(_seconds(published_logits))

    ours = statistics.median(our_seconds)
    published = statistics.median(their_seconds) if their_seconds else None
    flops = product_flops(graph, batch=1)
    speedup, ratio = None if published is None else published / ours, ours / (flops / peak)
    fast_enough = speedup is None or speedup >= arguments.least_speedup
    ok = fast_enough and ratio <= arguments.most_gemm_ratio
    profile = operator_milliseconds(graph, one, arguments.threads)
    result: dict[str, Any] = {
        "model": arguments.model,
        "parameters": parameters,
        "ours_ms": round(1e3 * ours, 1),
        "published_ms": None if published is None else round(1e3 * published, 1),
        "speedup": None if speedup is None else round(speedup, 2),
        "least_speedup": arguments.least_speedup,
        "gemm_gflop": round(flops / 1e9, 2),
        "gemm_of": "every MatMul, Gemm and Conv of the deployed graph",
        "gemm_peak_gflops": round(peak / 1e9, 1),
        "gemm_ms": round(1e3 * flops / peak, 1),
        "gemm_ratio": round(ratio, 3),
        "products_ms": round(sum(profile[name] for name in _PRODUCTS), 1),
        "others_ms": {n: round(ms, 1) for n, ms in profile.most_common() if n not in _PRODUCTS},
        "pairs": arguments.pairs,
        "threads": arguments.threads,
        "load_average": round(os.getloadavg()[0], 1),  # above `threads`, others were competing
        "logit_difference": _difference(first, published_logits) if theirs is not None else None,
        "batch_difference": max(float(np.abs(b - first).max()) for b in batches.values()),
        "bit_identical": bool(np.array_equal(engine.run(one).logits, first)),
        "ok": ok,
    }
    print(json.dumps(result))
    return 0 if ok else 1


def product_flops(graph: bytes, batch: int) -> float:
    """Return the floating-point operations of every MatMul, Gemm and Conv, two a multiply-add."""
    import onnx

    model = onnx.load_from_string(graph)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    }
    shapes.update({t.name: list(t.dims) for t in model.graph.initializer})
    total = 0.0
    for node in inferred.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            # The exporter emits no Gemm with a transposed left factor.
            inner = shapes[node.input[0]][-1]
        elif node.op_type == "Conv":
            inner = int(np.prod(shapes[node.input[1]][1:]))
        else:
            continue
        if 0 in shapes[node.output[0]]:
            raise SystemExit(f"{node.name}: its shape is not known, so neither is its work")
        total += 2.0 * inner * float(np.prod(shapes[node.output[0]]))
    return total


def operator_milliseconds(
    graph: bytes, inputs: _Inputs, threads: int, calls: int = 5
) -> Counter[str]:
    """Return the mean time in one call by operator, as ONNX Runtime's own profiler sees it."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(calls + 1):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    for event in kernels[len(kernels) // (calls + 1) :]:  # the first call warms up
        spent[event["args"]["op_name"]] += event["dur"] / 1e3 / calls
    return spent


def _difference(logits: NDArray[np.float32], run: Callable[[], NDArray[np.float32]]) -> float:
    return float(np.abs(logits - run()).max())


def _product(size: int, threads: int) -> tuple[float, Callable[[], object]]:
    """Return the operations of one large matrix product, and a call that computes it."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(size)
    weight = rng.standard_normal((size, size)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, size])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options)
    x = rng.standard_normal((size, size)).astype(np.float32)
    return 2.0 * size**3, lambda: session.run(None, {"x": x})


def _seconds(run: Callable[[], object]) -> float:
    # The threads of whoever ran last go on spinning for work; let them come to rest.
    time.sleep(_REST_SECONDS)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())

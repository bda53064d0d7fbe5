"""A model on the SDK's lanes with PyTorch as the engine, in float32 and in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from claims import Claim
from latency_points import latency_claims
from proof_models import LARGEST_BATCH, ProofModel, golden_cases
from setting import BATCHES, SkippedError, open_gpu

from fasdk.backends.tensorrt.layout import TensorLayout
from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.manifest import Precision
from fasdk.bundle.trust import TrustPolicy
from fasdk_engines.graph.emulation import MAX_DRIFT_RATIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from setting import Gpu, Setting
    from torch_streams import TorchStreams

    from fasdk.backends.tensorrt.execution import TensorRtEngine

_WITHIN = 1e-4  # of float32 logits, as the published answers grant it


def torch_claims(setting: Setting, name: str) -> Iterator[Claim]:
    """Answers, half precision's effect and latencies of one model."""
    gpu = open_gpu(setting)
    try:
        streams = gpu.torch_streams()
    except SkippedError as error:
        yield Claim(f"pytorch, {name}: on this GPU", None, "==", True, skipped=str(error))
        return
    model = ProofModel.of(name, setting)
    engine = _float32_engine(model, gpu, streams)
    try:
        yield from _answer_claims(model, engine, setting)
        yield from latency_claims(
            f"pytorch, {name} fp32", engine, model.inputs, BATCHES, setting.sizes
        )
    finally:
        engine.close()
    missing = model.missing((Precision.FP16,))
    if missing:
        note = f"{', '.join(path.name for path in missing)} is missing: run with --only prepare"
        yield Claim(f"pytorch, {name} fp16: prepared", None, "==", True, note)
        return
    engine = _half_engine(model, gpu, streams)
    try:
        yield from _half_claims(model, engine)
        yield from latency_claims(
            f"pytorch, {name} fp16", engine, model.inputs, BATCHES, setting.sizes
        )
    finally:
        engine.close()
    yield from gpu.misuse()


def _float32_engine(model: ProofModel, gpu: Gpu, streams: TorchStreams) -> TensorRtEngine:
    from torch_runtime import TorchPlan, open_torch_engine

    module = model.deployed().to(streams.device)
    plan = TorchPlan(module, _layout(model), LARGEST_BATCH)
    return open_torch_engine(plan, gpu.driver, streams, timed=True)


def _half_engine(model: ProofModel, gpu: Gpu, streams: TorchStreams) -> TensorRtEngine:
    """Open an engine of the bundle's half-precision graph, in the graph's own types."""
    from onnx_in_torch import OnnxInTorch
    from torch_runtime import TorchPlan, open_torch_engine

    bundle = open_bundle(model.bundle(Precision.FP16), TrustPolicy.unsigned())
    graph = OnnxInTorch(bundle.graph, streams.device)
    layout = _layout(model)
    ordered = TensorLayout(
        {name: layout.inputs[name] for name in graph.inputs},
        {name: layout.outputs[name] for name in graph.outputs},
    )
    plan = TorchPlan(graph, ordered, LARGEST_BATCH)
    return open_torch_engine(plan, gpu.driver, streams, timed=True)


def _layout(model: ProofModel) -> TensorLayout:
    family = model.family
    outputs: dict[str, tuple[int]] = {"logits": (len(family.labels),)}
    if family.has_certainty:
        outputs["certainty"] = (len(family.modalities),)
    return TensorLayout(family.input_shapes(model.config), outputs)


def _answer_claims(model: ProofModel, engine: TensorRtEngine, setting: Setting) -> Iterator[Claim]:
    """Float32 on the GPU against the published answers; in a dry run against the CPU's."""
    if setting.dry_run:
        import torch

        with torch.no_grad():
            tensors = [torch.from_numpy(rows) for rows in model.inputs.values()]
            expected = model.deployed()(*tensors)[0].numpy()
        drift = float(np.abs(engine.run(model.inputs).logits - expected).max())
        yield Claim(
            f"pytorch, {model.name} fp32: largest logit difference, lane against module",
            drift,
            "<=",
            _WITHIN,
        )
        return
    for case in golden_cases(model.name):
        yield _golden_claim(model.name, engine, case)


def _golden_claim(name: str, engine: TensorRtEngine, case: Any) -> Claim:
    from models import golden_inputs

    inputs: Mapping[str, NDArray[np.float32]] = golden_inputs(name, case.absent)
    claim = f"pytorch, {name} fp32, {case.name}: largest logit difference over its tolerance"
    found = engine.run(inputs).logits
    return Claim(claim, float((np.abs(found - case.expected) / case.tolerance).max()), "<=", 1.0)


def _half_claims(model: ProofModel, engine: TensorRtEngine) -> Iterator[Claim]:
    """Half precision on the GPU against every operator's output rounded, on the same captures."""
    with np.load(model.answers, allow_pickle=False) as stored:
        reference, emulated = stored["float32"], stored["emulated"]
    few = {name: rows[: len(emulated)] for name, rows in model.inputs.items()}
    found = engine.run(few).logits
    spread = float(reference.std())
    yield Claim(
        f"pytorch, {model.name} fp16: largest logit difference from the emulated rounding",
        float(np.abs(found - emulated).max()),
        "<=",
        MAX_DRIFT_RATIO * spread,
        f"{MAX_DRIFT_RATIO:.0%} of the logits' standard deviation, {len(emulated)} captures",
        figures={
            "from_float32": float(np.abs(found - reference).max()),
            "emulated_from_float32": float(np.abs(emulated - reference).max()),
        },
    )

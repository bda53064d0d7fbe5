"""Reliability as a part of an ONNX graph, beside whatever else the graph computes."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.capture import Modality
from fasdk.errors import ExportError, ParityError
from fasdk.preprocess import PRESENCE, to_batch
from fasdk_engines.graph.export import BATCH, clean
from fasdk_engines.graph.types import parse_graph
from fasdk_engines.reliability.statistics import BOUND, PictureStatistics, RankCurve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from fasdk.capture import Capture
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.reliability.features import PictureFeatures

RELIABILITY = "reliability"
_PREFIX = f"/{RELIABILITY}/"
ISLAND = f"^{_PREFIX}"
"""Regular expression of the names of the added nodes, which stay float32 in every precision."""


LOGIT_BUDGET = 1e-6
"""Largest difference of a logit that passes: a runtime may order the same nodes otherwise."""
RANK_BUDGET = 5e-3
"""Largest difference of a rank, between two orders of summation in float32."""


class SensorReliability(nn.Module):
    """Rank of one sensor's pictures among good ones.

    Args:
        features: Features of the sensor's pictures.
        statistics: Statistics of good pictures' features.
        curve: Rank by distance from them.
    """

    def __init__(
        self, features: PictureFeatures, statistics: PictureStatistics, curve: RankCurve
    ) -> None:
        super().__init__()
        self.features = features
        gaussian, faults = statistics.gaussian, statistics.faults
        steps = curve.knots[1:] - curve.knots[:-1]
        for name, values in {
            "mean": statistics.mean,
            "scale": statistics.scale,
            "directions": gaussian.directions.T,
            "axes": faults.axes.T,
            "units": faults.units.T,
            "biases": faults.biases,
            "weights": np.concatenate([faults.unit_weights, faults.axis_weights]),
            "slopes": 1.0 / steps,
            "starts": curve.knots[:-1] / steps,
            "falls": curve.ranks[:-1] - curve.ranks[1:],
        }.items():
            held = torch.from_numpy(np.ascontiguousarray(values, np.float32))
            self.register_buffer(name, held, persistent=False)
        self._rest = gaussian.rest
        self._gains = [float(gain) for gain in 1.0 / curve.spans]
        self._offsets = [float(offset) for offset in curve.medians / curve.spans]

    def forward(self, picture: Tensor) -> Tensor:
        """Return float32 [B, 1] for pictures [B, 3, H, W]."""
        at = self.get_buffer
        rows = (self.features(picture) - at("mean")) * at("scale")
        distance = (rows * rows).sum(dim=-1, keepdim=True) / self._rest
        distance = distance - _along(rows, at("directions")).square().sum(dim=-1, keepdim=True)
        along = _along(rows, at("axes")).clamp(-BOUND, BOUND)
        units = (_along(along, at("units")) + at("biases")).relu()
        # TensorRT-RTX 1.7 cannot compile this as two sums.
        answer = (torch.cat([units, along], dim=1) * at("weights")).sum(dim=-1, keepdim=True)
        (first, second), (from_first, from_second) = self._gains, self._offsets
        larger = torch.maximum(distance * first - from_first, answer * second - from_second)
        fallen = (larger * at("slopes") - at("starts")).clamp(0.0, 1.0) * at("falls")
        return (1.0 - fallen.sum(dim=-1, keepdim=True)).clamp(0.0, 1.0)


def _along(rows: Tensor, directions: Tensor) -> Tensor:
    """Return rows [B, F] along directions [F, R], without a layer that a quantizer would take."""
    return torch.einsum("bf,fr->br", rows, directions)


class GraphReliability(nn.Module):
    """Reliability of every sensor of a model.

    Args:
        sensors: Reliability by modality, in model order.
        with_presence: Whether the model is told which modalities are present; an absent one has 0.
    """

    def __init__(
        self, sensors: Mapping[Modality, SensorReliability], *, with_presence: bool
    ) -> None:
        super().__init__()
        self.sensors = nn.ModuleDict({m.value: sensor for m, sensor in sensors.items()})
        self.with_presence = with_presence

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return float32 [B, modalities] for a model's inputs, in its order."""
        ranks = torch.cat(
            [
                sensor(picture)
                for sensor, picture in zip(self.sensors.values(), inputs, strict=False)
            ],
            dim=1,
        )
        return ranks * inputs[-1] if self.with_presence else ranks


def add_reliability(
    graph: bytes, reliability: GraphReliability, specs: Mapping[Modality, PreprocessSpec]
) -> bytes:
    """Return a float32 graph with the output `reliability` added; all else is as it was.

    Args:
        graph: Serialized ONNX model with fasdk's input names and no output `reliability`.
        reliability: What to add.
        specs: Preprocessing by modality.

    Raises:
        ExportError: The graph has no ONNX opset, or a name of its own that starts as the added do.
    """
    model = parse_graph(graph)
    ordered = {m: specs[m] for m in map(Modality, reliability.sensors)}
    added = _exported(reliability, ordered, _opset(model))
    taken = [name for node in model.graph.node for name in node.output if name.startswith(_PREFIX)]
    if taken:
        raise ExportError(f"the graph's value {taken[0]!r} has a name that reliability uses")
    inputs = {value.name for value in model.graph.input}
    (output,) = added.graph.output

    def renamed(name: str) -> str:
        kept = name in inputs or name == output.name or not name
        return name if kept else f"{_PREFIX}{name.lstrip('/')}"

    for node in added.graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        node.name = f"{_PREFIX}{node.name.lstrip('/')}"
    for tensor in added.graph.initializer:
        tensor.name = renamed(tensor.name)
    output.type.tensor_type.shape.dim[0].CopyFrom(
        model.graph.output[0].type.tensor_type.shape.dim[0]
    )
    output.type.tensor_type.shape.dim[1].dim_value = len(reliability.sensors)
    model.graph.node.extend(added.graph.node)
    model.graph.initializer.extend(added.graph.initializer)
    model.graph.output.append(output)
    return bytes(model.SerializeToString(deterministic=True))


def require_same_ranks(
    before: bytes,
    after: bytes,
    reliability: GraphReliability,
    captures: Sequence[Capture],
    specs: Mapping[Modality, PreprocessSpec],
    presence: Sequence[Modality] | None,
) -> None:
    """Hold a graph with the output `reliability` against the same without, and against the module.

    Args:
        before: Graph without the output.
        after: Graph with it.
        reliability: What was added.
        captures: Captures to run both on.
        specs: Preprocessing by modality, in model order.
        presence: Column order of the graph's presence input, or None.

    Raises:
        ParityError: A logit differs at all, or a rank by more than `RANK_BUDGET`.
        BackendError: ONNX Runtime refuses or fails to run a graph.
    """
    batch = to_batch(list(captures), specs, presence)
    engines = [OnnxRuntimeEngine(graph) for graph in (before, after)]
    logits, ranks = 0.0, 0.0
    for row in range(len(captures)):
        one = {name: values[row : row + 1] for name, values in batch.items()}
        was, found = (engine.run(one) for engine in engines)
        with torch.no_grad():
            expected = reliability(*(torch.from_numpy(values) for values in one.values())).numpy()
        if found.reliability is None:
            raise ParityError("the graph lacks the output reliability that was added to it")
        logits = max(logits, float(np.abs(found.logits - was.logits).max()))
        ranks = max(ranks, float(np.abs(found.reliability - expected).max()))
    if not (logits <= LOGIT_BUDGET and ranks <= RANK_BUDGET):
        raise ParityError(
            f"reliability moved a logit by {logits:.3g} and its own ranks by {ranks:.3g}, expected "
            f"at most {LOGIT_BUDGET:g} and {RANK_BUDGET:g}: report it as a fault of fasdk"
        )


def _opset(model: onnx.ModelProto) -> int:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            return int(opset.version)
    raise ExportError("the graph names no ONNX opset")


def _exported(
    reliability: GraphReliability, specs: Mapping[Modality, PreprocessSpec], opset: int
) -> onnx.ModelProto:
    import onnx

    names = [modality.value for modality in specs]
    examples = [torch.zeros(2, 3, spec.height, spec.width) for spec in specs.values()]
    if reliability.with_presence:
        names.append(PRESENCE)
        examples.append(torch.ones(2, len(specs)))
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # it warns of its own deprecation
            torch.onnx.export(
                reliability.eval(),
                tuple(examples),
                buffer,  # type: ignore[arg-type]  # the hints omit file objects
                input_names=names,
                output_names=[RELIABILITY],
                dynamic_axes={name: {0: BATCH} for name in (*names, RELIABILITY)},
                opset_version=opset,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        raise ExportError(f"reliability cannot be exported at opset {opset}: {error}") from error
    model = onnx.load_from_string(buffer.getvalue())
    clean(model)
    return model

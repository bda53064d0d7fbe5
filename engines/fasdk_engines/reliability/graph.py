"""Reliability as a part of an ONNX graph, beside whatever else the graph computes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.capture import Modality
from fasdk.errors import ExportError, ParityError
from fasdk.preprocess import PRESENCE, to_batch
from fasdk_engines.graph.export import BATCH, clean
from fasdk_engines.graph.types import parse_graph
from fasdk_engines.reliability.features import color_features, gray_features
from fasdk_engines.reliability.statistics import BOUND, PictureStatistics, RankCurve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from fasdk.capture import Capture
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.reliability.features import PictureFeatures

    Array = NDArray[np.float64]

RELIABILITY = "reliability"
_PREFIX = f"/{RELIABILITY}/"
ISLAND = f"^{_PREFIX}"
"""Regular expression of the names of the added nodes, which stay float32 in every precision."""


LOGIT_BUDGET = 1e-6
"""Largest difference of a logit that passes: a runtime may order the same nodes otherwise."""
RANK_BUDGET = 5e-3
"""Largest difference of a rank, between two orders of summation in float32."""


@dataclass(frozen=True, eq=False)
class SensorReliability:
    """What the rank of one sensor's pictures among good ones is computed from.

    Attributes:
        features: Features of the sensor's pictures.
        statistics: Statistics of good pictures' features.
        curve: Rank by distance from them.
    """

    features: PictureFeatures
    statistics: PictureStatistics
    curve: RankCurve

    def constants(self) -> dict[str, Array]:
        """Return the arrays of the computation, by name."""
        gaussian, faults, curve = self.statistics.gaussian, self.statistics.faults, self.curve
        steps = curve.knots[1:] - curve.knots[:-1]
        return {
            "mean": self.statistics.mean,
            "scale": self.statistics.scale,
            "directions": gaussian.directions.T,
            "rests": np.array([1.0 / gaussian.rest]),
            "axes": faults.axes.T,
            "units": faults.units.T,
            "biases": faults.biases,
            "unit_weights": faults.unit_weights,
            "axis_weights": faults.axis_weights,
            "gains": 1.0 / curve.spans,
            "offsets": curve.medians / curve.spans,
            "slopes": 1.0 / steps,
            "starts": curve.knots[:-1] / steps,
            "falls": curve.ranks[:-1] - curve.ranks[1:],
        }


class _SameSize(nn.Module):
    """Ranks of sensors whose pictures have one size, computed together.

    Args:
        sensors: The sensors; what one has fewer of than another is filled with zeros, which add
            nothing to its rank.
    """

    def __init__(self, sensors: Sequence[SensorReliability]) -> None:
        super().__init__()
        self.features = nn.ModuleList([sensor.features for sensor in sensors])
        constants = [sensor.constants() for sensor in sensors]
        for name in constants[0]:
            stacked = _stacked([of_sensor[name] for of_sensor in constants])
            self.register_buffer(name, torch.from_numpy(stacked), persistent=False)

    def forward(self, *pictures: Tensor) -> Tensor:
        """Return float32 [B, M] for pictures [B, 3, H, W] of each of M sensors."""
        at = self.get_buffer
        rows = (self._features_of(pictures) - at("mean")) * at("scale")
        distance = (rows * rows).sum(dim=-1) * at("rests")[:, 0]
        distance = distance - _along(rows, at("directions")).square().sum(dim=-1)
        along = _along(rows, at("axes")).clamp(-BOUND, BOUND)
        units = (_along(along, at("units")) + at("biases")).relu()
        # TensorRT-RTX 1.7 cannot compile this as two sums.
        weights = torch.cat([at("unit_weights"), at("axis_weights")], dim=1)
        answer = (torch.cat([units, along], dim=2) * weights).sum(dim=-1)
        gains, offsets = at("gains"), at("offsets")
        larger = torch.maximum(
            distance * gains[:, 0] - offsets[:, 0], answer * gains[:, 1] - offsets[:, 1]
        )
        fallen = (larger[:, :, None] * at("slopes") - at("starts")).clamp(0.0, 1.0) * at("falls")
        return (1.0 - fallen.sum(dim=-1)).clamp(0.0, 1.0)

    def _features_of(self, pictures: Sequence[Tensor]) -> Tensor:
        """Return float32 [B, M, F]; the color's, if any has them, stand in every sensor's row."""
        grays, colors = [], []
        for features, picture in zip(self.features, pictures, strict=True):
            gray, chroma = cast("PictureFeatures", features).planes(picture)
            grays.append(gray)
            colors += [] if chroma is None else [color_features(chroma)[:, None]]
        found = gray_features(torch.cat(grays, dim=1))
        # A sensor without color has scale 0 for them.
        of_all = [torch.cat([color] * len(grays), dim=1) for color in colors]
        return torch.cat([found, *of_all], dim=2)


def _stacked(arrays: Sequence[Array]) -> NDArray[np.float32]:
    """Return arrays of one rank in one, smaller ones filled with zeros."""
    shape = np.max([array.shape for array in arrays], axis=0)
    found = np.zeros((len(arrays), *shape), np.float32)
    for row, array in zip(found, arrays, strict=True):
        row[tuple(slice(side) for side in array.shape)] = array
    return found


def _along(rows: Tensor, directions: Tensor) -> Tensor:
    """Return rows [B, M, F] along directions [M, F, R], without a layer for a quantizer to take."""
    return torch.einsum("bmf,mfr->bmr", rows, directions)


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
        self.sensors = dict(sensors)
        self.with_presence = with_presence
        sizes: dict[tuple[int, int], list[int]] = {}
        for place, sensor in enumerate(sensors.values()):
            sizes.setdefault(sensor.features.size, []).append(place)
        self._places = [*sizes.values()]
        ordered = [*sensors.values()]
        self._groups = nn.ModuleList(
            [_SameSize([ordered[place] for place in places]) for places in self._places]
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return float32 [B, modalities] for a model's inputs, in its order."""
        ranks = torch.cat(
            [
                group(*(inputs[place] for place in places))
                for group, places in zip(self._groups, self._places, strict=True)
            ],
            dim=1,
        )
        taken = [place for places in self._places for place in places]
        if taken != sorted(taken):
            ranks = ranks[:, torch.tensor(taken).argsort()]
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
    ordered = {modality: specs[modality] for modality in reliability.sensors}
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

"""Activation groups: one activation with all layers that read it quantized.

Layers that read one activation share its quantization, so it is chosen once. A group also tells
where its activation comes from: a LayerNormalization that nothing else reads can absorb channel
smoothing at no cost, and pixels that operators only moved since the input are whole 8-bit values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_engines.graph.types import MOVEMENT
from fasdk_engines.quantization.graph.layers import ExclusionReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.quantization.graph.layers import WeightedNode

_PASSED_THROUGH = MOVEMENT | {"Where"}  # Where takes some values from each side


@dataclass(frozen=True)
class PlaneNormalization:
    """Normalization of one image plane: pixel value = value * std + mean.

    Attributes:
        mean: Mean, in 8-bit pixel values.
        std: Standard deviation, in 8-bit pixel values.
        missing: Normalized value that stands for an absent modality.
    """

    mean: float
    std: float
    missing: float


@dataclass(frozen=True)
class ActivationGroup:
    """One activation and the layers that can read it in INT8.

    Attributes:
        activation: Name of the activation.
        channel_axis: Axis of its channels, -1 or 1.
        quantized_layers: The layers that can read it in INT8, in graph order.
        foldable_norm: Name of the LayerNormalization that writes it, if all its readers are
            `quantized_layers` or `float_consumers`; else empty.
        float_consumers: Linear layers that read it and stay in floating point in any case.
        planes: Normalization of the pixel planes it consists of; empty where it holds anything
            else.
    """

    activation: str
    channel_axis: int
    quantized_layers: tuple[WeightedNode, ...]
    foldable_norm: str
    float_consumers: tuple[WeightedNode, ...]
    planes: tuple[PlaneNormalization, ...]

    @property
    def pads(self) -> tuple[int, int, int, int] | None:
        """Zero padding (top, left, bottom, right) that its layers share; None where they differ."""
        pads = {(0, 0, 0, 0) if x.window is None else x.window.pads for x in self.quantized_layers}
        return pads.pop() if len(pads) == 1 else None


def find_activation_groups(
    model: onnx.ModelProto,
    layers: Sequence[WeightedNode],
    specs: Mapping[Modality, PreprocessSpec],
) -> list[ActivationGroup]:
    """Return the groups of all layers that can compute in INT8, in graph order.

    Args:
        model: Float32 graph.
        layers: Linear and Conv layers of the graph.
        specs: Preprocessing by modality; it says how pixels are normalized.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    outputs = {output.name for output in model.graph.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    planes = {m.value: _planes(spec) for m, spec in specs.items()}
    by_activation: dict[tuple[str, int], list[WeightedNode]] = {}
    for layer in layers:
        if layer.layer.quantized:
            by_activation.setdefault((layer.activation, layer.channel_axis), []).append(layer)
    groups = []
    for (activation, axis), quantized in by_activation.items():
        others = [
            x
            for x in layers
            if x.activation == activation
            and not x.layer.quantized
            and x.layer.operator in ("MatMul", "Gemm")
            and x.layer.reason is not ExclusionReason.NOT_ONE_MATRIX
        ]
        linear = sorted(x.layer.name for x in (*quantized, *others))
        producer = producers.get(activation)
        foldable = (
            producer is not None
            and producer.op_type == "LayerNormalization"
            and axis == -1
            and activation not in outputs
            and sorted(readers[activation]) == linear
            and constants.issuperset(producer.input[1:])
            and len(producer.input) == 3
        )
        groups.append(
            ActivationGroup(
                activation,
                axis,
                tuple(quantized),
                producer.name if foldable and producer is not None else "",
                tuple(others) if foldable else (),
                tuple(sorted(_sources(activation, producers, constants, planes), key=repr)),
            )
        )
    return groups


def _planes(spec: PreprocessSpec) -> frozenset[PlaneNormalization]:
    return frozenset(
        PlaneNormalization(mean, std, spec.missing_value)
        for mean, std in zip(spec.mean, spec.std, strict=True)
    )


def _sources(
    activation: str,
    producers: Mapping[str, onnx.NodeProto],
    constants: set[str],
    planes: Mapping[str, frozenset[PlaneNormalization]],
) -> frozenset[PlaneNormalization]:
    """Return the image planes an activation consists of, or none where an operator changed them."""
    found: set[PlaneNormalization] = set()
    waiting, seen = [activation], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name in constants:
            continue
        seen.add(name)
        node = producers.get(name)
        if node is None:
            if name not in planes:
                return frozenset()
            found |= planes[name]
        elif node.op_type not in _PASSED_THROUGH:
            return frozenset()
        else:
            first = 1 if node.op_type == "Where" else 0
            last = len(node.input) if node.op_type in ("Concat", "Where") else first + 1
            waiting += node.input[first:last]
    return frozenset(found)

"""Group the layers that read one activation: they share its quantization, so it is chosen once.

A site also knows where its activation comes from: a LayerNormalization read by nothing else takes
scales and shifts for free, and pixels moved but not changed since the input are whole levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_engines.graph.types import MOVEMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec
    from fasdk_engines.quantization.graph.layers import WeightedNode

_HANDED_ON = MOVEMENT | {"Where"}  # Where takes some values from each side


@dataclass(frozen=True)
class Plane:
    """How one image plane was normalized: level = value * std + mean.

    Attributes:
        mean: In 8-bit levels.
        std: In 8-bit levels.
        missing: The value that stands for an absent modality.
    """

    mean: float
    std: float
    missing: float


@dataclass(frozen=True)
class Site:
    """One activation and the layers that may read it in eight bits.

    Attributes:
        value: Name of the activation.
        channel_axis: Axis of its channels, -1 or 1.
        members: The layers, in graph order.
        norm: Name of the LayerNormalization that writes it, if all its readers are `members` or
            `bystanders`; else empty.
        bystanders: Linear layers that read it and stay in floating point anyway.
        planes: How the pixels it consists of were normalized; empty where it holds anything else.
    """

    value: str
    channel_axis: int
    members: tuple[WeightedNode, ...]
    norm: str
    bystanders: tuple[WeightedNode, ...]
    planes: tuple[Plane, ...]

    @property
    def pads(self) -> tuple[int, int, int, int] | None:
        """Zero padding its readers share; None where they differ."""
        pads = {(0, 0, 0, 0) if m.window is None else m.window.pads for m in self.members}
        return pads.pop() if len(pads) == 1 else None


def find_sites(
    model: onnx.ModelProto,
    layers: Sequence[WeightedNode],
    specs: Mapping[Modality, PreprocessSpec],
) -> list[Site]:
    """Return the sites of all layers that may compute in eight bits, in graph order."""
    producers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    outputs = {output.name for output in model.graph.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    planes = {m.value: _planes(spec) for m, spec in specs.items()}
    members: dict[tuple[str, int], list[WeightedNode]] = {}
    for layer in layers:
        if layer.layer.quantized:
            members.setdefault((layer.value, layer.channel_axis), []).append(layer)
    sites = []
    for (value, axis), group in members.items():
        others = [
            x
            for x in layers
            if x.value == value
            and not x.layer.quantized
            and x.layer.operator in ("MatMul", "Gemm")
            and x.layer.reason != "its weight is not one matrix"
        ]
        linear = sorted(x.layer.name for x in (*group, *others))
        producer = producers.get(value)
        foldable = (
            producer is not None
            and producer.op_type == "LayerNormalization"
            and axis == -1
            and value not in outputs
            and sorted(readers[value]) == linear
            and constants.issuperset(producer.input[1:])
            and len(producer.input) == 3
        )
        sites.append(
            Site(
                value,
                axis,
                tuple(group),
                producer.name if foldable and producer is not None else "",
                tuple(others) if foldable else (),
                tuple(sorted(_sources(value, producers, constants, planes), key=repr)),
            )
        )
    return sites


def _planes(spec: PreprocessSpec) -> frozenset[Plane]:
    return frozenset(
        Plane(mean, std, spec.missing_value) for mean, std in zip(spec.mean, spec.std, strict=True)
    )


def _sources(
    value: str,
    producers: Mapping[str, onnx.NodeProto],
    constants: set[str],
    planes: Mapping[str, frozenset[Plane]],
) -> frozenset[Plane]:
    """Return the planes a value is made of, or none where an operator has changed them."""
    found: set[Plane] = set()
    waiting, seen = [value], set()
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
        elif node.op_type not in _HANDED_ON:
            return frozenset()
        else:
            first = 1 if node.op_type == "Where" else 0
            last = len(node.input) if node.op_type in ("Concat", "Where") else first + 1
            waiting += node.input[first:last]
    return frozenset(found)

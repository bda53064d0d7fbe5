"""Check of a graph against the operators that the oldest supported TensorRT parses.

Building a plan with a newer compiler proves nothing about the oldest parser; its published table
does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.backends.tensorrt.versions import OLDEST
from fasdk.errors import ExportError
from fasdk_engines.graph.operators import (
    ATTRIBUTE_CHOICES,
    CONSTANT_INPUTS,
    FIXED_ATTRIBUTES,
    MAX_IR_VERSION,
    MAX_OPSET,
    MIN_OPSET,
    ONE_OUTPUT,
    OPERATOR_TYPES,
    POOLS,
    VALUE_TYPES,
)
from fasdk_engines.graph.types import holds_graph, infer_types, label, parse_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx

    from fasdk_engines.graph.types import ValueType

_RANDOM = frozenset(
    [
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ]
)
_NAMED = 3  # findings an error spells out


@dataclass(frozen=True)
class _Finding:
    """One thing for which a graph is refused.

    Attributes:
        text: Node, weight, input or output, and what is wrong with it.
        by_tensorrt: Whether the oldest supported TensorRT would refuse it; otherwise no bundle may
            hold it, whatever runs it.
    """

    text: str
    by_tensorrt: bool = True


def lint_tensorrt(graph: bytes) -> None:
    """Refuse a graph the oldest supported TensorRT would not take, or no deployment graph.

    Checked: an opset that release takes, standard operators only, each in its support table with
    the types it is used with, the table's restrictions, no random or training node, no control
    flow, weights inside the file, and one symbolic batch axis that comes first in every input and
    output.

    Source: onnx-tensorrt's operator support matrix; see `operators`.

    Raises:
        ExportError: Names the first offending nodes and what is wrong with each.
    """
    model = parse_graph(graph)
    lint_operators(model)
    # Types can be inferred only once every operator is known to be ONNX's own.
    types = infer_types(model)
    _refuse([*_type_problems(model, types), *_border_problems(model)])


def lint_operators(model: onnx.ModelProto) -> None:
    """Refuse what `lint_tensorrt` refuses of the file and its operators, before types are known.

    Raises:
        ExportError: Names the first offending nodes and what is wrong with each.
    """
    for finding in _file_problems(model):
        _refuse([finding])
    _refuse([*_operator_problems(model)])


def _refuse(findings: Sequence[_Finding]) -> None:
    if not findings:
        return
    by_tensorrt = findings[0].by_tensorrt
    texts = [finding.text for finding in findings if finding.by_tensorrt is by_tensorrt]
    more = f" (and {len(texts) - _NAMED} more)" if len(texts) > _NAMED else ""
    who = (
        f"TensorRT {OLDEST} would refuse the graph"
        if by_tensorrt
        else "no bundle holds such a graph"
    )
    raise ExportError(f"{who}: {'; '.join(texts[:_NAMED])}{more}")


def _file_problems(model: onnx.ModelProto) -> Iterator[_Finding]:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not MIN_OPSET <= opset <= MAX_OPSET:
        yield _Finding(
            f"opset {opset}, expected {MIN_OPSET} to {MAX_OPSET}: export with opset {MAX_OPSET}"
        )
    if model.ir_version > MAX_IR_VERSION:
        yield _Finding(f"ONNX IR version {model.ir_version}, expected at most {MAX_IR_VERSION}")
    for function in model.functions:
        yield _Finding(f"local function {function.name!r}: inline it", by_tensorrt=False)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            yield _Finding(
                f"weight {tensor.name!r} lies outside the file: export one file", by_tensorrt=False
            )
    if model.graph.sparse_initializer:
        yield _Finding("sparse weights: export them dense")


def _operator_problems(model: onnx.ModelProto) -> Iterator[_Finding]:
    constant = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constant.update(node.output)
        if node.domain not in ("", "ai.onnx"):
            yield _Finding(
                f"node {label(node)} is of domain {node.domain!r}: only ONNX's own operators load",
                by_tensorrt=False,
            )
        elif node.op_type in _RANDOM:
            yield _Finding(
                f"node {label(node)} is random or for training: export in eval mode",
                by_tensorrt=False,
            )
        elif holds_graph(node):
            yield _Finding(
                f"node {label(node)} is control flow: export without it", by_tensorrt=False
            )
        elif node.op_type not in OPERATOR_TYPES:
            yield _Finding(f"node {label(node)} is not a supported operator")
        else:
            yield from _restriction_problems(node, constant)


def _restriction_problems(node: onnx.NodeProto, constant: set[str]) -> Iterator[_Finding]:
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    slot, operand = CONSTANT_INPUTS.get(node.op_type, (len(node.input), ""))
    if slot < len(node.input) and node.input[slot] and node.input[slot] not in constant:
        yield _Finding(f"node {label(node)}: {operand} must be a constant")
    if node.op_type in ONE_OUTPUT and any(node.output[1:]):
        yield _Finding(f"node {label(node)}: only the first output is supported")
    for name, value in FIXED_ATTRIBUTES.get(node.op_type, {}).items():
        if attributes.get(name, value) != value:
            yield _Finding(f"node {label(node)}: {name} is {attributes[name]}, expected {value}")
    for name, choices in ATTRIBUTE_CHOICES.get(node.op_type, {}).items():
        word = attributes.get(name)
        if word is not None and word.decode() not in choices:
            yield _Finding(f"node {label(node)}: {name} is {word.decode()!r}")
    if node.op_type in POOLS:
        if len(attributes.get("kernel_shape", [])) not in (2, 3):
            yield _Finding(f"node {label(node)}: only 2-D and 3-D pooling is supported")
        if any(d != 1 for d in attributes.get("dilations", [])):
            yield _Finding(f"node {label(node)}: dilations must all be 1")


def _type_problems(model: onnx.ModelProto, types: Mapping[str, ValueType]) -> Iterator[_Finding]:
    import onnx

    def name_of(value: str) -> str:
        return onnx.TensorProto.DataType.Name(types[value].element) if value in types else "?"

    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    for node in model.graph.node:
        operands = [n for n in (*node.input, *node.output) if n]
        for value in operands:
            if name_of(value) not in VALUE_TYPES:
                yield _Finding(
                    f"node {label(node)}: {value!r} is {name_of(value)}, which TensorRT lacks"
                )
                break
        else:
            for value in _data_operands(node, opset):
                if name_of(value) not in OPERATOR_TYPES[node.op_type]:
                    yield _Finding(
                        f"node {label(node)}: {value!r} is {name_of(value)}, expected one of "
                        f"{', '.join(sorted(OPERATOR_TYPES[node.op_type]))}"
                    )
                    break


def _data_operands(node: onnx.NodeProto, opset: int) -> list[str]:
    """Return the operands the table's types speak of, indices, axes and masks left out."""
    import onnx

    schema = onnx.defs.get_schema(node.op_type, opset)
    formal = [schema.inputs[min(i, len(schema.inputs) - 1)] for i in range(len(node.input))]
    inputs = list(zip(node.input, (f.type_str for f in formal), strict=True))
    outputs = list(zip(node.output, (o.type_str for o in schema.outputs), strict=False))
    if node.op_type in ("Cast", "Where") or not inputs:
        chosen = inputs + outputs
    else:
        chosen = [pair for pair in inputs + outputs if pair[1] == inputs[0][1]]
    return [name for name, _ in chosen if name]


def _border_problems(model: onnx.ModelProto) -> Iterator[_Finding]:
    """Find inputs and outputs whose shape is not [batch, fixed, ...]."""
    weights = {tensor.name for tensor in model.graph.initializer}
    symbols = set()
    for value in (*model.graph.input, *model.graph.output):
        if value.name in weights:
            continue
        extents = value.type.tensor_type.shape.dim
        if not extents or not extents[0].dim_param:
            found = extents[0].dim_value if extents else "no axis at all"
            yield _Finding(
                f"{value.name!r}: the first axis is {found}, expected a symbolic batch",
                by_tensorrt=False,
            )
            continue
        symbols.add(extents[0].dim_param)
        for axis, extent in enumerate(extents[1:], start=1):
            if not extent.HasField("dim_value") or extent.dim_value < 1:
                yield _Finding(
                    f"{value.name!r}: axis {axis} is not fixed: only the batch may vary",
                    by_tensorrt=False,
                )
                break
    if len(symbols) > 1:
        yield _Finding(
            f"inputs and outputs have different batch axes: {', '.join(sorted(symbols))}",
            by_tensorrt=False,
        )

"""Names and shapes of an imported graph's inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.errors import ExportError
from fasdk.preprocess import PRESENCE
from fasdk_engines.graph.export import BATCH
from fasdk_engines.graph.types import infer_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from fasdk_engines.models.base import Family
    from fasdk_engines.onnx_import.description import ImportDescription

LOGITS, RELIABILITY = "logits", "reliability"
SCORE_OUTPUT = "fasdk_answer"  # name of the described output until logits are made of it
FLOAT = 1  # onnx.TensorProto.FLOAT, a fixed part of the file format


def bind_inputs(
    model: onnx.ModelProto, description: ImportDescription, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Give every input its described shape with a symbolic batch; return new names by the file's.

    Raises:
        ExportError: An input is absent, left over, of another type or shape, or of a fixed batch.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):  # older files list weights as inputs, too
        if graph.input[index].name in weights:
            del graph.input[index]
    inputs = {value.name: value for value in graph.input}
    wanted = {
        (description.inputs[m].graph_input or m.value): m.value for m in description.modalities
    }
    if description.presence is not None:
        wanted[description.presence] = PRESENCE
    if len(wanted) != len(shapes):
        raise ExportError("the description feeds one graph input twice: name each once")
    for name, new in wanted.items():
        if name not in inputs:
            where = "presence" if new == PRESENCE else f"inputs.{new}.graph_input"
            raise ExportError(
                f"the graph has no input {name!r}, only {', '.join(map(repr, inputs))}: "
                f"correct {where} in the description"
            )
        _bind_input(inputs[name], shapes[new])
    left = [name for name in inputs if name not in wanted]
    if left:
        raise ExportError(
            f"nothing is described for graph input {left[0]!r}: every input needs a modality"
        )
    ordered = [type(inputs[name]).FromString(inputs[name].SerializeToString()) for name in wanted]
    del graph.input[:]
    graph.input.extend(ordered)
    return wanted


def select_outputs(model: onnx.ModelProto, description: ImportDescription) -> dict[str, str]:
    """Keep only the described outputs, scores first; return new names by the file's.

    Raises:
        ExportError: An output is absent, or it is not clear which one holds the scores.
    """
    graph, described = model.graph, description.output
    outputs = [value.name for value in graph.output]
    held = ", ".join(map(repr, outputs))
    others = [name for name in outputs if name != described.reliability]
    if described.name is None and len(others) != 1:
        raise ExportError(f"the graph has outputs {held}: say which one in output.name")
    answer = described.name or others[0]
    for field, name in (("name", answer), ("reliability", described.reliability)):
        if name is not None and name not in outputs:
            raise ExportError(
                f"the graph has no output {name!r}, only {held}: correct output.{field} in the "
                "description"
            )
        if name is not None and name in {value.name for value in graph.input}:
            raise ExportError(f"output {name!r} is an input, so nothing is computed")
    if answer == described.reliability:
        raise ExportError(f"output {answer!r} cannot be both the scores and the reliability")
    names = {answer: SCORE_OUTPUT}
    if described.reliability is not None:
        names[described.reliability] = RELIABILITY
    kept = {value.name: value for value in graph.output if value.name in names}
    values = [type(kept[name]).FromString(kept[name].SerializeToString()) for name in names]
    for value in values:
        value.type.tensor_type.ClearField("shape")  # inferred again, from the described shapes
    del graph.output[:]
    graph.output.extend(values)
    del graph.value_info[:]
    return names


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values; a value that already has one of the new names gets another."""
    reserved = {*names.values(), LOGITS}
    values = {n for node in graph.node for n in (*node.input, *node.output)}
    values |= {tensor.name for tensor in graph.initializer} | {v.name for v in graph.output}
    moved = {name: f"{name}_in_file" for name in values & reserved if name not in names}
    while set(moved.values()) & (values | reserved):
        moved = {name: f"{new}_" for name, new in moved.items()}
    substitute(graph, {**moved, **names})


def substitute(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    """Replace names of values wherever they occur."""
    for node in graph.node:
        for group in (node.input, node.output):
            for index, name in enumerate(group):
                group[index] = renamed.get(name, name)
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = renamed.get(named.name, named.name)


def check_score_output(model: onnx.ModelProto, description: ImportDescription) -> None:
    """Check that the score output is one float32 row per capture.

    Raises:
        ExportError: It is of another type or shape.
    """
    import onnx

    found = infer_types(model).get(SCORE_OUTPUT)
    given = description.output.name or "output"
    kind = description.output.kind
    if found is None or found.shape is None:
        raise ExportError(f"the shape of {given!r} cannot be inferred: export with fixed sizes")
    if found.element != FLOAT:
        raise ExportError(
            f"output {given!r} is {onnx.TensorProto.DataType.Name(found.element)}, expected FLOAT"
        )
    if kind.is_one_score:
        fits, expected = found.shape[1:] in ((), (1,)), "[batch] or [batch, 1]"
    else:
        fits = found.shape[1:] == (len(description.labels),)
        expected = f"[batch, {len(description.labels)}], one column a label"
    if not fits or found.shape[:1] == ():
        extents = ", ".join("?" if e is None else str(e) for e in found.shape)
        raise ExportError(
            f"output {given!r} is [{extents}], expected {expected}, for kind {kind.value!r}: "
            "correct the description, or reduce a map to scores in the graph"
        )


def shape_outputs(model: onnx.ModelProto, family: Family) -> None:
    """Declare the outputs' shapes as inferred.

    Raises:
        ExportError: An output is not float32 [batch, columns].
    """
    import onnx

    types = infer_types(model)
    columns = (len(family.labels), len(family.modalities))
    for value, count in zip(model.graph.output, columns, strict=False):
        found = types[value.name]
        if found.shape is None or found.element != FLOAT or found.shape[1:] != (count,):
            raise ExportError(
                f"output {value.name!r} is not float32 [batch, {count}] but "
                f"{onnx.TensorProto.DataType.Name(found.element)} {found.shape}"
            )
        if found.shape[0] is not None:
            raise ExportError(
                f"the graph fixes the batch of {value.name!r} at {found.shape[0]}: export with a "
                "dynamic first axis and no reshape to a fixed batch"
            )
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, FLOAT, [BATCH, count]))


def _bind_input(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != FLOAT:
        found = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ExportError(
            f"input {value.name!r} is {found}, expected FLOAT: export the float32 model"
        )
    extents = list(tensor.shape.dim)
    expected = f"[batch, {', '.join(map(str, shape))}]"
    fits = len(extents) == len(shape) + 1 and all(
        not found.HasField("dim_value") or found.dim_value == extent
        for found, extent in zip(extents[1:], shape, strict=True)
    )
    if not fits:
        found = ", ".join(str(e.dim_value) if e.HasField("dim_value") else "?" for e in extents)
        raise ExportError(
            f"input {value.name!r} is [{found}], expected {expected}: "
            "correct the description's sizes, or export with that layout"
        )
    if extents[0].HasField("dim_value"):
        raise ExportError(
            f"input {value.name!r} fixes the batch at {extents[0].dim_value}: export with a "
            f"dynamic first axis, in torch dynamic_axes={{{value.name!r}: {{0: 'batch'}}}}"
        )
    extents[0].dim_param = BATCH
    for axis, extent in zip(extents[1:], shape, strict=True):
        axis.dim_value = extent

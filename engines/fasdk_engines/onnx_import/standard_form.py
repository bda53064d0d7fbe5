"""Conversion of an ONNX file to standard form: one opset range, plain weights, float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk_engines.graph.editing import (
    all_graphs,
    all_nodes,
    copy_of,
    fresh_name,
    replace_nodes,
)
from fasdk_engines.graph.operators import MAX_IR_VERSION, OPERATOR_TYPES
from fasdk_engines.graph.types import label
from fasdk_engines.onnx_import.interpretation import element_name, opset_of

if TYPE_CHECKING:
    import onnx

# Opsets that every later step of a build is written for. The first has LayerNormalization.
OLDEST_OPSET, NEWEST_OPSET = 17, 19
OLDEST_FILE_OPSET = 9  # what TensorRT documents; older operators mean other things

_QUANTIZED = frozenset(
    [
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    ]
)
# ONNX infers no shapes for it in the opsets of later steps, and opset 21 changed its meaning.
_WRITTEN_OUT = frozenset(["GroupNormalization"])
_LARGEST_ROUNDS = 8  # a function may call functions
_ASYMMETRIC_OPSET = 10  # up to here Resize maps pixels without an attribute that says how
_GRID_MODES = {b"linear": b"bilinear", b"cubic": b"bicubic"}  # opset 20's names and 19's


def refuse_quantized(model: onnx.ModelProto) -> None:
    """Refuse a file whose weights or activations are in 8 bits already.

    Raises:
        ExportError: It names the first such node.
    """
    for node in all_nodes(model):
        if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
            raise ExportError(
                f"node {label(node)} makes this a quantized file: give the float32 file it was "
                "made from, and quantize it here with --precision int8 --calibration LIST"
            )


def simplify(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a model's equal with float32 weights and the operators of one graph.

    Local functions are inlined, sparse weights made dense, weights that are listed as inputs left
    out there, Dropout nodes of inference mode removed, and float16 and float64 made float32.

    Returns:
        The model, a copy, and a plain line for each thing that was converted.

    Raises:
        ExportError: The opset is out of range, or a function cannot be inlined.
    """
    opset = opset_of(model)
    if opset < OLDEST_FILE_OPSET:
        raise ExportError(
            f"opset {opset} is older than {OLDEST_FILE_OPSET}, the oldest that can be converted: "
            f"export again with opset {OLDEST_OPSET}"
        )
    newest = _newest_opset()
    if opset > newest:
        raise ExportError(
            f"opset {opset} is newer than {newest}, the newest that the installed onnx knows: "
            f"export with opset {NEWEST_OPSET}"
        )
    copy = copy_of(model)
    notes: list[str] = []
    if copy.functions:
        copy = _inline_local_functions(copy)
        notes.append(f"{len(model.functions)} local functions were inlined")
    _drop_weights_from_inputs(copy)
    if copy.graph.sparse_initializer:
        notes.append(f"{len(copy.graph.sparse_initializer)} sparse weights were made dense")
        _densify(copy.graph)
    removed = _remove_dropout(copy)
    if removed:
        notes.append(f"{removed} Dropout nodes, which do nothing in inference mode, were removed")
    if copy.ir_version > MAX_IR_VERSION:
        notes.append(f"ONNX IR version {copy.ir_version} was lowered to {MAX_IR_VERSION}")
        _lower_ir(copy)
    found = _to_float32(copy)
    if found:
        notes.append(f"{' and '.join(found)} was made float32")
    return copy, tuple(notes)


def _newest_opset() -> int:
    import onnx

    return int(onnx.defs.onnx_opset_version())


def _inline_local_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model, True)
    except Exception as error:  # the converter's and the inliner's errors share no narrower base
        raise ExportError(
            f"local function {model.functions[0].name!r} cannot be inlined: "
            f"{_first_line(error)}; export without functions"
        ) from error


def _drop_weights_from_inputs(model: onnx.ModelProto) -> None:
    """Older files list weights as inputs, too."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in weights:
            del graph.input[index]
    model.ir_version = max(model.ir_version, 8)


def _densify(graph: onnx.GraphProto) -> None:
    from onnx import numpy_helper

    for sparse in graph.sparse_initializer:
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
        graph.initializer.append(numpy_helper.from_array(dense, sparse.values.name))
    del graph.sparse_initializer[:]


def _remove_dropout(model: onnx.ModelProto) -> int:
    """Remove Dropout nodes that pass their input on; those of training mode are left."""
    from onnx import helper, numpy_helper

    known = {t.name: t for g in all_graphs(model.graph) for t in g.initializer}
    for node in all_nodes(model):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                known[node.output[0]] = attribute.t
    removed = 0
    for graph in all_graphs(model.graph):
        read = {name for node in graph.node for name in node.input}
        read |= {value.name for value in graph.output}
        kept = []
        for node in graph.node:
            training = node.input[2] if len(node.input) > 2 else ""
            passes = not training or (
                training in known and not numpy_helper.to_array(known[training]).any()
            )
            masked = any(name in read for name in node.output[1:] if name)
            if node.op_type == "Dropout" and passes and not masked:
                removed += 1
                kept.append(helper.make_node("Identity", node.input[:1], node.output[:1]))
            else:
                kept.append(node)
        replace_nodes(graph, kept)
    return removed


def _lower_ir(model: onnx.ModelProto) -> None:
    """Set the IR version that every supported reader takes; element types are checked later."""
    model.ir_version = MAX_IR_VERSION
    # Where the installed onnx knows IR 11: on which devices a graph was meant to run.
    if "configuration" in model.DESCRIPTOR.fields_by_name:
        model.ClearField("configuration")
        for node in all_nodes(model):
            node.ClearField("device_configurations")


def _to_float32(model: onnx.ModelProto) -> list[str]:
    """Make float16, bfloat16 and float64 values float32, in place; return which there were."""
    from onnx import TensorProto, helper, numpy_helper

    others = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    found: set[int] = set()

    def convert(tensor: onnx.TensorProto) -> None:
        if tensor.data_type in others:
            found.add(tensor.data_type)
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    for graph in all_graphs(model.graph):
        for tensor in graph.initializer:
            convert(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in others:
                found.add(value.type.tensor_type.elem_type)
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    convert(attribute.t)
                is_type = attribute.name in ("to", "dtype", "stash_type", "output_dtype")
                if is_type and attribute.i in others:
                    found.add(attribute.i)
                    attribute.CopyFrom(helper.make_attribute(attribute.name, TensorProto.FLOAT))
    return sorted(element_name(element) for element in found)


def to_known_opset(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a model's equal in an opset of 17 to 19, and plain lines on what was converted.

    Raises:
        ExportError: There is no such equal; it names the node or the opset.
    """
    opset = opset_of(model)
    model, inlined = _inline_standard_functions(model)
    notes = (f"{inlined} were written out in simpler operators",) if inlined else ()
    if OLDEST_OPSET <= opset <= NEWEST_OPSET:
        return model, notes
    target = OLDEST_OPSET if opset < OLDEST_OPSET else NEWEST_OPSET
    import onnx

    _name_nodes(model.graph)
    try:
        # Some adapters read shapes, which the converter does not infer.
        shaped = onnx.shape_inference.infer_shapes(model)
        converted = onnx.version_converter.convert_version(shaped, target)
    except Exception as error:  # its exceptions share no narrower base
        if opset < OLDEST_OPSET:
            raise ExportError(
                f"opset {opset} cannot be converted to {target}: {_first_line(error)}; export "
                f"with opset {target}"
            ) from error
        converted = _relabeled(model, target)
    _name_nodes(converted.graph)
    if opset <= _ASYMMETRIC_OPSET:
        _map_pixels_as_before(converted.graph)
    converted.ir_version = min(max(converted.ir_version, 8), MAX_IR_VERSION)
    return converted, (*notes, f"opset {opset} was converted to {target}")


def _inline_standard_functions(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Write out operators that later steps lack and that ONNX defines by simpler ones."""
    import onnx
    from onnx import inliner

    written: set[str] = set()
    for _ in range(_LARGEST_ROUNDS):
        names = _functions_to_inline(model)
        if not names:
            break
        written |= names
        for node in all_nodes(model):
            if node.op_type in names:
                _state_defaults(node, opset_of(model))
        # The inliner reads the types of weights from the inputs alone.
        weights = [
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
            for t in model.graph.initializer
        ]
        model.graph.input.extend(weights)
        try:
            model = inliner.inline_selected_functions(
                model, [("", name) for name in sorted(names)], inline_schema_functions=True
            )
        except Exception as error:  # its exceptions share no narrower base
            raise ExportError(
                f"operator {min(names)} cannot be written out in simpler ones: "
                f"{_first_line(error)}; export with opset {NEWEST_OPSET}"
            ) from error
        _drop_weights_from_inputs(model)
        del model.functions[:]
        # A function's body states the opset it was written in, which the model's own may equal.
        opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        others = [o for o in model.opset_import if o.domain not in ("", "ai.onnx")]
        del model.opset_import[:]
        model.opset_import.extend([onnx.helper.make_opsetid("", opset), *others])
    return model, ", ".join(sorted(written - {"CastLike"}))


def _functions_to_inline(model: onnx.ModelProto) -> set[str]:
    import onnx

    opset = opset_of(model)
    names = set()
    for name in {n.op_type for n in all_nodes(model) if n.domain in ("", "ai.onnx")}:
        try:
            schema = onnx.defs.get_schema(name, opset)
        except Exception:  # noqa: BLE001, S112 - the lint refuses what no such opset has
            continue
        is_function: bool = schema.has_function or schema.has_context_dependent_function  # type: ignore[attr-defined]
        if is_function and (name not in OPERATOR_TYPES or name in _WRITTEN_OUT):
            names.add(name)
    return names


def _state_defaults(node: onnx.NodeProto, opset: int) -> None:
    """Write an operator's default attributes into a node; a function's body reads them."""
    import onnx

    stated = {attribute.name for attribute in node.attribute}
    for name, formal in onnx.defs.get_schema(node.op_type, opset).attributes.items():
        if name not in stated and formal.default_value.type:
            node.attribute.append(formal.default_value)


def _relabeled(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a model with an older opset where each node means the same in it.

    Newer versions of most operators only take more types; what differs otherwise shows in the
    attributes and inputs, and in the comparison with the file.
    """
    import onnx

    for node in all_nodes(model):
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "GridSample":
            for attribute in node.attribute:
                if attribute.name == "mode":
                    attribute.s = _GRID_MODES.get(attribute.s, attribute.s)
        try:
            schema = onnx.defs.get_schema(node.op_type, opset)
        except Exception as error:
            raise ExportError(
                f"node {label(node)} is of opset {opset_of(model)} and has no equal in {opset}: "
                f"export with opset {opset}"
            ) from error
        unknown = [a.name for a in node.attribute if a.name not in schema.attributes]
        if unknown or len(node.input) > schema.max_input:
            what = f"attribute {unknown[0]}" if unknown else "its last input"
            raise ExportError(
                f"node {label(node)} has no equal in opset {opset}, which lacks {what}: export "
                f"with opset {opset}"
            )
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    return model


def _map_pixels_as_before(graph: onnx.GraphProto) -> None:
    """Give Resize nodes of opset 10 the mapping they had, which is not the later default."""
    from onnx import helper

    for node in graph.node:
        if node.op_type == "Resize":
            kept = [a for a in node.attribute if a.name == "mode"]
            copies = [type(a).FromString(a.SerializeToString()) for a in kept]
            del node.attribute[:]
            node.attribute.extend(copies)
            node.attribute.append(
                helper.make_attribute("coordinate_transformation_mode", "asymmetric")
            )
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, as ONNX Runtime wants it; adapters give names twice."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        node.name = fresh_name(node.name or f"{node.op_type}_{index}", taken)


def _first_line(error: Exception) -> str:
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())

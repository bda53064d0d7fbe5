"""Export of a deployed module to an ONNX graph that every backend accepts.

The TorchScript-based exporter is used: full MMDG takes it 26 s of CPU time, the torch.export-based
one 57 s without its optimizer and 180 s with it, for a graph that is no smaller after the clean-up
below (torch 2.13). Both trace; neither sees control flow, and a deployed form has none.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from fasdk.errors import ExportError
from fasdk_engines.graph.types import without_weights
from fasdk_engines.models.base import Family, ModelConfig

if TYPE_CHECKING:
    import onnx

OPSET = 17  # the first with LayerNormalization; the oldest supported TensorRT reads up to 20
BATCH = "batch"
_RANDOM = ("Dropout", "Bernoulli", "Multinomial", "Random")
_LARGEST_FOLD = 4096  # elements; larger constants stay what they are computed from
_LARGEST_GRAPH = 2**31 - 2**20  # bytes; a protobuf message ends at 2 GiB


def export_graph(module: nn.Module, family: Family, config: ModelConfig) -> bytes:
    """Return a deployed module as a self-contained ONNX model, the same bytes every time.

    Inputs are float32 [batch, 3, H, W] named after the modalities, then `present`
    [batch, modalities] where the family takes presence; outputs are `logits` and, where the family
    has it, `certainty`. The batch is symbolic; there is no random node, no training mode, no
    external data, and nothing about the machine it was made on.

    Raises:
        ExportError: The module cannot be traced, or its graph is not as described.
    """
    import onnx

    inputs = family.example_inputs(config, batch=2)
    input_names = list(family.input_names)
    output_names = ["logits", "certainty"] if family.has_certainty else ["logits"]
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # It warns of its own deprecation and of shapes it cannot infer; both are checked here.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                inputs,
                buffer,  # type: ignore[arg-type]  # the hints omit file objects
                input_names=input_names,
                output_names=output_names,
                dynamic_axes={name: {0: BATCH} for name in input_names + output_names},
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"{family.name} cannot be exported: {first}") from error
    model = onnx.load_from_string(buffer.getvalue())
    del buffer
    clean(model)
    classes = (len(family.labels), len(family.modalities))
    for output, columns in zip(model.graph.output, classes, strict=False):
        output.type.tensor_type.shape.dim[1].dim_value = columns
    _check(model, family)
    return bytes(model.SerializeToString(deterministic=True))


def count_nodes(graph: bytes) -> int:
    """Return the number of nodes in a serialized ONNX model."""
    import onnx

    return len(onnx.load_from_string(graph).graph.node)


def clean(model: onnx.ModelProto) -> None:
    """Fold small constants, drop what is unread, name every node, and remove traces.

    The model is changed in place. Values keep the exporter's names, which come from the module's
    own structure.
    """
    graph = model.graph
    _constants_to_initializers(graph)
    _fold(graph, model.opset_import)
    _share_and_prune(graph)
    model.producer_name, model.producer_version, model.doc_string = "fasdk", "", ""
    del model.metadata_props[:]
    graph.name, graph.doc_string = "fasdk", ""
    del graph.value_info[:]  # inferred again by each reader, and named after the exporter
    del graph.metadata_props[:]
    for node in graph.node:
        node.name = node.name or node.output[0]  # float32 islands are chosen by name
        node.doc_string = ""
        del node.metadata_props[:]


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        values = [a for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            tensor = graph.initializer.add()
            tensor.CopyFrom(values[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    _replace_nodes(graph, kept)


def _fold(graph: onnx.GraphProto, opsets: Iterable[onnx.OperatorSetIdProto]) -> None:
    """Evaluate every node that reads nothing but small constants."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    known = {
        t.name: numpy_helper.to_array(t)
        for t in graph.initializer
        if np.prod(t.dims, dtype=np.int64) <= _LARGEST_FOLD
    }
    alias: dict[str, str] = {}
    outputs = {output.name for output in graph.output}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = alias.get(name, name)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            alias[node.output[0]] = node.input[0]
            continue
        if not all(name in known for name in node.input if name):
            kept.append(node)
            continue
        lone = helper.make_graph(
            [node],
            "fold",
            [],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
            [numpy_helper.from_array(known[name], name) for name in node.input if name],
        )
        evaluator = ReferenceEvaluator(helper.make_model(lone, opset_imports=list(opsets)))
        for name, value in zip(node.output, evaluator.run(None, {}), strict=True):
            known[name] = np.asarray(value)
            graph.initializer.append(numpy_helper.from_array(known[name], name))
    _replace_nodes(graph, kept)


def _share_and_prune(graph: onnx.GraphProto) -> None:
    """Remove unread nodes and initializers, and all but one of equal small initializers."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    _replace_nodes(graph, kept[::-1])
    first_of: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    alias: dict[str, str] = {}
    unread = []
    for index, tensor in enumerate(graph.initializer):
        if tensor.name not in needed:
            unread.append(index)
            continue
        if np.prod(tensor.dims, dtype=np.int64) > _LARGEST_FOLD:
            continue
        content = _content(tensor)
        alias[tensor.name] = first_of.setdefault(content, tensor.name)
        if alias[tensor.name] != tensor.name:
            unread.append(index)
    for index in reversed(unread):
        del graph.initializer[index]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = alias.get(name, name)


def _content(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    from onnx import numpy_helper

    return tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _check(model: onnx.ModelProto, family: Family) -> None:
    """Refuse a graph that is not what `export_graph` promises.

    Raises:
        ExportError: It names what is wrong.
    """
    import onnx

    if model.ByteSize() > _LARGEST_GRAPH:
        raise ExportError(
            f"{family.name} is {model.ByteSize() / 2**30:.2f} GiB as a graph; "
            "one ONNX file holds at most 2 GiB: choose a smaller config"
        )
    for node in model.graph.node:
        if node.domain or node.op_type.startswith(_RANDOM):
            raise ExportError(
                f"{family.name}'s graph has a {node.domain or 'random'} node "
                f"{node.op_type} ({node.name}): its deployed form must do without"
            )
        if any(a.name == "training_mode" and a.i for a in node.attribute):
            raise ExportError(f"{family.name}'s graph has {node.op_type} in training mode")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ExportError(f"{family.name}'s graph keeps weights outside the file")
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(without_weights(model), strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise ExportError(f"{family.name}'s graph is not valid ONNX: {first}") from error
    for value in [*inferred.graph.input[: len(family.input_names)], *inferred.graph.output]:
        if value.type.tensor_type.shape.dim[0].dim_param != BATCH:
            raise ExportError(f"{family.name}'s graph fixes the batch of {value.name}")

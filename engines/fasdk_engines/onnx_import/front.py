"""Graph between the tensors of the modalities and the inputs of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import ExportError
from fasdk.preprocess import PRESENCE
from fasdk_engines.graph.editing import Additions, attribute_of, rename, replace_nodes
from fasdk_engines.graph.export import BATCH
from fasdk_engines.graph.types import MOVEMENT, label
from fasdk_engines.onnx_import.description import Layout
from fasdk_engines.onnx_import.inputs import LUMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from fasdk_engines.onnx_import.inputs import FileInputs, ImageInput

FLOAT = 1  # onnx.TensorProto.FLOAT, a fixed part of the file format
# Integer types that TensorRT has inside a graph, as members of onnx.TensorProto.DataType.
_INNER_INTEGERS = {"int32": 6, "int64": 7}


def declare_sizes(model: onnx.ModelProto, inputs: FileInputs, *, batch: int | None = None) -> None:
    """Declare the extents of every image input, in place; the batch as the file has it or given."""
    images = {image.name: image for image in inputs.images}
    for value in model.graph.input:
        if value.name in images:
            image = images[value.name]
            shape: list[int | str] = [*image.shape(1)]
            if image.batched:
                shape[0] = batch or inputs.fixed_batch or BATCH
            _declare(value, shape)
    del model.graph.value_info[:]


def open_batch(model: onnx.ModelProto) -> None:
    """Make the first extent of every input the symbolic batch, in place."""
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH


def _declare(value: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    from onnx import helper

    element = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, element, shape))


def fix_inputs(model: onnx.ModelProto, inputs: FileInputs, batch: int | None) -> None:
    """Give every input its full shape, and make initializers of the constant ones, in place.

    Args:
        model: Model in standard form.
        inputs: Its inputs.
        batch: Batch of the image inputs, or None for a symbolic one.

    Raises:
        ExportError: A graph computes in an integer type that TensorRT lacks.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    elements = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    del graph.input[:]
    extent: int | str = BATCH if batch is None else batch
    for image in inputs.images:
        element = _element_inside(graph, image, elements[image.name])
        shape = [extent, *image.shape(1)[1:]] if image.batched else [*image.shape(1)]
        graph.input.append(helper.make_tensor_value_info(image.name, element, shape))
    if inputs.presence is not None:
        shape = [extent, len(inputs.description.modalities)]
        graph.input.append(
            helper.make_tensor_value_info(inputs.presence, elements[inputs.presence], shape)
        )
    for constant in inputs.constants:
        values = constant.values
        if values.dtype in (np.float16, np.float64):  # as in the rest of the graph
            values = values.astype(np.float32)
        repeat = constant.by_capture and batch is None
        name = constant.name if not repeat else f"{constant.name}_of_one"
        if constant.by_capture and batch is not None:
            values = np.ascontiguousarray(np.broadcast_to(values, (batch, *values.shape[1:])))
        graph.initializer.append(numpy_helper.from_array(values, name))
        if repeat:
            _repeat_by_capture(graph, name, constant.name, inputs, values.shape)


def join_modalities(
    model: onnx.ModelProto, inputs: FileInputs, shapes: Mapping[str, tuple[int, ...]], batch: int
) -> None:
    """Put float32 inputs [batch, 3, H, W], one a modality, in front of a file's inputs, in place.

    Args:
        model: Model whose inputs `fix_inputs` has fixed.
        inputs: Its inputs.
        shapes: Shape of each input of the result by name, without the batch axis.
        batch: Batch of the graph's own inputs; 0 where it is symbolic.
    """
    from onnx import helper

    graph = model.graph
    elements = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    direct = {
        image.name: image.modalities[0].value
        for image in inputs.images
        if image.planes == (3,)
        and image.layout is Layout.NCHW
        and image.batched
        and elements[image.name] == FLOAT
        and batch <= 1
    }
    if inputs.presence is not None:
        direct[inputs.presence] = PRESENCE
    names = {image.name for image in inputs.images} - set(direct)
    renamed = {name: f"{name}_joined" for name in names if name in shapes}
    rename(graph, {**direct, **renamed}, reserved=shapes)
    added = Additions(graph, "input")
    for image in inputs.images:
        if image.name not in direct:
            _feed(added, image, inputs, elements[image.name], batch)
            added.nodes[-1].output[0] = renamed.get(image.name, image.name)
    replace_nodes(graph, [*added.nodes, *graph.node])
    del graph.input[:]
    graph.input.extend(
        helper.make_tensor_value_info(name, FLOAT, [BATCH, *shape])
        for name, shape in shapes.items()
    )


def _feed(
    added: Additions, image: ImageInput, inputs: FileInputs, element: int, batch: int
) -> None:
    """Add the nodes that make one input of the file, the last of which gives it."""
    parts = []
    for modality, planes in zip(image.modalities, image.planes, strict=True):
        value = modality.value
        if planes == 1 and modality.value == "rgb":
            weights = LUMA[inputs.description.inputs[modality].channel_order]
            luma = np.array(weights)[None, :, None, None]
            value = added.node(
                "Mul", [value, added.constant("luma_weights", luma, np.float32)], "weighted"
            )
            # The axes of ReduceSum are an input from opset 13 on.
            axes = added.constant("channel_axis", [1])
            value = added.node("ReduceSum", [value, axes], "luma", keepdims=1)
            if image.is_integer:
                value = added.node("Round", [value], "whole_luma")
        elif planes == 1:
            bounds = [
                added.constant(name, [number])
                for name, number in (("first", 0), ("end", 1), ("channels", 1))
            ]
            value = added.node("Slice", [value, *bounds], f"{modality.value}_plane")
        parts.append(value)
    value = parts[0] if len(parts) == 1 else added.node("Concat", parts, "stack", axis=1)
    if image.layout is Layout.NHWC:
        value = added.node("Transpose", [value], "to_nhwc", perm=[0, 2, 3, 1])
    if not image.batched:
        value = added.node(
            "Reshape", [value, added.constant("image_shape", image.shape(1))], "one_image"
        )
    elif batch > 1:
        value = added.node(
            "Expand", [value, added.constant("batch_shape", image.shape(batch))], "repeated"
        )
    if element != FLOAT:
        added.node("Cast", [value], "to_integers", to=element)
    elif len(parts) == 1 and value == image.modalities[0].value:
        added.node("Identity", [value], "as_given")


def _element_inside(graph: onnx.GraphProto, image: ImageInput, element: int) -> int:
    """Return the type an input has in the imported graph.

    8- and 16-bit integers, which TensorRT has at most at a graph's border, become float32: it
    holds the levels exactly, and nodes that only move them do the same to it.

    Raises:
        ExportError: A node computes with them before they are cast.
    """
    if not image.is_integer or image.declared.element in _INNER_INTEGERS:
        return element
    moved = {image.name}
    for node in graph.node:
        if not moved.intersection(node.input):
            continue
        if node.op_type == "Cast" and attribute_of(node, "to") == FLOAT:
            node.op_type = "Identity"
            del node.attribute[:]
        elif node.op_type in MOVEMENT:
            moved.update(node.output)
        elif node.op_type not in ("Cast", "Shape", "Size"):
            raise ExportError(
                f"node {label(node)} computes in {image.declared.element}, which TensorRT does "
                "not: cast the input to float32 first in the network, and export it again"
            )
    return FLOAT


def _repeat_by_capture(
    graph: onnx.GraphProto, before: str, after: str, inputs: FileInputs, shape: tuple[int, ...]
) -> None:
    """Repeat a constant along the batch of the first image."""
    added = Additions(graph, "constant")
    image = inputs.images[0].name
    extents = added.node("Shape", [image], "image_shape")
    bounds = [added.constant("first", [0]), added.constant("end", [1])]
    batch = added.node("Slice", [extents, *bounds], "batch")
    target = added.node("Concat", [batch, added.constant("rest", list(shape[1:]))], "shape", axis=0)
    added.node("Expand", [before, target], "repeated")
    added.nodes[-1].output[0] = after
    replace_nodes(graph, [*added.nodes, *graph.node])

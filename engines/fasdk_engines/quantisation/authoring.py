"""Write a graph with Q/DQ on chosen layers, authored by ONNX Runtime's own quantiser.

The graph it is given holds each weight rounded already, on the scale it is told, so that what it
writes is what was decided, to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import PrecisionError
from fasdk_calibration.ranges import LEVELS
from fasdk_engines.quantisation.rewriting import Rewriter, drop_unread, mapped_bystander

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from fasdk_engines.quantisation.recipe import LayerRecipe, SiteRecipe


def author(
    model: onnx.ModelProto, recipes: Sequence[SiteRecipe], keep_float: frozenset[str]
) -> onnx.ModelProto:
    """Return the float32 graph with Q/DQ in front of every layer that is not in `keep_float`.

    Raises:
        PrecisionError: ONNX Runtime's quantiser refuses the graph.
    """
    rewriter = Rewriter(model)
    marked: list[tuple[str, SiteRecipe, tuple[LayerRecipe, ...]]] = []
    for recipe in recipes:
        chosen = tuple(x for x in recipe.layers if x.node.layer.name not in keep_float)
        if chosen:
            marked.append((_rewrite_site(rewriter, recipe, chosen), recipe, chosen))
    prepared = rewriter.finish()
    if not marked:
        return prepared
    return _tidy(_quantise(prepared, marked), {value for value, _, _ in marked})


def _rewrite_site(rewriter: Rewriter, recipe: SiteRecipe, chosen: tuple[LayerRecipe, ...]) -> str:
    """Prepare a site's layers; return the activation that is to be quantised."""
    site, affine = recipe.site, recipe.affine
    first = chosen[0].node.layer.name
    value = site.value
    if recipe.is_folded:
        rewriter.fold_norm(recipe)
        kept = {x.node.layer.name for x in chosen}
        for layer in recipe.layers:
            if layer.node.layer.name not in kept:
                rewriter.rewrite(layer.node, value, layer.plain, layer.plain_bias, is_padded=False)
        for node in site.bystanders:
            weight = {node.weight: rewriter.weight(node.weight)}
            rewriter.rewrite(node, value, *mapped_bystander(node, recipe, weight), is_padded=False)
    else:
        value = rewriter.map_activation(recipe, first)
    # Q/DQ goes in front of every reader of a value; other readers must not share this one.
    value = rewriter.insert(first, "Identity", [value], f"{site.value}_quantised")
    is_padded = not recipe.is_folded and affine.is_shifted
    for layer in chosen:
        rewriter.rewrite(layer.node, value, layer.rounded.values, layer.bias, is_padded=is_padded)
    return value


def _quantise(
    model: onnx.ModelProto,
    marked: Sequence[tuple[str, SiteRecipe, tuple[LayerRecipe, ...]]],
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData  # noqa: F401
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    nodes = {node.name: node for node in model.graph.node}
    overrides: dict[str, list[dict[str, Any]]] = {}
    ranges: dict[str, Any] = {}
    for value, recipe, layers in marked:
        scale = np.float32(recipe.affine.scale)
        ranges[value] = TensorData(
            lowest=np.float32(-LEVELS * scale), highest=np.float32(LEVELS * scale)
        )
        overrides[value] = [{"scale": np.array(scale), "zero_point": np.array(0, np.int8)}]
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None)
        )
        for layer in layers:
            weight = nodes[layer.node.layer.name].input[1]
            axis = 1 if layer.node.window is None else 0
            overrides[weight] = [
                {"axis": axis, "scale": np.array(s, np.float32), "zero_point": np.array(0, np.int8)}
                for s in layer.rounded.scales
            ]
    # Told that shapes are inferred, it does not write the model to disk to infer them.
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    try:
        quantiser = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=ranges,
            nodes_to_quantize=[x.node.layer.name for _, _, group in marked for x in group],
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul", "Conv"],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Conv"],
                "TensorQuantOverrides": overrides,
            },
        )
        written: onnx.ModelProto = quantiser.quantize_model()
    except Exception as error:  # it raises whatever it meets
        raise PrecisionError(f"ONNX Runtime's quantiser refuses the graph: {error}") from error
    return written


def _tidy(model: onnx.ModelProto, values: set[str]) -> onnx.ModelProto:
    """Drop the markers, sort the nodes, and leave no trace of when and by what it was written."""
    graph = model.graph
    source = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in values
    }
    nodes = [n for n in graph.node if not (n.op_type == "Identity" and n.output[0] in values)]
    known = {value.name for value in graph.input} | {t.name for t in graph.initializer} | {""}
    ordered = []
    for node in nodes:
        for slot, name in enumerate(node.input):
            node.input[slot] = source.get(name, name)
    waiting = [type(node).FromString(node.SerializeToString()) for node in nodes]
    producer = {name: node for node in waiting for name in node.output}
    done: set[str] = set()
    for node in waiting:
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [
                producer[name]
                for name in top.input
                if name not in known and name in producer and producer[name].output[0] not in done
            ]
            if missing:
                stack += missing
                continue
            stack.pop()
            if top.output[0] not in done:
                done.add(top.output[0])
                known.update(top.output)
                ordered.append(top)
    del graph.node[:]
    graph.node.extend(ordered)
    drop_unread(model)
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "fasdk", ""
    return model

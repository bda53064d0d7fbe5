"""Write a graph with Q/DQ on chosen layers, authored by ONNX Runtime's own quantizer.

The graph it is given holds each weight rounded already, on the scale it is told, so that what it
writes is what was decided, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import PrecisionError
from fasdk_calibration.calibration_set.ranges import LEVELS
from fasdk_engines.quantization.graph.graph_rewriter import Rewriter, drop_unread, mapped_bystander

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from fasdk_engines.quantization.calibration.recipe import LayerRecipe, SiteRecipe


def author(
    model: onnx.ModelProto,
    recipes: Sequence[SiteRecipe],
    keep_float: frozenset[str],
    two_term: frozenset[str] = frozenset(),
    *,
    own_pairs: bool = False,
) -> onnx.ModelProto:
    """Return the float32 graph with Q/DQ in front of every layer that is not in `keep_float`.

    Args:
        model: Float32 graph.
        recipes: What was decided about it.
        keep_float: Layers that stay in floating point.
        two_term: Layers that multiply twice: what the int8 activation left over is quantized on a
            finer scale and multiplied with the same weight.
        own_pairs: Give each reader of an activation a Q/DQ pair of its own, without which ONNX
            Runtime takes none of them into its 8-bit kernels.

    Raises:
        PrecisionError: ONNX Runtime's quantizer refuses the graph.
    """
    rewriter = Rewriter(model)
    marked: list[_Marked] = []
    for recipe in recipes:
        chosen = tuple(x for x in recipe.layers if x.node.layer.name not in keep_float)
        if chosen:
            marked += _rewrite_site(rewriter, recipe, chosen, two_term)
    prepared = rewriter.finish()
    if not marked:
        return prepared
    written = _quantize(prepared, marked, own_pairs=own_pairs)
    for mark in marked:
        if mark.left_over:
            _read_quantized(written, mark)
    return _tidy(written, {mark.value for mark in marked})


@dataclass(frozen=True)
class _Marked:
    """An activation the quantizer is told of.

    Attributes:
        value: Its name; it is read by `nodes` alone.
        scale: Its step.
        nodes: The nodes that read it, and the scales of their weights.
        left_over: Name of the Sub that takes its quantized form from it, or empty.
    """

    value: str
    scale: float
    nodes: tuple[tuple[str, LayerRecipe], ...]
    left_over: str = ""


def _rewrite_site(
    rewriter: Rewriter,
    recipe: SiteRecipe,
    chosen: tuple[LayerRecipe, ...],
    two_term: frozenset[str],
) -> list[_Marked]:
    """Prepare a site's layers; return the activations that are to be quantized."""
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
    once = tuple(x for x in chosen if x.node.layer.name not in two_term)
    twice = tuple(x for x in chosen if x.node.layer.name in two_term)
    is_padded = not recipe.is_folded and affine.is_shifted
    marked = []
    # Q/DQ goes in front of every reader of a value, so what is quantized has a name of its own.
    if once:
        coarse = rewriter.insert(first, "Identity", [value], f"{site.value}_quantized")
        for layer in once:
            rewriter.rewrite(
                layer.node, coarse, layer.rounded.values, layer.bias, is_padded=is_padded
            )
        marked.append(_Marked(coarse, affine.scale, tuple((x.node.layer.name, x) for x in once)))
    if twice:
        wide = rewriter.insert(first, "Identity", [value], f"{site.value}_first")
        rest = rewriter.insert(first, "Sub", [value, value], f"{site.value}_left_over")
        fine = rewriter.insert(first, "Identity", [rest], f"{site.value}_second")
        seconds = []
        for layer in twice:
            _, second = rewriter.rewrite(
                layer.node,
                wide,
                layer.rounded.values,
                layer.fine_bias,
                is_padded=is_padded,
                second=fine,
            )
            seconds.append((second, layer))
        firsts = tuple((x.node.layer.name, x) for x in twice)
        marked.append(_Marked(wide, affine.wide_scale, firsts, rest))
        marked.append(_Marked(fine, affine.fine_scale, tuple(seconds)))
    return marked


def _read_quantized(model: onnx.ModelProto, mark: _Marked) -> None:
    """Let the Sub that was a placeholder take the dequantized form away."""
    nodes = {name: node for node in model.graph.node for name in node.output}
    reader = next(node for node in model.graph.node if node.name == mark.nodes[0][0])
    dequantized = reader.input[0]
    nodes[mark.left_over].input[1] = dequantized


def _quantize(
    model: onnx.ModelProto, marked: Sequence[_Marked], *, own_pairs: bool
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    nodes = {node.name: node for node in model.graph.node}
    overrides: dict[str, list[dict[str, Any]]] = {}
    ranges: dict[str, Any] = {}
    for mark in marked:
        scale = np.float32(mark.scale)
        ranges[mark.value] = TensorData(
            lowest=np.float32(-LEVELS * scale), highest=np.float32(LEVELS * scale)
        )
        overrides[mark.value] = [{"scale": np.array(scale), "zero_point": np.array(0, np.int8)}]
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info(mark.value, onnx.TensorProto.FLOAT, None)
        )
        for name, layer in mark.nodes:
            axis = 1 if layer.node.window is None else 0
            overrides[nodes[name].input[1]] = [
                {"axis": axis, "scale": np.array(s, np.float32), "zero_point": np.array(0, np.int8)}
                for s in layer.rounded.scales
            ]
    # Told that shapes are inferred, it does not write the model to disk to infer them.
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    try:
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=ranges,
            nodes_to_quantize=[name for mark in marked for name, _ in mark.nodes],
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul", "Conv"],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "DedicatedQDQPair": own_pairs,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Conv"],
                "TensorQuantOverrides": overrides,
            },
        )
        written: onnx.ModelProto = quantizer.quantize_model()
    except Exception as error:  # it raises whatever it meets
        raise PrecisionError(f"ONNX Runtime's quantizer refuses the graph: {error}") from error
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

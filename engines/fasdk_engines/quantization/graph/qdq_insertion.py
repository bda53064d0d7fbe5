"""Insertion of QuantizeLinear/DequantizeLinear pairs by ONNX Runtime's own quantizer.

Weights are already rounded, and the scales are given to the quantizer, so the graph it writes holds
exactly the values that calibration chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import PrecisionError
from fasdk_calibration.calibration_set.ranges import INT8_MAX
from fasdk_engines.quantization.graph.graph_rewriter import (
    GraphRewriter,
    drop_unread,
    float_consumer_weights,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from fasdk_engines.quantization.graph.recipe import GroupRecipe, LayerRecipe


def insert_qdq(
    model: onnx.ModelProto,
    recipes: Sequence[GroupRecipe],
    float_layers: frozenset[str],
    residual_layers: frozenset[str] = frozenset(),
    *,
    dedicated_pairs: bool = False,
) -> onnx.ModelProto:
    """Return a float32 graph with Q/DQ pairs in front of every layer not in `float_layers`.

    Args:
        model: Float32 graph.
        recipes: Quantization parameters of its activation groups.
        float_layers: Names of layers that stay in floating point.
        residual_layers: Names of layers whose activation is held in two INT8 terms: the residual of
            the first is quantized on a finer scale and multiplied with the same weight.
        dedicated_pairs: Whether each reader of an activation gets a Q/DQ pair of its own. ONNX
            Runtime takes none of them into its 8-bit kernels otherwise.

    Raises:
        PrecisionError: ONNX Runtime's quantizer refuses the graph.
    """
    rewriter = GraphRewriter(model)
    activations: list[_QuantizedActivation] = []
    for recipe in recipes:
        chosen = tuple(x for x in recipe.layers if x.node.layer.name not in float_layers)
        if chosen:
            activations += _rewrite_group(rewriter, recipe, chosen, residual_layers)
    prepared = rewriter.finish()
    if not activations:
        return prepared
    quantized = _quantize(prepared, activations, dedicated_pairs=dedicated_pairs)
    for activation in activations:
        if activation.residual:
            _connect_residual(quantized, activation)
    return _tidy(quantized, {activation.name for activation in activations})


@dataclass(frozen=True)
class _QuantizedActivation:
    """An activation that the quantizer puts a Q/DQ pair behind.

    Attributes:
        name: Name of the activation; `nodes` alone read it.
        scale: Quantization step of the activation.
        nodes: Names of the nodes that read it, each with its layer's weight scales.
        residual: Name of the Sub that computes the residual of its quantized form, or empty.
    """

    name: str
    scale: float
    nodes: tuple[tuple[str, LayerRecipe], ...]
    residual: str = ""


def _rewrite_group(
    rewriter: GraphRewriter,
    recipe: GroupRecipe,
    chosen: tuple[LayerRecipe, ...],
    residual_layers: frozenset[str],
) -> list[_QuantizedActivation]:
    """Rewrite the layers of a group; return the activations that are to be quantized."""
    group, smoothing = recipe.group, recipe.smoothing
    first = chosen[0].node.layer.name
    value = group.activation
    if recipe.is_folded:
        rewriter.fold_norm(recipe)
        names = {x.node.layer.name for x in chosen}
        for layer in recipe.layers:
            if layer.node.layer.name not in names:
                rewriter.rewrite(
                    layer.node, value, layer.float_weight, layer.float_bias, is_padded=False
                )
        for node in group.float_consumers:
            weights = {node.weight: rewriter.weight(node.weight)}
            weight, bias = float_consumer_weights(node, recipe, weights)
            rewriter.rewrite(node, value, weight, bias, is_padded=False)
    else:
        value = rewriter.smooth_activation(recipe, first)
    single = tuple(x for x in chosen if x.node.layer.name not in residual_layers)
    double = tuple(x for x in chosen if x.node.layer.name in residual_layers)
    is_padded = not recipe.is_folded and smoothing.is_shifted
    activations = []
    # Q/DQ goes in front of every reader of a value, so what is quantized has a name of its own.
    if single:
        quantized = rewriter.insert(first, "Identity", [value], f"{group.activation}_quantized")
        for layer in single:
            rewriter.rewrite(
                layer.node,
                quantized,
                layer.quantized.dequantized,
                layer.bias,
                is_padded=is_padded,
            )
        nodes = tuple((x.node.layer.name, x) for x in single)
        activations.append(_QuantizedActivation(quantized, smoothing.scale, nodes))
    if double:
        coarse = rewriter.insert(first, "Identity", [value], f"{group.activation}_coarse")
        difference = rewriter.insert(first, "Sub", [value, value], f"{group.activation}_difference")
        fine = rewriter.insert(first, "Identity", [difference], f"{group.activation}_residual")
        residual_nodes = []
        for layer in double:
            _, residual_node = rewriter.rewrite(
                layer.node,
                coarse,
                layer.quantized.dequantized,
                layer.residual_bias,
                is_padded=is_padded,
                residual=fine,
            )
            residual_nodes.append((residual_node, layer))
        nodes = tuple((x.node.layer.name, x) for x in double)
        activations.append(_QuantizedActivation(coarse, smoothing.coarse_scale, nodes, difference))
        activations.append(
            _QuantizedActivation(fine, smoothing.residual_scale, tuple(residual_nodes))
        )
    return activations


def _connect_residual(model: onnx.ModelProto, activation: _QuantizedActivation) -> None:
    """Make the placeholder Sub subtract the dequantized form of its activation."""
    producers = {name: node for node in model.graph.node for name in node.output}
    reader = next(node for node in model.graph.node if node.name == activation.nodes[0][0])
    dequantized = reader.input[0]
    producers[activation.residual].input[1] = dequantized


def _quantize(
    model: onnx.ModelProto, activations: Sequence[_QuantizedActivation], *, dedicated_pairs: bool
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    nodes = {node.name: node for node in model.graph.node}
    overrides: dict[str, list[dict[str, Any]]] = {}
    ranges: dict[str, Any] = {}
    for activation in activations:
        scale = np.float32(activation.scale)
        ranges[activation.name] = TensorData(
            lowest=np.float32(-INT8_MAX * scale), highest=np.float32(INT8_MAX * scale)
        )
        overrides[activation.name] = [
            {"scale": np.array(scale), "zero_point": np.array(0, np.int8)}
        ]
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info(activation.name, onnx.TensorProto.FLOAT, None)
        )
        for name, layer in activation.nodes:
            axis = 1 if layer.node.window is None else 0
            overrides[nodes[name].input[1]] = [
                {"axis": axis, "scale": np.array(s, np.float32), "zero_point": np.array(0, np.int8)}
                for s in layer.quantized.scales
            ]
    # With this entry the quantizer does not write the model to disk to infer shapes.
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    try:
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=ranges,
            nodes_to_quantize=[name for activation in activations for name, _ in activation.nodes],
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul", "Conv"],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "DedicatedQDQPair": dedicated_pairs,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Conv"],
                "TensorQuantOverrides": overrides,
            },
        )
        written: onnx.ModelProto = quantizer.quantize_model()
    except Exception as error:  # its documentation names no exceptions
        raise PrecisionError(f"ONNX Runtime's quantizer refuses the graph: {error}") from error
    return written


def _tidy(model: onnx.ModelProto, values: set[str]) -> onnx.ModelProto:
    """Drop the Identity nodes in front of Q/DQ, sort the nodes, and delete writer metadata."""
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

"""Choice of the quantization parameters of one activation group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.quantization.calibration.gptq import gptq_round, round_to_nearest
from fasdk_engines.quantization.calibration.smoothing import (
    LayerWeight,
    SmoothingOptions,
    choose_smoothing,
    pixel_smoothing,
)
from fasdk_engines.quantization.graph.layers import weight_matrix
from fasdk_engines.quantization.graph.recipe import ChannelSmoothing, GroupRecipe, LayerRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk_engines.quantization.calibration.options import QuantizerOptions
    from fasdk_engines.quantization.calibration.statistics import ActivationStatistics
    from fasdk_engines.quantization.graph.activation_groups import ActivationGroup
    from fasdk_engines.quantization.graph.layers import WeightedNode


def make_group_recipe(
    group: ActivationGroup,
    statistics: ActivationStatistics,
    weights: Mapping[str, NDArray[np.float32]],
    options: QuantizerOptions,
) -> GroupRecipe:
    """Choose the smoothing and scale of an activation and the INT8 weights of its layers.

    Args:
        group: The activation and its layers.
        statistics: Calibration statistics of the activation.
        weights: Initializers by name.
        options: Options of the quantizer.
    """
    matrices = [
        weight_matrix(weights[node.weight], transposed=node.transposed)
        for node in group.quantized_layers
    ]
    is_pixels = options.exact_pixels and statistics.is_pixels and group.pads is not None
    is_folded = options.fold_norms and bool(group.foldable_norm)
    if is_pixels:
        smoothing = pixel_smoothing(statistics)
    else:
        grouped = any(node.groups > 1 for node in group.quantized_layers)
        allowed = SmoothingOptions(
            shift=is_folded or (options.explicit_shift and group.pads is not None),
            scale=(is_folded or options.explicit_scale) and not grouped,
            min_gain=0.0 if is_folded else options.min_gain,
        )
        layer_weights = [
            LayerWeight.of(matrix, input_channels(node, len(statistics.low)), statistics)
            for node, matrix in zip(group.quantized_layers, matrices, strict=True)
        ]
        smoothing = choose_smoothing(statistics, layer_weights, options.method, allowed)
    layers = tuple(
        _make_layer(node, matrix, statistics, smoothing, options)
        for node, matrix in zip(group.quantized_layers, matrices, strict=True)
    )
    return GroupRecipe(group, smoothing, is_pixels, is_folded, layers)


def _make_layer(
    node: WeightedNode,
    weight: NDArray[np.float64],
    statistics: ActivationStatistics,
    smoothing: ChannelSmoothing,
    options: QuantizerOptions,
) -> LayerRecipe:
    channel = input_channels(node, len(smoothing.shift))
    smoothed = weight / smoothing.factor[channel]
    if node.groups == 1:
        float_bias = smoothing.shift[channel[:, 0]] @ weight
    else:
        float_bias = np.einsum("kn,kn->n", smoothing.shift[channel], weight)
    if statistics.covariance.shape[0] == len(weight) and options.gptq:
        factor = smoothing.factor[channel[:, 0]]
        covariance = statistics.covariance.astype(np.float64) * np.outer(factor, factor)
        covariance[np.diag_indices_from(covariance)] += smoothing.noise[channel[:, 0]]
        quantized = gptq_round(smoothed, covariance, limit_pairs=options.limit_pairs)
    else:
        quantized = round_to_nearest(smoothed, limit_pairs=options.limit_pairs)
    bias = residual_bias = float_bias
    if options.bias_correction and statistics.mean.shape[0] == len(weight):
        shifted = statistics.mean - smoothing.shift[channel[:, 0]]
        mean = shifted * smoothing.factor[channel[:, 0]]
        quantized_mean = mean + smoothing.mean_error[channel[:, 0]]
        dequantized = quantized.dequantized
        bias = float_bias + mean @ smoothed - quantized_mean @ dequantized
        residual_bias = float_bias + mean @ (smoothed - dequantized)
    return LayerRecipe(node, quantized, smoothed, bias, residual_bias, float_bias)


def input_channels(node: WeightedNode, channels: int) -> NDArray[np.intp]:
    """Return the activation channel that each weight is multiplied with.

    Args:
        node: A Linear or Conv layer.
        channels: Channels C of its activation.

    Returns:
        intp [K, 1], or [K, N] where groups of outputs read different channels.
    """
    taps = 1 if node.window is None else node.window.kernel[0] * node.window.kernel[1]
    within = np.arange(node.inner) // taps
    if node.groups == 1:
        return within[:, None]
    group = np.arange(node.outputs) // (node.outputs // node.groups)
    return within[:, None] + group[None, :] * (channels // node.groups)

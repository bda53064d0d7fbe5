"""Everything quantization decided about a graph, activation by activation and layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk_engines.quantization.calibration.gptq import RoundedWeight, round_plainly, round_to_data
from fasdk_engines.quantization.calibration.smoothing import (
    Affine,
    Liberties,
    MetWeight,
    choose_affine,
    levels_affine,
)
from fasdk_engines.quantization.graph.rows import weight_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk_calibration.calibration_set.ranges import RangeMethod
    from fasdk_engines.quantization.calibration.statistics import SiteStatistics
    from fasdk_engines.quantization.graph.activation_groups import Site
    from fasdk_engines.quantization.graph.layers import WeightedNode


@dataclass(frozen=True)
class Options:
    """What the quantizer may use; each switch is there to be measured.

    Attributes:
        method: How activations' ranges are chosen.
        lossless_input: Take 8-bit pixels as they are.
        fold_norms: Map channels where a LayerNormalization absorbs it.
        explicit_shift: Map channels elsewhere too, where it pays: shifts.
        explicit_factor: The same: factors.
        price: What share of the noise power such an explicit map must take away.
        round_to_data: Round weights against the captures rather than to the nearest level.
        correct_bias: Put the mean error into the bias.
        pairs: Keep pairs of weights within what a CPU without VNNI adds exactly.
        two_term_share: Largest share of all multiply-accumulates that may be done twice, on
            activations held in two int8 terms.
        target_noise: Noise power over signal power of the logits that two terms stop at.
    """

    method: RangeMethod
    lossless_input: bool = True
    fold_norms: bool = True
    explicit_shift: bool = True
    explicit_factor: bool = True
    price: float = 0.1
    round_to_data: bool = True
    correct_bias: bool = True
    pairs: bool = False
    two_term_share: float = 0.4
    target_noise: float = 3e-6


@dataclass(frozen=True, eq=False)
class LayerRecipe:
    """One layer in eight bits.

    Attributes:
        node: Which.
        rounded: Its weight, for the mapped activation.
        plain: float64 [K, N], the weight it stands for, for the mapped activation.
        bias: float64 [N], what the mapped activation and rounding ask to be added.
        fine_bias: float64 [N], the same where the activation is held in two terms.
        plain_bias: float64 [N], what the mapped activation alone asks to be added.
    """

    node: WeightedNode
    rounded: RoundedWeight
    plain: NDArray[np.float64]
    bias: NDArray[np.float64]
    fine_bias: NDArray[np.float64]
    plain_bias: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SiteRecipe:
    """One activation in eight bits and the layers that read it.

    Attributes:
        site: Which.
        affine: Its map and scale.
        is_levels: Whether it holds 8-bit pixels as they are.
        is_folded: Whether the LayerNormalization before it absorbs the map.
        layers: In graph order.
    """

    site: Site
    affine: Affine
    is_levels: bool
    is_folded: bool
    layers: tuple[LayerRecipe, ...]


def make_site_recipe(
    site: Site,
    statistics: SiteStatistics,
    weights: Mapping[str, NDArray[np.float32]],
    options: Options,
) -> SiteRecipe:
    """Decide about one activation.

    Args:
        site: Which.
        statistics: What was seen of it.
        weights: Initializers by name.
        options: What may be used.
    """
    matrices = [
        weight_matrix(weights[member.weight], transposed=member.transposed)
        for member in site.members
    ]
    is_levels = options.lossless_input and statistics.is_levels and site.pads is not None
    is_folded = options.fold_norms and bool(site.norm)
    if is_levels:
        affine = levels_affine(statistics)
    else:
        grouped = any(member.groups > 1 for member in site.members)
        liberties = Liberties(
            shifts=is_folded or (options.explicit_shift and site.pads is not None),
            factors=(is_folded or options.explicit_factor) and not grouped,
            price=0.0 if is_folded else options.price,
        )
        met = [
            MetWeight.of(matrix, input_channels(member, len(statistics.low)), statistics)
            for member, matrix in zip(site.members, matrices, strict=True)
        ]
        affine = choose_affine(statistics, met, options.method, liberties)
    layers = tuple(
        _make_layer(member, matrix, statistics, affine, options)
        for member, matrix in zip(site.members, matrices, strict=True)
    )
    return SiteRecipe(site, affine, is_levels, is_folded, layers)


def _make_layer(
    node: WeightedNode,
    weight: NDArray[np.float64],
    statistics: SiteStatistics,
    affine: Affine,
    options: Options,
) -> LayerRecipe:
    channel = input_channels(node, len(affine.shift))
    plain = weight / affine.factor[channel]
    plain_bias = affine.shift[channel[:, 0]] @ weight if node.groups == 1 else None
    if plain_bias is None:
        plain_bias = np.einsum("kn,kn->n", affine.shift[channel], weight)
    if statistics.covariance.shape[0] == len(weight) and options.round_to_data:
        factor = affine.factor[channel[:, 0]]
        covariance = statistics.covariance.astype(np.float64) * np.outer(factor, factor)
        covariance[np.diag_indices_from(covariance)] += affine.noise[channel[:, 0]]
        rounded = round_to_data(plain, covariance, pairs=options.pairs)
    else:
        rounded = round_plainly(plain, pairs=options.pairs)
    bias = fine_bias = plain_bias
    if options.correct_bias and statistics.mean.shape[0] == len(weight):
        mapped = (statistics.mean - affine.shift[channel[:, 0]]) * affine.factor[channel[:, 0]]
        quantized = mapped + affine.offset[channel[:, 0]]
        bias = plain_bias + mapped @ plain - quantized @ rounded.values
        fine_bias = plain_bias + mapped @ (plain - rounded.values)
    return LayerRecipe(node, rounded, plain, bias, fine_bias, plain_bias)


def input_channels(node: WeightedNode, channels: int) -> NDArray[np.intp]:
    """Return which channel each weight meets, [K, 1], or [K, N] where groups see different ones."""
    taps = 1 if node.window is None else node.window.kernel[0] * node.window.kernel[1]
    within = np.arange(node.inner) // taps
    if node.groups == 1:
        return within[:, None]
    group = np.arange(node.outputs) // (node.outputs // node.groups)
    return within[:, None] + group[None, :] * (channels // node.groups)

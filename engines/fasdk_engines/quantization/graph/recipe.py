"""Quantization parameters of a graph: activation scales, channel smoothing and INT8 weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_engines.quantization.graph.activation_groups import ActivationGroup
    from fasdk_engines.quantization.graph.layers import WeightedNode


@dataclass(frozen=True, eq=False)
class ChannelSmoothing:
    """Per-channel shift and scaling of an activation before its symmetric INT8 quantization.

    q = clip(round((x - shift) * factor / scale)), with the inverse folded into the weights and
    biases that follow: SmoothQuant (Xiao et al., ICML 2023) and RepQ-ViT (Li et al., ICCV 2023).

    Attributes:
        shift: float64 [C], subtracted from each channel.
        factor: float64 [C], greater than 0, multiplied onto each channel.
        scale: Quantization step of the INT8 tensor; a float16 number.
        coarse_scale: Step of the first of two INT8 tensors, wide enough that nothing is clipped.
        residual_scale: Step of the second, which holds the residual of the first.
        noise: float64 [C], expected squared error of each channel of (x - shift) * factor.
        mean_error: float64 [C], expected error of the same.
        expected_noise: Noise power over signal power at the layers' outputs, of activation and
            weights together.
    """

    shift: NDArray[np.float64]
    factor: NDArray[np.float64]
    scale: float
    coarse_scale: float
    residual_scale: float
    noise: NDArray[np.float64]
    mean_error: NDArray[np.float64]
    expected_noise: float

    @property
    def is_shifted(self) -> bool:
        """Whether any channel is shifted."""
        return bool(np.any(self.shift != 0.0))

    @property
    def is_scaled(self) -> bool:
        """Whether any channel is scaled."""
        return bool(np.any(self.factor != 1.0))


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """An INT8 weight matrix with one scale an output.

    Attributes:
        codes: int8 [K, N], in -127..127.
        scales: float64 [N], each a float16 number.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float64]

    @property
    def dequantized(self) -> NDArray[np.float64]:
        """Codes times scales, float64 [K, N]."""
        values: NDArray[np.float64] = self.codes * self.scales
        return values


@dataclass(frozen=True, eq=False)
class LayerRecipe:
    """Quantization parameters of one layer.

    Attributes:
        node: Layer that the recipe is for.
        quantized: INT8 weight of the layer, for the smoothed activation.
        float_weight: float64 [K, N], its weight in floating point, for the smoothed activation.
        bias: float64 [N], bias to add to the layer in INT8: it undoes the shift and corrects the
            mean error of quantization.
        residual_bias: float64 [N], the same where the activation is held in two INT8 terms.
        float_bias: float64 [N], bias that undoes the shift alone, for the layer in floating point.
    """

    node: WeightedNode
    quantized: QuantizedWeight
    float_weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    residual_bias: NDArray[np.float64]
    float_bias: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupRecipe:
    """Quantization parameters of one activation and of the layers that read it.

    Attributes:
        group: The activation group.
        smoothing: Channel smoothing and scales of the activation.
        is_pixels: Whether the activation holds 8-bit pixel values, which INT8 holds exactly.
        is_folded: Whether the LayerNormalization before it absorbs the smoothing.
        layers: Recipes of the group's layers, in graph order.
    """

    group: ActivationGroup
    smoothing: ChannelSmoothing
    is_pixels: bool
    is_folded: bool
    layers: tuple[LayerRecipe, ...]

"""SmoothQuant-style channel smoothing of an activation group.

x' = (x - shift) * factor, channel by channel, and the inverse in the weights and biases that
follow: SmoothQuant (Xiao et al., ICML 2023) and RepQ-ViT (Li et al., ICCV 2023) combined. A
LayerNormalization absorbs it; elsewhere it costs one or two element-wise operators, which a GPU
fuses with the quantization behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.calibration_set.ranges import (
    INT8_MAX,
    MagnitudeHistogram,
    RangeMethod,
    squared_error,
    threshold,
)
from fasdk_engines.quantization.graph.recipe import ChannelSmoothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk_engines.quantization.calibration.statistics import ActivationStatistics

_MAGNITUDE_BINS = 2048
_SUBDIVISIONS = 4
# Exponents of a channel's range and of its weights' size in its factor; (0, 0) scales nothing.
_EXPONENTS = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (0.75, 0.25), (1.0, 0.25))
_GPTQ_NOISE = 0.4  # share of the weights' rounding noise that GPTQ leaves, measured
_HEADROOM = 1.25  # two INT8 terms have room for values beyond those seen
_OUTLIER_SHARE = 1e-4  # share of values on either side that does not decide a channel's center


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """Weight of one layer of a group, with what the expected noise is computed from.

    Attributes:
        values: float64 [K, N], the weight.
        channel: intp [K, 1], activation channel of each row; [K, N] where groups of outputs read
            different channels.
        output_variance: Variance of the layer's outputs, summed over them.
    """

    values: NDArray[np.float64]
    channel: NDArray[np.intp]
    output_variance: float

    @classmethod
    def of(
        cls,
        values: NDArray[np.float64],
        channel: NDArray[np.intp],
        statistics: ActivationStatistics,
    ) -> LayerWeight:
        """Compute the output variance of a weight from activation statistics."""
        if statistics.covariance.shape[0] == len(values):
            narrow = values.astype(np.float32)
            signal = np.sum(narrow * (statistics.covariance @ narrow), dtype=np.float64)
        else:
            signal = np.sum(_variance(statistics)[channel] * values**2)
        return cls(values, channel, float(signal))


@dataclass(frozen=True)
class SmoothingOptions:
    """Allowed operations of channel smoothing.

    Attributes:
        shift: Whether channels may be shifted.
        scale: Whether channels may be scaled.
        min_gain: Least share of the noise power, in [0, 1], that smoothing must remove to be used.
    """

    shift: bool
    scale: bool
    min_gain: float


def pixel_smoothing(statistics: ActivationStatistics) -> ChannelSmoothing:
    """Return the smoothing that makes 8-bit pixels p exact INT8 codes: (p - 128) / 128.

    The scale is a power of two, so that p - 128 is exact in float16 too. The values that stand for
    a missing modality or for padding are rounded to the nearest code.

    Args:
        statistics: Calibration statistics of an activation whose `is_pixels` is true.
    """
    factor = statistics.pixel_std / 128.0
    shift = (128.0 - statistics.pixel_mean) / statistics.pixel_std
    zero = np.zeros(len(factor))
    return ChannelSmoothing(
        shift=shift,
        factor=factor,
        scale=1.0 / 128.0,
        coarse_scale=1.0 / 128.0,
        residual_scale=1.0 / 32768.0,
        noise=zero,
        mean_error=zero,
        expected_noise=0.0,
    )


def choose_smoothing(
    statistics: ActivationStatistics,
    weights: Sequence[LayerWeight],
    method: RangeMethod,
    options: SmoothingOptions,
) -> ChannelSmoothing:
    """Return the smoothing with the least expected noise at the outputs of a group's layers.

    Args:
        statistics: Calibration statistics of the activation.
        weights: Weight of each layer of the group.
        method: Range method of the smoothed activation.
        options: Smoothing operations that are allowed.
    """
    channels = len(statistics.low)
    size = _weight_sizes(weights, channels)
    zero = np.zeros(channels)
    plain = _evaluate(statistics, weights, zero, np.ones(channels), method)
    shifts = [zero, _centers(statistics)] if options.shift else [zero]
    best = plain
    for shift in shifts:
        reach = _reach(statistics, shift)
        for range_exponent, weight_exponent in _EXPONENTS if options.scale else _EXPONENTS[:1]:
            smooth = reach**range_exponent * size**-weight_exponent
            factor = 1.0 / smooth
            factor /= np.exp(np.mean(np.log(factor)))
            candidate = _evaluate(statistics, weights, shift, factor, method)
            if candidate.expected_noise < best.expected_noise:
                best = candidate
    limit = (1.0 - options.min_gain) * plain.expected_noise
    return best if best.expected_noise <= limit else plain


def ceil_float16(value: float) -> float:
    """Return the least float16 number that is not less than a scale."""
    half = np.float16(value)
    if float(half) < value:
        half = np.nextafter(half, np.float16(np.inf))
    return float(half)


def _evaluate(
    statistics: ActivationStatistics,
    weights: Sequence[LayerWeight],
    shift: NDArray[np.float64],
    factor: NDArray[np.float64],
    method: RangeMethod,
) -> ChannelSmoothing:
    """Return the smoothing with a shift and factor, its scales chosen and its noise computed."""
    counts = statistics.counts.astype(np.float64)
    smoothed = (statistics.centers - shift[:, None]) * factor[:, None]
    edges = (np.stack([statistics.low, statistics.high]) - shift) * factor
    histogram = _magnitudes(smoothed, counts, float(np.abs(edges).max()), edges)
    scale = ceil_float16(threshold(histogram, method) / INT8_MAX)
    # Padding, masks and rectified values are often exactly 0, so 0 must be an exact INT8 code.
    shift = np.rint(shift * factor / scale) * scale / factor
    smoothed = (statistics.centers - shift[:, None]) * factor[:, None]
    share = counts / counts.sum(axis=1, keepdims=True)
    beyond = np.sign(smoothed) * np.minimum(INT8_MAX * scale - np.abs(smoothed), 0.0)
    clipped = np.sum(share * beyond**2, axis=1)
    noise = clipped + np.where(edges[1] > edges[0], scale**2 / 12.0, 0.0)
    coarse_scale = ceil_float16(_HEADROOM * float(np.abs(edges).max()) / INT8_MAX)
    return ChannelSmoothing(
        shift=shift,
        factor=factor,
        scale=scale,
        coarse_scale=coarse_scale,
        residual_scale=ceil_float16(coarse_scale / 2.0 / INT8_MAX),
        noise=noise,
        mean_error=np.sum(share * beyond, axis=1),
        expected_noise=_expected_noise(statistics, weights, factor, noise),
    )


def _magnitudes(
    smoothed: NDArray[np.float64],
    counts: NDArray[np.float64],
    limit: float,
    edges: NDArray[np.float64],
) -> MagnitudeHistogram:
    """Return the magnitudes of all channels as one histogram, each bin spread over its width."""
    limit = limit or 1.0
    width = (edges[1] - edges[0])[:, None] / smoothed.shape[1]
    total = np.zeros(_MAGNITUDE_BINS)
    for part in range(_SUBDIVISIONS):
        at = np.abs(smoothed + width * ((part + 0.5) / _SUBDIVISIONS - 0.5))
        bins = np.minimum((at * (_MAGNITUDE_BINS / limit)).astype(np.int64), _MAGNITUDE_BINS - 1)
        total += np.bincount(bins.ravel(), counts.ravel() / _SUBDIVISIONS, _MAGNITUDE_BINS)
    return MagnitudeHistogram(total, limit)


def _expected_noise(
    statistics: ActivationStatistics,
    weights: Sequence[LayerWeight],
    factor: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> float:
    """Return noise power over signal power at the outputs, summed over a group's layers."""
    variance = _variance(statistics)
    total = 0.0
    for weight in weights:
        channel, values = weight.channel, weight.values
        smoothed = values / factor[channel]
        from_activation = float(np.sum(noise[channel] * smoothed**2))
        step = np.abs(smoothed).max(axis=0) / INT8_MAX
        power = np.sum(np.broadcast_to((variance * factor**2)[channel], values.shape), axis=0)
        from_weights = _GPTQ_NOISE * float(np.sum(step**2 * power)) / 12.0
        total += (from_activation + from_weights) / max(weight.output_variance, 1e-30)
    return total


def _variance(statistics: ActivationStatistics) -> NDArray[np.float64]:
    """Return the variance of each channel, float64 [C]."""
    share = statistics.counts / statistics.counts.sum(axis=1, keepdims=True)
    mean = np.sum(share * statistics.centers, axis=1)
    variance: NDArray[np.float64] = np.sum(share * statistics.centers**2, axis=1) - mean**2
    return variance


def _weight_sizes(weights: Sequence[LayerWeight], channels: int) -> NDArray[np.float64]:
    """Return the largest weight that each channel is multiplied with, float64 [C].

    Relative to the largest of all channels, and none smaller than a thousandth.
    """
    size = np.zeros(channels)
    for weight in weights:
        channel = np.broadcast_to(weight.channel, weight.values.shape)
        np.maximum.at(size, channel.ravel(), np.abs(weight.values).ravel())
    largest = size.max() or 1.0
    return np.maximum(size / largest, 1e-3)


def _centers(statistics: ActivationStatistics) -> NDArray[np.float64]:
    """Return the middle of each channel's range without outliers, float64 [C]."""
    reached = np.cumsum(statistics.counts, axis=1, dtype=np.float64)
    reached /= reached[:, -1:]
    first = np.argmax(reached > _OUTLIER_SHARE, axis=1)
    last = np.argmax(reached >= 1.0 - _OUTLIER_SHARE, axis=1)
    centers = statistics.centers
    rows = np.arange(len(centers))
    middle: NDArray[np.float64] = 0.5 * (centers[rows, first] + centers[rows, last])
    return middle


def _reach(statistics: ActivationStatistics, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the clipping threshold of each channel quantized on its own, float64 [C].

    None is smaller than a thousandth of the largest, because an almost constant channel must not
    make the weights that read it large.
    """
    reach = np.empty(len(shift))
    centers = statistics.centers - shift[:, None]
    for index, row in enumerate(centers):
        limit = float(np.abs(row).max())
        if not limit > 0.0:
            reach[index] = 0.0
            continue
        bins = np.minimum((np.abs(row) * (256 / limit)).astype(np.int64), 255)
        counts = np.bincount(bins, statistics.counts[index].astype(np.float64), 256)
        histogram = MagnitudeHistogram(counts.astype(np.float64), limit)
        reach[index] = histogram.edges[int(np.argmin(squared_error(histogram)))]
    return np.maximum(reach, 1e-3 * (reach.max() or 1.0))

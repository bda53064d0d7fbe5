"""Choose the affine map that brings an activation's channels onto one int8 scale.

x' = (x - shift) * factor, channel by channel, and back again in the weights and the bias that
follow: SmoothQuant (Xiao et al., ICML 2023) and RepQ-ViT (Li et al., ICCV 2023) in one. A
LayerNormalization absorbs the map; elsewhere it costs one or two element-wise operators, which a
GPU fuses with the quantization behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.calibration_set.ranges import (
    LEVELS,
    MagnitudeHistogram,
    RangeMethod,
    squared_error,
    threshold,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk_engines.quantization.calibration.statistics import SiteStatistics

_MAGNITUDE_BINS = 2048
_SUBDIVISIONS = 4
# Powers of a channel's range and of its weights' size that make up its factor; the first is none.
_POWERS = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (0.75, 0.25), (1.0, 0.25))
_ROUNDED_WELL = 0.4  # what rounding against the data leaves of the weights' noise, measured
_HEADROOM = 1.25  # two terms can afford values beyond those seen
_OUTER = 1e-4  # share of values on either side that does not decide where a channel's center is


@dataclass(frozen=True, eq=False)
class Affine:
    """How an activation becomes int8: q = clip(round((x - shift) * factor / scale)).

    Attributes:
        shift: float64 [C].
        factor: float64 [C], greater than 0.
        scale: Step of the int8 tensor; a float16 number.
        wide_scale: Step of the first of two int8 tensors, wide enough that nothing is clipped.
        fine_scale: Step of the second, which holds what the first left over.
        noise: float64 [C], expected squared error of each channel of (x - shift) * factor.
        offset: float64 [C], expected error of the same.
        expected: Noise power over signal power at the layers' outputs, activation and weights.
    """

    shift: NDArray[np.float64]
    factor: NDArray[np.float64]
    scale: float
    wide_scale: float
    fine_scale: float
    noise: NDArray[np.float64]
    offset: NDArray[np.float64]
    expected: float

    @property
    def is_shifted(self) -> bool:
        """Whether any channel's zero moves."""
        return bool(np.any(self.shift != 0.0))

    @property
    def is_scaled(self) -> bool:
        """Whether any channel changes its size."""
        return bool(np.any(self.factor != 1.0))


@dataclass(frozen=True, eq=False)
class MetWeight:
    """A layer's weight and what each of its elements meets.

    Attributes:
        values: float64 [K, N].
        channel: intp [K, 1], or [K, N] where groups of outputs see different channels.
        signal: Variance of the layer's outputs, summed over them.
    """

    values: NDArray[np.float64]
    channel: NDArray[np.intp]
    signal: float

    @classmethod
    def of(
        cls, values: NDArray[np.float64], channel: NDArray[np.intp], statistics: SiteStatistics
    ) -> MetWeight:
        """Measure what a layer's outputs vary by."""
        if statistics.covariance.shape[0] == len(values):
            narrow = values.astype(np.float32)
            signal = np.sum(narrow * (statistics.covariance @ narrow), dtype=np.float64)
        else:
            signal = np.sum(_variance(statistics)[channel] * values**2)
        return cls(values, channel, float(signal))


@dataclass(frozen=True)
class Liberties:
    """What a site's map may do.

    Attributes:
        shifts: Whether channels may be shifted.
        factors: Whether channels may be scaled one against the other.
        price: What share of the noise power a map that is not free must take away.
    """

    shifts: bool
    factors: bool
    price: float


def levels_affine(statistics: SiteStatistics) -> Affine:
    """Return the map that makes 8-bit pixels whole int8 numbers: p - 128, over 128.

    The scale is a power of two, so that p - 128 is exact in float16 too; what stands for a missing
    modality or for padding is rounded to the nearest level.
    """
    factor = statistics.plane_std / 128.0
    shift = (128.0 - statistics.plane_mean) / statistics.plane_std
    nothing = np.zeros(len(factor))
    return Affine(shift, factor, 1.0 / 128.0, 1.0 / 128.0, 1.0 / 32768.0, nothing, nothing, 0.0)


def choose_affine(
    statistics: SiteStatistics,
    weights: Sequence[MetWeight],
    method: RangeMethod,
    liberties: Liberties,
) -> Affine:
    """Return the map of least expected noise at the outputs of a site's layers.

    Args:
        statistics: What was seen of the activation.
        weights: Of each layer.
        method: How the int8 range is chosen once the channels are mapped.
        liberties: What the map may do.
    """
    channels = len(statistics.low)
    size = _weight_sizes(weights, channels)
    nothing = np.zeros(channels)
    plain = _judge(statistics, weights, nothing, np.ones(channels), method)
    center = _centers(statistics)
    shifts = [nothing, center] if liberties.shifts else [nothing]
    best = plain
    for shift in shifts:
        reach = _reach(statistics, shift)
        for range_power, weight_power in _POWERS if liberties.factors else _POWERS[:1]:
            smooth = reach**range_power * size**-weight_power
            factor = 1.0 / smooth
            factor /= np.exp(np.mean(np.log(factor)))
            made = _judge(statistics, weights, shift, factor, method)
            if made.expected < best.expected:
                best = made
    return best if best.expected <= (1.0 - liberties.price) * plain.expected else plain


def half_scale(value: float) -> float:
    """Return the least float16 number that is not less than a scale."""
    half = np.float16(value)
    if float(half) < value:
        half = np.nextafter(half, np.float16(np.inf))
    return float(half)


def _judge(
    statistics: SiteStatistics,
    weights: Sequence[MetWeight],
    shift: NDArray[np.float64],
    factor: NDArray[np.float64],
    method: RangeMethod,
) -> Affine:
    counts = statistics.counts.astype(np.float64)
    mapped = (statistics.centers - shift[:, None]) * factor[:, None]
    edges = (np.stack([statistics.low, statistics.high]) - shift) * factor
    histogram = _magnitudes(mapped, counts, float(np.abs(edges).max()), edges)
    scale = half_scale(threshold(histogram, method) / LEVELS)
    # Padding, masks and rectified values are exactly 0 too often for its rounding to be noise.
    shift = np.rint(shift * factor / scale) * scale / factor
    mapped = (statistics.centers - shift[:, None]) * factor[:, None]
    share = counts / counts.sum(axis=1, keepdims=True)
    beyond = np.sign(mapped) * np.minimum(LEVELS * scale - np.abs(mapped), 0.0)
    clipped = np.sum(share * beyond**2, axis=1)
    noise = clipped + np.where(edges[1] > edges[0], scale**2 / 12.0, 0.0)
    offset = np.sum(share * beyond, axis=1)
    expected = _expected(statistics, weights, factor, noise)
    wide = half_scale(_HEADROOM * float(np.abs(edges).max()) / LEVELS)
    fine = half_scale(wide / 2.0 / LEVELS)
    return Affine(shift, factor, scale, wide, fine, noise, offset, expected)


def _magnitudes(
    mapped: NDArray[np.float64],
    counts: NDArray[np.float64],
    limit: float,
    edges: NDArray[np.float64],
) -> MagnitudeHistogram:
    """Return the magnitudes of all channels as one histogram, each bin spread over its width."""
    limit = limit or 1.0
    width = (edges[1] - edges[0])[:, None] / mapped.shape[1]
    total = np.zeros(_MAGNITUDE_BINS)
    for part in range(_SUBDIVISIONS):
        at = np.abs(mapped + width * ((part + 0.5) / _SUBDIVISIONS - 0.5))
        bins = np.minimum((at * (_MAGNITUDE_BINS / limit)).astype(np.int64), _MAGNITUDE_BINS - 1)
        total += np.bincount(bins.ravel(), counts.ravel() / _SUBDIVISIONS, _MAGNITUDE_BINS)
    return MagnitudeHistogram(total, limit)


def _expected(
    statistics: SiteStatistics,
    weights: Sequence[MetWeight],
    factor: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> float:
    """Return the noise power over the signal power, summed over a site's layers."""
    variance = _variance(statistics)
    total = 0.0
    for weight in weights:
        channel, values = weight.channel, weight.values
        mapped = values / factor[channel]
        from_activation = float(np.sum(noise[channel] * mapped**2))
        step = np.abs(mapped).max(axis=0) / LEVELS
        power = np.sum(np.broadcast_to((variance * factor**2)[channel], values.shape), axis=0)
        from_weights = _ROUNDED_WELL * float(np.sum(step**2 * power)) / 12.0
        total += (from_activation + from_weights) / max(weight.signal, 1e-30)
    return total


def _variance(statistics: SiteStatistics) -> NDArray[np.float64]:
    """Return the variance of each channel, float64 [C]."""
    share = statistics.counts / statistics.counts.sum(axis=1, keepdims=True)
    mean = np.sum(share * statistics.centers, axis=1)
    variance: NDArray[np.float64] = np.sum(share * statistics.centers**2, axis=1) - mean**2
    return variance


def _weight_sizes(weights: Sequence[MetWeight], channels: int) -> NDArray[np.float64]:
    """Return the largest weight each channel meets, float64 [C], none smaller than a thousandth."""
    size = np.zeros(channels)
    for weight in weights:
        met = np.broadcast_to(weight.channel, weight.values.shape)
        np.maximum.at(size, met.ravel(), np.abs(weight.values).ravel())
    largest = size.max() or 1.0
    return np.maximum(size / largest, 1e-3)


def _centers(statistics: SiteStatistics) -> NDArray[np.float64]:
    """Return the middle between each channel's outermost values, float64 [C]."""
    reached = np.cumsum(statistics.counts, axis=1, dtype=np.float64)
    reached /= reached[:, -1:]
    first = np.argmax(reached > _OUTER, axis=1)
    last = np.argmax(reached >= 1.0 - _OUTER, axis=1)
    centers = statistics.centers
    rows = np.arange(len(centers))
    middle: NDArray[np.float64] = 0.5 * (centers[rows, first] + centers[rows, last])
    return middle


def _reach(statistics: SiteStatistics, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the magnitude up to which each channel alone would be quantized, float64 [C].

    None is smaller than a thousandth of the largest: a channel that says nothing must not make the
    weights that read it large.
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

"""Calibration statistics of activations, streamed over the captures and cached on disk.

Each capture goes through the graph once; histograms and product sums grow as their ranges do.
Memory holds one slice of captures and the sums, never all activations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from fasdk.atomic import atomic_write
from fasdk.errors import PrecisionError
from fasdk_engines.quantization.calibration.histogram import GrowingHistogram, ProductSums
from fasdk_engines.quantization.graph.layers import channel_rows, window_rows
from fasdk_engines.quantization.graph.qdq_reference import session_with_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from fasdk.progress import Progress
    from fasdk_engines.quantization.graph.activation_groups import (
        ActivationGroup,
        PlaneNormalization,
    )
    from fasdk_engines.quantization.graph.layers import Window

BINS = 256
_FORMAT = "fasdk activation statistics 3"
_MAX_INNER = 8192  # covariances of longer products would not fit into memory
_MIN_ROWS = 16384
_PIXEL_TOLERANCE = 0.02  # in 8-bit pixel values: float32 keeps a whole value this well


@dataclass(frozen=True, eq=False)
class ActivationStatistics:
    """Statistics of one activation over the calibration captures.

    Attributes:
        low: float64 [C], least value of each channel.
        high: float64 [C], greatest value of each channel.
        counts: float32 [C, BINS], number of values in each equal part of [low, high].
        mean: float64 [K], mean of each input of a product (a Conv's K is channels times kernel).
        covariance: float32 [K, K] of the same inputs; [0, 0] where K is too large, or where the
            layers of the group have different windows.
        pixel_mean: float64 [C], mean of the normalization of each channel's pixels; empty unless
            every value is a whole 8-bit pixel value.
        pixel_std: float64 [C], standard deviation of the same normalization.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.float32]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float32]
    pixel_mean: NDArray[np.float64]
    pixel_std: NDArray[np.float64]

    @property
    def is_pixels(self) -> bool:
        """Whether every value is a whole 8-bit pixel value, normalized."""
        return self.pixel_std.size > 0

    @property
    def centers(self) -> NDArray[np.float64]:
        """Bin centers, float64 [C, BINS]."""
        width = (self.high - self.low) / BINS
        centers: NDArray[np.float64] = self.low[:, None] + width[:, None] * (np.arange(BINS) + 0.5)
        return centers


def gather_statistics(
    model: onnx.ModelProto,
    groups: Sequence[ActivationGroup],
    batches: Sequence[Mapping[str, NDArray[np.float32]]],
    *,
    cache: Path | None = None,
    captures_at_once: int = 8,
    progress: Progress | None = None,
) -> list[ActivationStatistics]:
    """Return the statistics of every activation group, in order.

    Args:
        model: Float32 graph.
        groups: Activation groups to observe.
        batches: Calibration captures, at least one, float32 [B, ...] by input name.
        cache: Folder to keep the result in; the same graph and captures are then read from it.
        captures_at_once: Captures in one run of the graph.
        progress: Receives the slices of captures done, of how many.

    Raises:
        PrecisionError: An activation is not finite.
        BackendError: ONNX Runtime refuses or fails to run the graph.
    """
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    folder = None if cache is None else cache / _digest(model, groups, batches)
    if folder is not None and (folder / "complete").exists():
        return [_load(folder, index) for index in range(len(groups))]
    found = _observe(model, groups, list(_slices(batches, captures_at_once)), count, progress)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for index, statistics in enumerate(found):
            _save(folder, index, statistics)
        with atomic_write(folder / "complete") as file:
            file.write(_FORMAT.encode())
    return found


def _observe(
    model: onnx.ModelProto,
    groups: Sequence[ActivationGroup],
    slices: Sequence[Mapping[str, NDArray[np.float32]]],
    count: int,
    progress: Progress | None,
) -> list[ActivationStatistics]:
    values = list(dict.fromkeys(group.activation for group in groups))
    session = session_with_outputs(model, values)
    observers = [_Observer(group, count) for group in groups]
    for number, part in enumerate(slices):
        seen = dict(zip(values, session.run(values, dict(part)), strict=True))
        captures = len(next(iter(part.values())))
        for observer in observers:
            observer.add(seen[observer.group.activation], captures, number)
        if progress is not None:
            progress.update("activations", number + 1, len(slices))
    return [observer.finish() for observer in observers]


def _slices(
    batches: Sequence[Mapping[str, NDArray[np.float32]]], size: int
) -> Iterator[dict[str, NDArray[np.float32]]]:
    for batch in batches:
        for start in range(0, len(next(iter(batch.values()))), size):
            yield {name: array[start : start + size] for name, array in batch.items()}


class _Observer:
    """Accumulators of one activation group, fed slice by slice."""

    def __init__(self, group: ActivationGroup, captures: int) -> None:
        self.group = group
        self._histogram = GrowingHistogram()
        self._off: dict[PlaneNormalization, NDArray[np.float64]] = {}
        windows = {node.window for node in group.quantized_layers}
        groups = {node.groups for node in group.quantized_layers}
        inner = max(node.inner for node in group.quantized_layers)
        self._window: Window | None = next(iter(windows))
        has_products = len(windows) == 1 and groups == {1} and inner <= _MAX_INNER
        self._products = ProductSums(inner) if has_products else None
        self._rows_per_capture = -(-max(_MIN_ROWS, 8 * inner) // captures)

    def add(self, value: NDArray[np.float32], captures: int, number: int) -> None:
        rows = channel_rows(value, self.group.channel_axis)
        if not np.isfinite(rows).all():
            raise PrecisionError(
                f"activation {self.group.activation!r} is not finite on a calibration capture: "
                "check the checkpoint and the captures"
            )
        self._look_for_pixels(rows)
        rng = np.random.default_rng([4, number])
        limit = self._rows_per_capture * captures
        chosen = rows if len(rows) <= limit else rows[rng.choice(len(rows), limit, replace=False)]
        self._histogram.add(chosen, rows.min(axis=0), rows.max(axis=0))
        if self._products is not None:
            if self._window is not None:
                chosen = window_rows(value, self._window, limit, rng)
            self._products.add(chosen)

    def finish(self) -> ActivationStatistics:
        low, high = self._histogram.low, self._histogram.high
        mean, covariance = np.empty(0), np.empty((0, 0), np.float32)
        if self._products is not None:
            mean, covariance = self._products.moments()
        pixel_mean, pixel_std = self._planes(len(low))
        counts = self._histogram.counts(BINS)
        return ActivationStatistics(low, high, counts, mean, covariance, pixel_mean, pixel_std)

    def _look_for_pixels(self, rows: NDArray[np.float32]) -> None:
        for plane in self.group.planes:
            pixel = rows * np.float32(plane.std) + np.float32(plane.mean)
            off = np.abs(pixel - np.rint(pixel))
            # A missing modality's fill value and padding need not be whole pixel values.
            off[(rows == np.float32(plane.missing)) | (rows == 0.0)] = 0.0
            outside = (pixel < -_PIXEL_TOLERANCE) | (pixel > 255.0 + _PIXEL_TOLERANCE)
            off[outside & (rows != np.float32(plane.missing))] = 1.0
            self._off[plane] = np.maximum(self._off.get(plane, 0.0), off.max(axis=0))

    def _planes(self, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and std of each channel's plane; empty unless all are whole pixel values."""
        mean = np.full(channels, np.nan)
        std = np.full(channels, np.nan)
        for plane, off in self._off.items():
            fits = (off <= _PIXEL_TOLERANCE) & np.isnan(mean)
            mean[fits], std[fits] = plane.mean, plane.std
        if not self._off or np.isnan(mean).any():
            return np.empty(0), np.empty(0)
        return mean, std


def _digest(
    model: onnx.ModelProto,
    groups: Sequence[ActivationGroup],
    batches: Sequence[Mapping[str, NDArray[np.float32]]],
) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    digest.update(model.SerializeToString(deterministic=True))
    digest.update(repr(groups).encode())
    for batch in batches:
        for name, array in sorted(batch.items()):
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _save(folder: Path, index: int, statistics: ActivationStatistics) -> None:
    arrays = {f.name: getattr(statistics, f.name) for f in fields(statistics)}
    with atomic_write(folder / f"{index:04d}.npz") as file:
        np.savez(file, **arrays)


def _load(folder: Path, index: int) -> ActivationStatistics:
    with np.load(folder / f"{index:04d}.npz", allow_pickle=False) as arrays:
        return ActivationStatistics(
            **{f.name: arrays[f.name] for f in fields(ActivationStatistics)}
        )

"""What calibration captures show of every activation that may be quantized, streamed and cached.

Each capture goes through the graph once: counts and sums of products are kept in a form that later
captures may widen. Memory holds one slice of captures and the sums, never all activations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from fasdk.atomic import atomic_write
from fasdk.errors import PrecisionError
from fasdk_engines.quantization.calibration.histogram import GrowingHistogram, ProductSums
from fasdk_engines.quantization.graph.rows import channel_rows, window_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from fasdk_engines.quantization.graph.activation_groups import Plane, Site
    from fasdk_engines.quantization.graph.layers import Window

    Progress = Callable[[str, int, int], None]

BINS = 256
_FORMAT = "fasdk activation statistics 2"
_LARGEST_INNER = 8192  # products of longer rows would not fit into memory
_LEAST_ROWS = 16384
_OFF_LEVEL = 0.02  # in levels: float32 keeps a whole level this well


@dataclass(frozen=True, eq=False)
class SiteStatistics:
    """What was seen of one activation.

    Attributes:
        low: float64 [C], least value of each channel.
        high: float64 [C], greatest.
        counts: float32 [C, BINS], how often a value fell into each equal part of [low, high].
        mean: float64 [K], mean of each input of a product (a Conv's K is channels times kernel).
        covariance: float32 [K, K] of the same; [0, 0] where K is too large, or layers differ in
            what they see at once.
        plane_mean: float64 [C], mean of the plane a channel's pixels come from; empty unless every
            value seen is a whole 8-bit level.
        plane_std: float64 [C], its standard deviation.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.float32]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float32]
    plane_mean: NDArray[np.float64]
    plane_std: NDArray[np.float64]

    @property
    def is_levels(self) -> bool:
        """Whether every value is a whole 8-bit level, normalized."""
        return self.plane_std.size > 0

    @property
    def centers(self) -> NDArray[np.float64]:
        """Bin centers, float64 [C, BINS]."""
        width = (self.high - self.low) / BINS
        centers: NDArray[np.float64] = self.low[:, None] + width[:, None] * (np.arange(BINS) + 0.5)
        return centers


def gather(
    model: onnx.ModelProto,
    sites: Sequence[Site],
    batches: Sequence[Mapping[str, NDArray[np.float32]]],
    *,
    cache: Path | None = None,
    captures_at_once: int = 8,
    progress: Progress | None = None,
) -> list[SiteStatistics]:
    """Return the statistics of every site.

    Args:
        model: Float32 graph.
        sites: What to watch.
        batches: The calibration captures, at least one, float32 [B, ...] by input name.
        cache: Folder to keep the result in; the same graph and captures are then read from it.
        captures_at_once: How many captures are run together.
        progress: Hears (what, done, of).

    Raises:
        PrecisionError: An activation is not finite.
        BackendError: ONNX Runtime refuses or fails to run the graph.
    """
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    folder = None if cache is None else cache / _digest(model, sites, batches)
    if folder is not None and (folder / "complete").exists():
        return [_load(folder, index) for index in range(len(sites))]
    found = _watch(model, sites, list(_slices(batches, captures_at_once)), count, progress)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for index, statistics in enumerate(found):
            _save(folder, index, statistics)
        with atomic_write(folder / "complete") as file:
            file.write(_FORMAT.encode())
    return found


def _watch(
    model: onnx.ModelProto,
    sites: Sequence[Site],
    slices: Sequence[Mapping[str, NDArray[np.float32]]],
    count: int,
    progress: Progress | None,
) -> list[SiteStatistics]:
    from fasdk_engines.quantization.graph.qdq_reference import watching_session

    values = list(dict.fromkeys(site.value for site in sites))
    session = watching_session(model, values)
    watchers = [_Watcher(site, count) for site in sites]
    for number, part in enumerate(slices):
        seen = dict(zip(values, session.run(values, dict(part)), strict=True))
        captures = len(next(iter(part.values())))
        for watcher in watchers:
            watcher.add(seen[watcher.site.value], captures, number)
        if progress is not None:
            progress("activations", number + 1, len(slices))
    return [watcher.finish() for watcher in watchers]


def _slices(
    batches: Sequence[Mapping[str, NDArray[np.float32]]], size: int
) -> Iterator[dict[str, NDArray[np.float32]]]:
    for batch in batches:
        for start in range(0, len(next(iter(batch.values()))), size):
            yield {name: array[start : start + size] for name, array in batch.items()}


class _Watcher:
    """What one site shows, slice by slice."""

    def __init__(self, site: Site, captures: int) -> None:
        self.site = site
        self._histogram = GrowingHistogram()
        self._off: dict[Plane, NDArray[np.float64]] = {}
        windows = {member.window for member in site.members}
        groups = {member.groups for member in site.members}
        inner = max(member.inner for member in site.members)
        self._window: Window | None = next(iter(windows))
        has_products = len(windows) == 1 and groups == {1} and inner <= _LARGEST_INNER
        self._products = ProductSums(inner) if has_products else None
        self._rows_a_capture = -(-max(_LEAST_ROWS, 8 * inner) // captures)

    def add(self, value: NDArray[np.float32], captures: int, number: int) -> None:
        rows = channel_rows(value, self.site.channel_axis)
        if not np.isfinite(rows).all():
            raise PrecisionError(
                f"activation {self.site.value!r} is not finite on a calibration capture: "
                "look at the checkpoint and the captures"
            )
        self._look_for_levels(rows)
        rng = np.random.default_rng([4, number])
        limit = self._rows_a_capture * captures
        chosen = rows if len(rows) <= limit else rows[rng.choice(len(rows), limit, replace=False)]
        self._histogram.add(chosen, rows.min(axis=0), rows.max(axis=0))
        if self._products is not None:
            if self._window is not None:
                chosen = window_rows(value, self._window, limit, rng)
            self._products.add(chosen)

    def finish(self) -> SiteStatistics:
        low, high = self._histogram.low, self._histogram.high
        mean, covariance = np.empty(0), np.empty((0, 0), np.float32)
        if self._products is not None:
            mean, covariance = self._products.moments()
        plane_mean, plane_std = self._planes(len(low))
        counts = self._histogram.counts(BINS)
        return SiteStatistics(low, high, counts, mean, covariance, plane_mean, plane_std)

    def _look_for_levels(self, rows: NDArray[np.float32]) -> None:
        for plane in self.site.planes:
            level = rows * np.float32(plane.std) + np.float32(plane.mean)
            off = np.abs(level - np.rint(level))
            # What stands for nothing need not be a level: a fill, or padding.
            off[(rows == np.float32(plane.missing)) | (rows == 0.0)] = 0.0
            outside = (level < -_OFF_LEVEL) | (level > 255.0 + _OFF_LEVEL)
            off[outside & (rows != np.float32(plane.missing))] = 1.0
            self._off[plane] = np.maximum(self._off.get(plane, 0.0), off.max(axis=0))

    def _planes(self, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and std of each channel's plane, or nothing where a value is no level."""
        mean = np.full(channels, np.nan)
        std = np.full(channels, np.nan)
        for plane, off in self._off.items():
            fits = (off <= _OFF_LEVEL) & np.isnan(mean)
            mean[fits], std[fits] = plane.mean, plane.std
        if not self._off or np.isnan(mean).any():
            return np.empty(0), np.empty(0)
        return mean, std


def _digest(
    model: onnx.ModelProto,
    sites: Sequence[Site],
    batches: Sequence[Mapping[str, NDArray[np.float32]]],
) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    digest.update(model.SerializeToString(deterministic=True))
    digest.update(repr(sites).encode())
    for batch in batches:
        for name, array in sorted(batch.items()):
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _save(folder: Path, index: int, statistics: SiteStatistics) -> None:
    arrays = {f.name: getattr(statistics, f.name) for f in fields(statistics)}
    with atomic_write(folder / f"{index:04d}.npz") as file:
        np.savez(file, **arrays)


def _load(folder: Path, index: int) -> SiteStatistics:
    with np.load(folder / f"{index:04d}.npz", allow_pickle=False) as arrays:
        return SiteStatistics(**{f.name: arrays[f.name] for f in fields(SiteStatistics)})

"""Lay an activation out as a layer sees it: one row a product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_engines.quantization.graph.layers import Window


def channel_rows(value: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return an activation as [rows, C], its channels on `axis` moved last."""
    return np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])


def window_rows(
    value: NDArray[np.float32], window: Window, limit: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return at most `limit` rows a Conv multiplies, chosen at random: [rows, C * kh * kw].

    Args:
        value: float32 [B, C, H, W].
        window: What the Conv sees at once.
        limit: Largest number of rows.
        rng: Chooses them.
    """
    top, left, bottom, right = window.pads
    padded = np.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)))
    (kh, kw), (dh, dw), (sh, sw) = window.kernel, window.dilations, window.strides
    reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    views = views[:, :, ::sh, ::sw, ::dh, ::dw]  # [B, C, h, w, kh, kw]
    by_place = views.transpose(0, 2, 3, 1, 4, 5)
    extents = by_place.shape[:3]
    places = np.arange(extents[0] * extents[1] * extents[2])
    if len(places) > limit:
        places = rng.choice(places, limit, replace=False)
    rows: NDArray[np.float32] = by_place[np.unravel_index(places, extents)]
    return rows.reshape(len(places), -1)


def weight_matrix(weight: NDArray[np.float32], *, transposed: bool) -> NDArray[np.float64]:
    """Return a weight as float64 [K, N]: a matrix, or a Conv's [N, C / groups, kh, kw]."""
    if weight.ndim == 4:
        weight = weight.reshape(len(weight), -1)
        transposed = True
    matrix: NDArray[np.float64] = (weight.T if transposed else weight).astype(np.float64)
    return matrix

"""Bilinear resize, in 8 bits bit for bit what OpenCV 4.8 to 5.0 does on x86-64.

The published models were trained on that arithmetic. OpenCV itself is no substitute everywhere: on
aarch64 its vendor kernels resize one-channel images differently. The native pass and NumPy give the
same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from fasdk.errors import PreprocessError
from fasdk.preprocess.native import Implementation, native_module
from fasdk.settings import as_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixel = TypeVar("Pixel", np.uint8, np.uint16)
_NATIVE_CHANNELS = ((), (1,), (3,), (4,))


@dataclass(frozen=True, eq=False)
class Taps:
    """Where each output coordinate of one axis samples it.

    Attributes:
        first: int32 [to], index of the sample at or before the coordinate.
        second: int32 [to], index of the sample after it.
        first_weight: int32 [to], in 1/2048.
        second_weight: int32 [to], in 1/2048; the two can sum to 2049.
        fraction: float32 [to], the second sample's weight before that rounding.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    first_weight: NDArray[np.int32]
    second_weight: NDArray[np.int32]
    fraction: NDArray[np.float32]

    @classmethod
    def between(
        cls, index: NDArray[np.int32], fraction: NDArray[np.float32], size: int, *, snap: bool
    ) -> Taps:
        """Return the taps of positions that lie a fraction of the way from a sample to the next.

        Args:
            index: int32 [to], the sample before, which may lie outside.
            fraction: float32 [to], in [0, 1).
            size: Number of source samples.
            snap: Whether the weight snaps to the sample outside the first and the last one, as
                OpenCV does for columns; for rows it clamps the indices and keeps the weights.
        """
        if snap:
            fraction = np.where((index < 0) | (index >= size - 1), np.float32(0), fraction)
            index = np.clip(index, 0, size - 1)
        return cls(
            np.clip(index, 0, size - 1),
            np.clip(index + 1, 0, size - 1),
            np.rint((np.float32(1) - fraction) * np.float32(2048)).astype(np.int32),
            np.rint(fraction * np.float32(2048)).astype(np.int32),
            fraction,
        )


@lru_cache(maxsize=64)
def axis_taps(size: int, to: int, *, snap: bool) -> Taps:
    """Return the taps of an axis.

    Args:
        size: Number of source samples.
        to: Number of output samples.
        snap: See `Taps.between`.
    """
    scale = 1.0 / (to / size)
    center = ((np.arange(to) + 0.5) * scale - 0.5).astype(np.float32)
    floor = np.floor(center)
    return Taps.between(floor.astype(np.int32), center - floor, size, snap=snap)


def resize_bilinear(
    image: NDArray[Pixel],
    width: int,
    height: int,
    *,
    using: Implementation | str | None = None,
) -> NDArray[Pixel]:
    """Return the image at another size, as `cv2.resize` with INTER_LINEAR does on x86-64.

    8-bit results are the same bits. 16-bit ones are computed in float32 with every product and sum
    rounded; OpenCV fuses some of those by CPU and build, so its own answers differ by up to two
    units of the last place, and these lie as close.

    Args:
        image: uint8 or uint16 [H, W] or [H, W, C], not empty. Any strides.
        width: Width in pixels, at least 1.
        height: Height in pixels, at least 1.
        using: The implementation, or None for the native pass where it was built and the image has
            1, 3 or 4 channels. The result is the same.

    Returns:
        [height, width] or [height, width, C] of the image's dtype.

    Raises:
        UsageError: There is no such implementation.
        PreprocessError: Another dtype, another number of axes, or nothing to read or write.
    """
    using = None if using is None else as_choice("using", using, Implementation)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or 0 in image.shape:
        raise PreprocessError(
            f"image is {image.dtype} {list(image.shape)}: "
            "expected uint8 or uint16 [H, W] or [H, W, C]"
        )
    if width < 1 or height < 1:
        raise PreprocessError(f"cannot resize to {width}x{height}: give at least 1x1")
    module = native_module()
    if module is None or using is Implementation.NUMPY or image.shape[2:] not in _NATIVE_CHANNELS:
        if using is Implementation.NATIVE:
            raise PreprocessError(
                "the native resize takes 1, 3 or 4 channels and was "
                f"{'not built here' if module is None else 'given ' + str(image.shape[2])}"
            )
        resize = _resize_8 if image.dtype == np.uint8 else _resize_16
        return cast("NDArray[Pixel]", resize(cast("Any", image), width, height))
    out: NDArray[Pixel] = np.empty((height, width, *image.shape[2:]), image.dtype)
    (module.resize_8 if image.dtype == np.uint8 else module.resize_16)(image, out)
    return out


def _is_halving(image: NDArray[Any], width: int, height: int) -> bool:
    return image.shape[:2] == (2 * height, 2 * width)


def halved(image: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of every 2x2 pixels; OpenCV averages an exact halving."""
    wide = image.astype(np.uint32)
    pairs = wide[::2] + wide[1::2]
    return np.asarray((pairs[:, ::2] + pairs[:, 1::2] + 2) >> 2, image.dtype)


def _resize_8(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if _is_halving(image, width, height):
        return halved(image)
    columns = axis_taps(image.shape[1], width, snap=True)
    return interpolated(image, columns, axis_taps(image.shape[0], height, snap=False))


def interpolated(image: NDArray[np.uint8], columns: Taps, rows: Taps) -> NDArray[np.uint8]:
    """Return uint8 [H, W] or [H, W, C] sampled at the taps of its axes."""
    # Channels become columns, and unsampled rows are left out: plain 2-D arithmetic is fast.
    channels = image.size // (image.shape[0] * image.shape[1])
    used = np.union1d(rows.first, rows.second)
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)[used]
    across = _samples(flat, columns.first, columns.first_weight, channels)
    across += _samples(flat, columns.second, columns.second_weight, channels)
    across >>= 4
    # Each product is truncated before the sum is rounded.
    upper = (across[np.searchsorted(used, rows.first)] * rows.first_weight[:, None]) >> 16
    lower = (across[np.searchsorted(used, rows.second)] * rows.second_weight[:, None]) >> 16
    resized = ((upper + lower + 2) >> 2).astype(np.uint8)
    return resized.reshape(rows.first.size, columns.first.size, *image.shape[2:])


def _resize_16(image: NDArray[np.uint16], width: int, height: int) -> NDArray[np.uint16]:
    if _is_halving(image, width, height):
        return halved(image)
    columns = axis_taps(image.shape[1], width, snap=True)
    rows = axis_taps(image.shape[0], height, snap=False)
    one = np.float32(1)
    samples = image.reshape(*image.shape[:2], -1).astype(np.float32)
    second = columns.fraction[:, None]
    across = samples[:, columns.first] * (one - second) + samples[:, columns.second] * second
    second = rows.fraction[:, None, None]
    mixed = across[rows.first] * (one - second) + across[rows.second] * second
    resized = np.rint(np.minimum(mixed, np.float32(65535))).astype(np.uint16)
    return np.asarray(resized.reshape(height, width, *image.shape[2:]))


def _samples(
    rows: NDArray[np.uint8], index: NDArray[np.int32], weight: NDArray[np.int32], channels: int
) -> NDArray[np.int32]:
    """Return the weighted samples of interleaved rows, int32 [rows, len(index) * channels]."""
    columns = (index[:, None] * channels + np.arange(channels)).ravel()
    taken: NDArray[np.int32] = np.take(rows, columns, axis=1).astype(np.int32)
    taken *= np.repeat(weight, channels)
    return taken

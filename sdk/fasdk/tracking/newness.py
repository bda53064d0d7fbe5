"""Newness of a camera's frames: none that was there before, none out of order."""

from __future__ import annotations

import hashlib
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Capture, Modality

_COLUMNS = 64


def frame_digest(frame: NDArray[Any]) -> bytes:
    """Return a digest that differs for frames that differ in any pixel, but for a rare accident.

    Sums of 64-bit words, weighted by their rows (multiplicative hashing): it reads every byte at
    the speed of memory, where a cryptographic digest of 4 MB takes milliseconds. It tells a stuck
    or replayed frame, not one that was forged to look alike.

    Args:
        frame: Frame of any shape and dtype.
    """
    content = np.ascontiguousarray(frame).reshape(-1).view(np.uint8)
    whole = content.size - content.size % (8 * _COLUMNS)
    rows = content[:whole].view(np.uint64).reshape(-1, _COLUMNS)
    sums = np.einsum("i,ij->j", _weights(len(rows)), rows)
    digest = hashlib.blake2b(repr((frame.shape, frame.dtype.str)).encode(), digest_size=16)
    digest.update(sums.tobytes())
    digest.update(content[whole:].tobytes())
    return digest.digest()


@lru_cache(maxsize=8)
def _weights(rows: int) -> NDArray[np.uint64]:
    """Return odd weights without a pattern, uint64 [rows] (Knuth's golden ratio constant)."""
    numbers: NDArray[np.uint64] = np.arange(1, rows + 1, dtype=np.uint64)
    weights: NDArray[np.uint64] = numbers * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    return weights


class FrameHistory:
    """Last frames of one camera, by their times and digests.

    Args:
        remembered: Number of frames of each modality that none may repeat; 0 for no check.
    """

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._seen: dict[Modality, deque[bytes]] = {}
        self._taken_ms: dict[Modality, float] = {}

    def take_in(self, capture: Capture) -> Finding | None:
        """Take in a capture; return NOT_NEW where one of its frames is not, else None.

        Frames without a time are compared by their content alone.
        """
        if not self._remembered:
            return None
        times_ms = {m: at for m, at in capture.taken_ms.items() if m in capture.present}
        digests = {modality: frame_digest(capture.frame(modality)) for modality in capture.present}
        late = [
            modality.value
            for modality, taken_ms in times_ms.items()
            if not taken_ms > self._taken_ms.get(modality, float("-inf"))  # NaN is not later
        ]
        repeated = [
            modality.value
            for modality, digest in digests.items()
            if digest in self._seen.get(modality, ())
        ]
        for modality, digest in digests.items():
            kept = self._seen.setdefault(modality, deque(maxlen=self._remembered))
            if digest not in kept:
                kept.append(digest)
        if repeated:
            return Finding(
                Reason.NOT_NEW,
                f"{', '.join(repeated)} is bit for bit a frame that this camera gave before, which "
                "no sensor does: if it stays, the camera or its driver is stuck",
            )
        if late:
            return Finding(
                Reason.NOT_NEW,
                f"{', '.join(late)} was not taken later than the frame before: hand in each frame "
                "once, in the order of its time",
            )
        self._taken_ms.update(times_ms)
        return None

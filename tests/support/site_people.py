"""Captures of people and attacks before the tiny bundle, which pass every quality gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from fasdk.cameras import Camera, FrameCounts
from fasdk.capture import Capture, Modality, monotonic_ms
from fasdk.errors import EndOfStreamError

FACE = (110, 60, 100, 130)
LIVE, ATTACK = 120, 40  # levels that the tiny bundle takes for a person and for an attack


def frames(
    seed: int, level: int = LIVE, *, distance_mm: int = 500, ir_level: int | None = None
) -> dict[str, np.ndarray]:
    """Return sharp frames with an outline in each sensor, by modality."""
    rng = np.random.default_rng(seed)
    depth = np.full((240, 320), 1400, np.uint16)
    down, across = np.mgrid[50:200, 100:220]
    round_mm = 40.0 * ((down - 125) ** 2 + (across - 160) ** 2) / 75**2  # a face is not flat
    depth[50:200, 100:220] = distance_mm + round_mm + rng.integers(0, 5, (150, 120))
    light = rng.integers(level // 2, 2 * level + 1, (240, 320, 3), np.uint8)
    light = np.where((depth < 1390)[..., None], 1.15, 0.95) * light
    light = light.clip(0, 255).astype(np.uint8)
    ir = light[..., 0] if ir_level is None else rng.integers(0, ir_level, (240, 320), np.uint8)
    return {"rgb": light, "depth": depth, "ir": np.ascontiguousarray(ir)}


class PeopleCamera(Camera):
    """Camera that gives one capture after another, 100 ms apart.

    Args:
        shown: Frames of every capture.
        skew_ms: How much later infrared is taken than color, in milliseconds.
        times: Whether the frames are timed.
    """

    def __init__(
        self, shown: Sequence[dict[str, np.ndarray]], *, skew_ms: float = 0.0, times: bool = True
    ) -> None:
        self.name = "people"
        self.counts = FrameCounts()
        self._shown: Iterator[dict[str, np.ndarray]] = iter(shown)
        self._skew_ms, self._times = skew_ms, times

    def read(self, timeout_ms: float = 1000.0) -> Capture:
        """Return the next capture."""
        del timeout_ms
        found = next(self._shown, None)
        if found is None:
            raise EndOfStreamError("people is over")
        self.counts.delivered += 1
        now_ms = monotonic_ms()
        taken = {Modality(name): now_ms - 100.0 for name in found} if self._times else {}
        if self._times and "ir" in found:
            taken[Modality.IR] += self._skew_ms
        return Capture(**found, face=FACE, taken_ms=taken)

    def close(self) -> None:
        """Do nothing."""


def write_frames(folder: Path, shown: Sequence[dict[str, np.ndarray]]) -> Path:
    """Write captures as a folder that `replay:` reads, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, found in enumerate(shown):
        for name, frame in found.items():
            image = frame[..., ::-1] if frame.ndim == 3 else frame
            cv2.imwrite(str(folder / f"{number:06}.{name}.png"), np.ascontiguousarray(image))
    return folder

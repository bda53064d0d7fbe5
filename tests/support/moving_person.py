"""Frames of a synthetic person who moves before the camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fasdk.capture import Capture
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_calibration.synthetic.generator import SceneSettings

FRAMES = 8
MOVING = SceneSettings(frames_per_presentation=FRAMES, drift=3.0, skew_frames=0.2)
STILL = replace(MOVING, drift=0.0)


def presentation(number: int, settings: SceneSettings = MOVING, seed: int = 9) -> list[Capture]:
    """Return the frames of one live presentation, in their order."""
    first = number * FRAMES
    return [
        generate(
            seed, first + frame, Split.HELD_OUT, species=Species.BONA_FIDE, settings=settings
        ).capture
        for frame in range(FRAMES)
    ]


def frozen(frames: list[Capture], *names: str) -> list[Capture]:
    """Return the frames with the first one's frame of some sensors, a little noise in each."""
    rng = np.random.default_rng(0)
    mixed = []
    for capture in frames:
        kept = {}
        for name in names:
            first = getattr(frames[0], name)
            noise = rng.integers(-1, 2, first.shape)
            kept[name] = (
                np.where(first > 0, np.clip(first + noise, 1, None), 0)
                .clip(0, np.iinfo(first.dtype).max)
                .astype(first.dtype)
            )
        mixed.append(replace(capture, **kept))
    return mixed

"""WMCA's two HDF5 files a video, as the distribution has them, with made-up pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

SIDE = 32
PARTS = {"RGB": 3, "CDIT": 4}  # planes by part of the distribution


def part_path(folder: Path, part: str, video: str) -> Path:
    """Return where a video's file of one part lies."""
    return folder / f"preprocessed-face-station_{part}" / "12.02.18" / f"{video}.hdf5"


def pixels(planes: int, number: int, side: int = SIDE) -> np.ndarray:
    """Return a frame uint8 [planes, side, side] whose planes are smooth and differ."""
    ramp = np.linspace(0, 100, side)[None, :] + np.linspace(0, 60, side)[:, None]
    return np.stack([ramp + 20 * plane + number for plane in range(planes)]).astype(np.uint8)


def write_part(
    path: Path, planes: int, numbers: Iterable[int] = (0, 12, 24), side: int = SIDE
) -> Path:
    """Write one file: a group a frame, and the order of frames as newer releases of bob do."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for position, number in enumerate(numbers):
            group = file.create_group(f"Frame_{number}")
            group.create_dataset("array", data=pixels(planes, number, side), compression="gzip")
            file.require_group("FrameIndexes")[str(position)] = f"Frame_{number}"
    return path


def write_video(
    folder: Path, video: str, numbers: Iterable[int] = (0, 12, 24), side: int = SIDE
) -> None:
    """Write both files of a video."""
    for part, planes in PARTS.items():
        write_part(part_path(folder, part, video), planes, tuple(numbers), side)

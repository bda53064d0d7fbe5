"""Folders of recordings: what must hold of them whatever happened to who wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fasdk.capture import Capture
from fasdk_calibration.datasets import load_capture, open_dataset
from fasdk_calibration.datasets.recording import FRAMES, LIST_NAME


def capture(level: int = 100, face=(10, 6, 40, 36)) -> Capture:
    """Return a small capture of three modalities, unlike one of any other level."""
    rng = np.random.default_rng(level)
    return Capture(
        rgb=rng.integers(0, 255, (48, 64, 3), np.uint8),
        depth=rng.integers(400, 600, (48, 64), np.uint16),
        ir=rng.integers(0, 255, (48, 64), np.uint8),
        face=face,
    )


def presentations(folder: Path) -> dict[str, int]:
    """Return how many whole captures each presentation of a recording has; every frame is read.

    Raises:
        DatasetError: The list or a frame is damaged, or a frame is missing.
    """
    if not (folder / LIST_NAME).exists():
        return {}
    dataset = open_dataset(folder / LIST_NAME)
    found: dict[str, int] = {}
    for record in dataset.records:
        load_capture(record, dataset.root)
        found[record.presentation] = found.get(record.presentation, 0) + 1
    return found


def litter(folder: Path) -> list[str]:
    """Return the files of a recording that neither are its list nor in it."""
    known = {folder / LIST_NAME}
    if (folder / LIST_NAME).exists():
        dataset = open_dataset(folder / LIST_NAME)
        known |= {folder / str(r.path(m)) for r in dataset.records for m in r.modalities}
    folders = {path.parent for path in known} | {folder / FRAMES}
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path not in known | folders
    )

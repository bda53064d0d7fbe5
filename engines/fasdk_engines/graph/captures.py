"""Captures to run a graph on: labeled development captures, or seeded random ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk_calibration.datasets import CaptureRecord, announce_dataset, open_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
_SEEDED_SIZE = (320, 240)  # width, height in pixels


@dataclass(frozen=True)
class DevelopmentSet:
    """Labeled captures a threshold may be chosen on.

    Attributes:
        name: The list's file name.
        records: Capture records, one a capture.
        captures: Frames of each record, in the same order.
    """

    name: str
    records: tuple[CaptureRecord, ...]
    captures: tuple[Capture, ...]


def read_development(path: Path) -> DevelopmentSet:
    """Read a list of labeled captures and all its frames.

    Raises:
        DatasetError: The list or a frame is missing or malformed.
    """
    dataset = open_dataset(path)
    announce_dataset(dataset)
    captures = tuple(dataset.load(record) for record in dataset.records)
    return DevelopmentSet(path.name, dataset.records, captures)


def spread(captures: Sequence[T], count: int) -> list[T]:
    """Return `count` items evenly spread over the sequence, or all if there are fewer."""
    if len(captures) <= count:
        return list(captures)
    return [captures[i] for i in np.linspace(0, len(captures) - 1, count).round().astype(int)]


def seeded_captures(modalities: Sequence[Modality], count: int) -> list[Capture]:
    """Return smooth random raw captures with a face box: they look like nothing, on purpose.

    They exercise crop, resize, depth encoding and the graph where no real captures are at hand.
    """
    width, height = _SEEDED_SIZE
    captures = []
    for index in range(count):
        rng = np.random.default_rng([20240101, index])
        frames: dict[str, Any] = {}
        for modality in Modality:
            channels = 3 if modality is Modality.RGB else 1
            coarse = rng.uniform(0.1, 0.9, (height // 20, width // 20, channels))
            field = coarse.repeat(20, axis=0).repeat(20, axis=1)
            field = np.clip(field + rng.normal(0, 0.04, field.shape), 0, 1)
            if modality is Modality.RGB:
                frames["rgb"] = (255 * field).astype(np.uint8)
            elif modality is Modality.DEPTH:
                frames["depth"] = (300 + 900 * field[..., 0]).astype(np.uint16)
            else:
                frames["ir"] = (255 * field[..., 0]).astype(np.uint8)
        kept = {m.value: frames[m.value] for m in modalities}
        captures.append(Capture(**kept, face=FaceBox(80 + 4 * index, 40, 150, 160)))
    return captures

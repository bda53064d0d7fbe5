"""Captures to run a graph on: labeled development captures, or seeded random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk_calibration.datasets import CaptureRecord, DatasetSource, announce_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.preprocess import DepthEncoding

T = TypeVar("T")
_SEEDED_SIZE = (320, 240)  # width, height in pixels

# Of a face box 150 pixels wide: eyes, nose tip, corners of the mouth, in pixels from its corner.
_SEEDED_LANDMARKS = np.array([(45, 60), (105, 60), (75, 92), (50, 122), (100, 122)], np.float32)


@dataclass(frozen=True)
class DevelopmentSet:
    """Labeled captures a threshold may be chosen on.

    Attributes:
        name: File name of the list; of several, joined by plus signs.
        records: Capture records, one a capture.
        captures: Frames of each record, in the same order.
    """

    name: str
    records: tuple[CaptureRecord, ...]
    captures: tuple[Capture, ...]


def read_development(
    source: DatasetSource,
    depth: DepthEncoding | None,
    modalities: Sequence[Modality] = tuple(Modality),
) -> DevelopmentSet:
    """Read labeled captures and all their frames.

    Args:
        source: Lists and folders of the captures.
        depth: Depth encoding of the model, by which 8-bit depth becomes millimeters; None where it
            looks at no depth.
        modalities: Modalities the model looks at; frames of no other are read.

    Raises:
        DatasetError: A list or a frame is missing or malformed.
    """
    dataset = source.open()
    announce_dataset(dataset)
    captures = tuple(
        dataset.load(record, depth, modalities=modalities) for record in dataset.records
    )
    return DevelopmentSet(source.name, dataset.records, captures)


def spread(captures: Sequence[T], count: int) -> list[T]:
    """Return `count` items evenly spread over the sequence, or all if there are fewer."""
    if len(captures) <= count:
        return list(captures)
    return [captures[i] for i in np.linspace(0, len(captures) - 1, count).round().astype(int)]


def seeded_captures(modalities: Sequence[Modality], count: int) -> list[Capture]:
    """Return smooth random raw captures with a face box and landmarks: they look like nothing.

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
        face = FaceBox(80 + 4 * index, 40, 150, 160)
        landmarks = np.array([face.x, face.y], np.float32) + _SEEDED_LANDMARKS
        captures.append(Capture(**kept, face=face, landmarks=landmarks))
    return captures

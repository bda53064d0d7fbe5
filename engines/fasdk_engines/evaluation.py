"""Run a finished graph on captures: golden answers, and a provisional operating point.

What is decided here is provisional: one threshold for one level with every modality present.
Tuning with confidence bounds per level and subset is `fasdk tune`'s work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.decision import OperatingPoint, class_scores
from fasdk.preprocess import to_batch
from fasdk_calibration.datasets import CaptureRecord, load_capture, read_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.preprocess import PreprocessSpec

_BATCH = 8
_SEEDED_SIZE = (320, 240)  # width, height in pixels
NO_EVALUATION = (
    "no evaluation data: built without captures to choose a threshold on; "
    "this bundle can be profiled and never answers LIVE"
)


@dataclass(frozen=True)
class DevelopmentSet:
    """Labelled captures a threshold may be chosen on.

    Attributes:
        name: The list's file name.
        records: One per capture.
        captures: Their frames.
    """

    name: str
    records: tuple[CaptureRecord, ...]
    captures: tuple[Capture, ...]


def read_development(path: Path) -> DevelopmentSet:
    """Read a list of labelled captures and all its frames.

    Raises:
        DatasetError: The list or a frame is missing or malformed.
    """
    records = read_list(path)
    captures = tuple(load_capture(record, path.parent) for record in records)
    return DevelopmentSet(path.name, tuple(records), captures)


def spread(captures: Sequence[Capture], count: int) -> list[Capture]:
    """Return `count` captures evenly spread over the sequence, or all if there are fewer."""
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


class GraphRunner:
    """A graph on ONNX Runtime with its preprocessing: captures in, logits out."""

    def __init__(
        self,
        graph: bytes,
        specs: Mapping[Modality, PreprocessSpec],
        presence: Sequence[Modality] | None = None,
    ) -> None:
        self._engine = OnnxRuntimeEngine(graph)
        self._specs = specs
        self._presence = presence

    def logits(self, captures: Sequence[Capture]) -> NDArray[np.float32]:
        """Return float32 [N, classes], one row a capture."""
        rows = []
        for start in range(0, len(captures), _BATCH):
            part = list(captures[start : start + _BATCH])
            rows.append(self._engine.run(to_batch(part, self._specs, self._presence)).logits)
        return np.concatenate(rows)


def choose_provisional_point(
    development: DevelopmentSet,
    logits: NDArray[np.float32],
    live_index: int,
    modalities: Sequence[Modality],
) -> tuple[OperatingPoint, str, dict[str, Any]]:
    """Choose one threshold on development captures.

    Args:
        development: The captures and their labels.
        logits: float32 [N, classes] of the very graph the bundle will hold.
        live_index: Which logit is bona fide.
        modalities: Model order; the point holds for exactly these.

    Returns:
        The point, a note for the manifest, and the document kept as evaluation.json.

    Raises:
        DatasetError: One class is absent, or a score is not a number.
    """
    from fasdk_calibration.operating_points import provisional_point

    scores = np.array([class_scores(row)[live_index] for row in logits])
    labels = np.array([record.is_bona_fide for record in development.records])
    species = [record.species for record in development.records]
    subjects = sorted({record.subject for record in development.records})
    source = (
        f"provisional: {len(scores)} development captures of {len(subjects)} subjects "
        f"in {development.name}"
    )
    point = provisional_point(
        scores=scores,
        labels=labels,
        species=species,
        modalities=tuple(modalities),
        level="standard",
        source=source,
    )
    document = {
        "kind": "provisional",
        "list": development.name,
        "captures": len(scores),
        "subjects": subjects,
        "operating_point": point.model_dump(mode="json"),
        "scores": [
            {"id": record.id, "species": record.species, "score": round(float(score), 6)}
            for record, score in zip(development.records, scores, strict=True)
        ],
    }
    return point, source, document

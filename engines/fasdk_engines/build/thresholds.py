"""Run a finished graph on captures: golden answers, and a provisional operating point.

What is decided here is provisional: one threshold for one level. Tuning with confidence bounds per
level is `fasdk tune`'s work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.decision import OperatingPoint, class_scores
from fasdk.errors import DatasetError
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
    """Labeled captures a threshold may be chosen on.

    Attributes:
        name: The list's file name.
        records: One per capture.
        captures: Their frames.
    """

    name: str
    records: tuple[CaptureRecord, ...]
    captures: tuple[Capture, ...]


def read_development(path: Path) -> DevelopmentSet:
    """Read a list of labeled captures and all its frames.

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
    """A graph on ONNX Runtime with its preprocessing: captures in, logits out.

    Attributes:
        graph_sha256: The graph's digest.

    Args:
        graph: ONNX file.
        specs: Preprocessing by modality.
        presence: Column order of the graph's presence input, or None.
        as_written: See `OnnxRuntimeEngine`.
    """

    def __init__(
        self,
        graph: bytes,
        specs: Mapping[Modality, PreprocessSpec],
        presence: Sequence[Modality] | None = None,
        *,
        as_written: bool = False,
    ) -> None:
        self._engine = OnnxRuntimeEngine(graph, as_written=as_written)
        self.graph_sha256 = hashlib.sha256(graph).hexdigest()
        self._specs = specs
        self._presence = presence

    def logits(self, captures: Sequence[Capture]) -> NDArray[np.float32]:
        """Return float32 [N, classes], one row a capture."""
        rows = []
        for start in range(0, len(captures), _BATCH):
            part = list(captures[start : start + _BATCH])
            rows.append(self._engine.run(to_batch(part, self._specs, self._presence)).logits)
        return np.concatenate(rows)

    def batch_logits(self, batch: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the same for tensors `to_batch` has made already."""
        count = len(next(iter(batch.values())))
        rows = [
            self._engine.run({n: x[start : start + _BATCH] for n, x in batch.items()}).logits
            for start in range(0, count, _BATCH)
        ]
        return np.concatenate(rows)


def choose_provisional_points(
    development: DevelopmentSet,
    logits: NDArray[np.float32],
    live_index: int,
    modalities: Sequence[Modality],
    graph_sha256: str,
) -> tuple[tuple[OperatingPoint, ...], str, dict[str, Any]]:
    """Choose one threshold for every combination of modalities the development captures hold.

    Captures that lack a modality choose the threshold for such captures and no other; a combination
    without both classes gets none, and answers ERROR.

    Args:
        development: The captures and their labels.
        logits: float32 [N, classes] of the very graph the bundle will hold.
        live_index: Which logit is bona fide.
        modalities: Model order.
        graph_sha256: That graph's digest.

    Returns:
        The points, most modalities first, a note for the manifest, and the document kept as
        evaluation.json.

    Raises:
        DatasetError: No combination has both classes, or a score is not a number.
    """
    from fasdk_calibration.thresholds.operating_points import provisional_point

    scores = np.array([class_scores(row)[live_index] for row in logits])
    records = development.records
    labels = np.array([record.is_bona_fide for record in records])
    present = [
        tuple(m for m in modalities if m in capture.present) for capture in development.captures
    ]
    points, skipped = [], []
    order = list(modalities)
    for held in sorted(set(present), key=lambda held: (-len(held), [order.index(m) for m in held])):
        rows = [index for index, found in enumerate(present) if found == held]
        name = "+".join(m.value for m in held)
        if len(set(labels[rows])) < 2 and len(set(present)) > 1:  # alone, it is an error
            skipped.append(f"{name} ({len(rows)} captures of one class)")
            continue
        subjects = {records[index].subject for index in rows}
        points.append(
            provisional_point(
                scores=scores[rows],
                labels=labels[rows],
                species=[records[index].species for index in rows],
                modalities=held,
                level="standard",
                graph_sha256=graph_sha256,
                source=(
                    f"provisional: {len(rows)} development captures of {len(subjects)} subjects "
                    f"in {development.name}"
                ),
            )
        )
    if not points:
        raise DatasetError(
            f"{development.name}: no threshold can be chosen: {', '.join(skipped)}: "
            "give attacks and bona fide captures that hold the same modalities"
        )
    subjects = {record.subject for record in records}
    note = (
        f"provisional: {len(scores)} development captures of {len(subjects)} subjects "
        f"in {development.name}"
    )
    if skipped:
        note += f"; no threshold for {', '.join(skipped)}"
    document = {
        "kind": "provisional",
        "list": development.name,
        "captures": len(scores),
        "subjects": sorted(subjects),
        "operating_points": [point.model_dump(mode="json") for point in points],
        "scores": [
            {"id": record.id, "species": record.species, "score": round(float(score), 6)}
            for record, score in zip(records, scores, strict=True)
        ],
    }
    return tuple(points), note, document

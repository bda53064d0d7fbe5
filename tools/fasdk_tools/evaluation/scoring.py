"""Scoring of data sets with a bundle's graph, along the device's own path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.engine import Backend, EngineOutputs
from fasdk.backends.registry import open_engine
from fasdk.errors import CaptureError, DatasetError, UsageError
from fasdk.session.session import Liveness
from fasdk_calibration.datasets import depth_encoding
from fasdk_calibration.metrics import Scores
from fasdk_calibration.protocols import NONE_MISSING, Missing, missing_name, reduce_capture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.backends.engine import Engine, Lane
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.manifest import Manifest
    from fasdk.capture import Capture, Modality
    from fasdk.preprocess import DepthEncoding
    from fasdk.progress import Progress
    from fasdk_calibration.datasets import CaptureRecord, Dataset

BATCH = 8


@dataclass(frozen=True, eq=False)
class ScoredDataset:
    """A data set with a bundle's output for each of its captures, in its order.

    Attributes:
        dataset: The scored captures.
        logits: float32 [N, classes], outputs of the graph.
        present: Modalities each capture held and the model used, in model order.
        scores: `Decision.score` of each capture; a non-response where the graph gave a number that
            is not finite and the device would answer ERROR.
    """

    dataset: Dataset
    logits: NDArray[np.float32]
    present: tuple[tuple[Modality, ...], ...]
    scores: Scores


def score_dataset(
    bundle: Bundle,
    dataset: Dataset,
    *,
    missing: Missing = NONE_MISSING,
    threads: int = 0,
    progress: Progress | None = None,
) -> ScoredDataset:
    """Run a bundle's graph on ONNX Runtime over every capture of a data set.

    Args:
        bundle: A verified bundle.
        dataset: Frames are read a batch at a time and let go: memory does not grow with its length.
        missing: Modalities taken away from every capture that holds them.
        threads: CPU threads; 0 lets ONNX Runtime take one per core.
        progress: Receiver of progress reports, in captures.

    Raises:
        UsageError: `missing` leaves a capture without a frame the bundle requires, or without any.
        DatasetError: A frame is missing, unreadable or does not suit the bundle; it is named.
        BackendError: ONNX Runtime refuses the graph or failed.
        PlanError: ONNX Runtime does not reproduce the bundle's golden captures: its scores would
            not be those that were measured.
    """
    return score_subsets(bundle, dataset, (missing,), threads=threads, progress=progress)[0]


def score_subsets(
    bundle: Bundle,
    dataset: Dataset,
    missing: Sequence[Missing],
    *,
    threads: int = 0,
    progress: Progress | None = None,
    task: str = "captures",
) -> tuple[ScoredDataset, ...]:
    """Do `score_dataset` for several sets of missing modalities, reading each frame once.

    Args:
        bundle: Verified bundle, as in `score_dataset`.
        dataset: Captures to score, as in `score_dataset`.
        missing: Sets of modalities, each taken away in turn.
        threads: Threads of ONNX Runtime, as in `score_dataset`.
        progress: Receiver of progress reports, in captures.
        task: Name of the task in those reports.

    Returns:
        One scored data set for each entry of `missing`, in its order.
    """
    for each in missing:
        require_scorable(bundle.manifest, dataset, each)
    answers: list[list[_ScoredCapture]] = [[] for _ in missing]
    done = 0
    engine = _RecordingEngine(_open(bundle, threads))
    with Liveness(bundle, engine) as liveness:
        if next(bundle.iter_golden(), None) is not None:  # without any, no device opens it
            liveness.prove()
        for records, captures in _batches(dataset, bundle.manifest):
            for each, rows in zip(missing, answers, strict=True):
                rows.extend(_score_batch(liveness, engine, records, captures, each))
            done += len(records)
            if progress is not None:
                progress.update(task, done, len(dataset.records))
    return tuple(_gather(dataset, rows) for rows in answers)


def require_scorable(manifest: Manifest, dataset: Dataset, missing: Missing = NONE_MISSING) -> None:
    """Check from the list alone that every capture has the frames a bundle asks for.

    Raises:
        UsageError: A modality to take away is not the model's, or taking it away leaves a capture
            without a required one or without any the model looks at.
        DatasetError: A capture lacks them already.
    """
    foreign = [m.value for m in missing if m not in manifest.modalities]
    if foreign:
        raise UsageError(
            f"--missing {','.join(sorted(foreign))}: this bundle looks at "
            f"{', '.join(m.value for m in manifest.modalities)}: name one of those"
        )
    fault = reason_not_scorable(manifest, dataset, NONE_MISSING)
    if fault is not None:
        raise DatasetError(fault)
    fault = reason_not_scorable(manifest, dataset, missing)
    if fault is not None:
        raise UsageError(f"--missing {missing_name(missing)}: {fault}")


def reason_not_scorable(manifest: Manifest, dataset: Dataset, missing: Missing) -> str | None:
    """Return why a data set cannot be scored with some modalities taken away, or None."""
    verb = "is left without" if missing else "lacks"
    for record in dataset.records:
        held = set(manifest.modalities) & set(record.modalities) - missing
        absent = [m.value for m in manifest.required if m not in held]
        if absent:
            return (
                f"capture {record.id} of {dataset.name} {verb} {', '.join(absent)}, "
                "which this bundle requires"
            )
        if not held:
            names = ", ".join(m.value for m in manifest.modalities)
            return (
                f"capture {record.id} of {dataset.name} {verb} every one of {names}, "
                "which this bundle looks at"
            )
    return None


def _open(bundle: Bundle, threads: int) -> Engine:
    return open_engine(bundle, Backend.ONNXRUNTIME, threads=threads)


@dataclass(frozen=True, eq=False)
class _ScoredCapture:
    logits: NDArray[np.float32]
    present: tuple[Modality, ...]
    score: float


class _RecordingEngine:
    """Engine that keeps its last outputs: a Decision holds scores, not logits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.backend, self.version = engine.backend, engine.version
        self.max_batch = engine.max_batch
        self.last: EngineOutputs | None = None
        self.failure: Exception | None = None

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> EngineOutputs:
        """Run one batch; see `Engine.run`."""
        self.last = self.failure = None
        try:
            self.last = self._engine.run(inputs)
        except Exception as error:
            self.failure = error
            raise
        return self.last

    def open_lane(self, max_batch: int) -> Lane:
        """Return a lane of the engine, which is not recorded."""
        return self._engine.open_lane(max_batch)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def _batches(
    dataset: Dataset, manifest: Manifest
) -> Iterator[tuple[Sequence[CaptureRecord], list[Capture]]]:
    """Yield records and their frames, the next batch being read while one is scored."""
    depth = depth_encoding(manifest.inputs)
    parts = [dataset.records[i : i + BATCH] for i in range(0, len(dataset.records), BATCH)]

    def load(records: Sequence[CaptureRecord]) -> list[Capture]:
        return [dataset.load(_looked_at(record, depth), depth) for record in records]

    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(load, parts[0]) if parts else None
        for index, part in enumerate(parts):
            assert following is not None  # noqa: S101 - there is one for every part
            captures = following.result()
            if index + 1 < len(parts):
                following = reader.submit(load, parts[index + 1])
            yield part, captures


def _looked_at(record: CaptureRecord, depth: DepthEncoding | None) -> CaptureRecord:
    """Return a record without the depth frame where the model has no use for one.

    Without its encoding, depth kept as 8-bit levels has no unit. The face box stays where it is:
    it is given in pixels of the color frame.
    """
    if depth is not None or record.depth is None or record.rgb is None:
        return record
    return record.model_copy(update={"depth": None, "present": None})


def _score_batch(
    liveness: Liveness,
    engine: _RecordingEngine,
    records: Sequence[CaptureRecord],
    captures: Sequence[Capture],
    missing: Missing,
) -> list[_ScoredCapture]:
    reduced = [
        _reduce(liveness, record, capture, missing)
        for record, capture in zip(records, captures, strict=True)
    ]
    # The device's own path, from frames to score: what is measured is what it would answer.
    decisions = liveness.check_batch(reduced)
    if engine.failure is not None:
        raise engine.failure
    if engine.last is None or engine.last.logits.shape[0] != len(decisions):
        raise DatasetError(f"capture {records[0].id}: {', '.join(decisions[0].reasons)}")
    return [
        _ScoredCapture(logits, decision.modalities, decision.score)
        for logits, decision in zip(engine.last.logits, decisions, strict=True)
    ]


def _reduce(
    liveness: Liveness, record: CaptureRecord, capture: Capture, missing: Missing
) -> Capture:
    try:
        reduced = reduce_capture(capture, missing)
        liveness.require(reduced)
    except CaptureError as error:
        raise DatasetError(f"capture {record.id}: {error}") from error
    return reduced


def _gather(dataset: Dataset, answers: Sequence[_ScoredCapture]) -> ScoredDataset:
    values = np.array([answer.score for answer in answers], np.float64)
    return ScoredDataset(
        dataset=dataset,
        logits=np.stack([answer.logits for answer in answers]),
        present=tuple(answer.present for answer in answers),
        scores=Scores.of_captures(dataset.records, values, ~np.isnan(values)),
    )

"""Calibration set of a model: captures chosen from a list, stratified and spread by features."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk.preprocess import to_batch
from fasdk_calibration.calibration_set.selection import (
    Selection,
    require_camera_frames,
    select,
    stratum_of,
    take_all,
    thin,
)
from fasdk_calibration.datasets import announce_dataset, depth_encoding
from fasdk_calibration.datasets.overlap import require_none_shared, shared_subjects
from fasdk_engines.quantization.calibration.features import FeatureExtractor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.preprocess import PreprocessSpec
    from fasdk.progress import Progress
    from fasdk_calibration.datasets import CaptureRecord, Dataset, DatasetSource
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.quantization.work_folder import Section

_LOG = logging.getLogger(__name__)
# Candidates for each capture of the set; features of a full-size model take most of a second.
_CANDIDATES, _CANDIDATES_OF_A_LARGE_GRAPH = 8, 2
_LARGE_GRAPH = 64_000_000  # bytes


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """The captures a model is calibrated on.

    Attributes:
        name: File name of the list.
        listed: Number of captures in the list.
        records: The chosen captures, in list order.
        batches: Graph inputs of the captures, float32 [1, ...] by input name, one capture a batch.
        selection: Strata and coverage of the choice; its indices count the candidates.
    """

    name: str
    listed: int
    records: tuple[CaptureRecord, ...]
    batches: tuple[Mapping[str, NDArray[np.float32]], ...]
    selection: Selection

    @property
    def digest(self) -> str:
        """SHA-256 of the graph inputs, in order."""
        digest = hashlib.sha256()
        for batch in self.batches:
            for name in sorted(batch):
                digest.update(name.encode() + str(batch[name].shape).encode())
                digest.update(np.ascontiguousarray(batch[name]).data)
        return digest.hexdigest()


def open_calibration(
    source: DatasetSource,
    modalities: Sequence[Modality],
    required: Sequence[Modality],
    development: DevelopmentSet | None,
) -> Dataset:
    """Open calibration captures and check what can be checked before any frame is read.

    Args:
        source: Lists and folders of the captures.
        modalities: Modalities the model takes.
        required: Modalities that a capture must hold.
        development: Captures that the quantized model will be evaluated on, or None.

    Raises:
        DatasetError: The list is missing, malformed or empty, shares a subject with the development
            list, or holds a capture without a modality that the model requires.
    """
    dataset, name = source.open(), source.name
    if not dataset.records:
        raise DatasetError(f"calibration list {name} is empty: give at least one capture")
    for record in dataset.records:
        held = {m for m in modalities if getattr(record, m.value) is not None}
        lacking = [m.value for m in required if m not in held]
        if lacking or not held:
            absent = ", ".join(lacking) or " and ".join(m.value for m in modalities)
            raise DatasetError(
                f"calibration list {name}: capture {record.id} holds no {absent}, which the model "
                "needs: calibrate on captures as the device takes them"
            )
    if development is not None:
        require_none_shared(
            shared_subjects(dataset.subjects, (record.subject for record in development.records)),
            name=f"calibration list {name}",
            other=f"development list {development.name}",
            fix="calibrate on people the model is not evaluated on",
        )
    if len({record.label for record in dataset.records}) == 1:
        _LOG.warning(
            "calibration list %s holds %s presentations only: ranges and biases suit no others",
            name,
            dataset.records[0].label.value,
        )
    announce_dataset(dataset, modalities)
    return dataset


def choose_captures(
    dataset: Dataset,
    name: str,
    size: int,
    graph: bytes,
    specs: Mapping[Modality, PreprocessSpec],
    presence: Sequence[Modality] | None,
    section: Section,
    progress: Progress,
) -> CalibrationSet:
    """Choose a calibration set by the float graph's features of the candidates.

    Args:
        dataset: The captures, as `open_calibration` returned them.
        name: File name of the list, for messages.
        size: Number of captures to choose.
        graph: Path of the float32 graph.
        specs: Preprocessing by modality.
        presence: Column order of the graph's presence input, or None.
        section: Stores features, so that a killed build does not compute them again.
        progress: Receives the captures whose features are computed, of how many.

    Raises:
        DatasetError: A frame is unreadable, or the captures are unfit for calibration.
    """
    depth = depth_encoding(specs)

    def inputs(record: CaptureRecord) -> dict[str, NDArray[np.float32]]:
        return to_batch([dataset.load(record, depth, modalities=tuple(specs))], specs, presence)

    factor = _CANDIDATES if len(graph) < _LARGE_GRAPH else _CANDIDATES_OF_A_LARGE_GRAPH
    kept = thin([stratum_of(r) for r in dataset.records], factor * size)
    candidates = [dataset.records[index] for index in kept]
    strata = [stratum_of(record) for record in candidates]
    if len(candidates) <= size:
        selection = take_all(strata)
    else:
        features = _features(candidates, inputs, graph, section, progress)
        selection = select(features, strata, size)
    records = tuple(candidates[index] for index in selection.indices)
    batches = tuple(inputs(record) for record in records)
    _require_variety(batches, name)
    require_camera_frames(batches, name)
    return CalibrationSet(name, len(dataset.records), records, batches, selection)


def _features(
    candidates: Sequence[CaptureRecord],
    inputs: Callable[[CaptureRecord], dict[str, NDArray[np.float32]]],
    graph: bytes,
    section: Section,
    progress: Progress,
) -> NDArray[np.float32]:
    """Return the candidates' features, float32 [N, D], continuing where a killed build stopped."""
    stored = section.load_array("features")
    found = [] if stored is None else list(stored[: len(candidates)])
    if len(found) < len(candidates):
        extractor = FeatureExtractor(graph)
        for record in candidates[len(found) :]:
            found.append(extractor(inputs(record)))
            section.save_rows("features", found, last=len(found) == len(candidates))
            progress.update("calibration set", len(found), len(candidates))
    return np.stack(found)


def _require_variety(batches: Sequence[Mapping[str, NDArray[np.float32]]], name: str) -> None:
    """Refuse a set of identical captures."""
    first = batches[0]
    if len(batches) > 1 and all(
        np.array_equal(batch[key], first[key]) for batch in batches[1:] for key in first
    ):
        raise DatasetError(
            f"the {len(batches)} calibration captures in {name} are identical: "
            "give captures of different people and attacks"
        )


def captures_digest(captures: Sequence[Capture]) -> str:
    """Return the SHA-256 of captures: their frames, face boxes and landmarks, in order."""
    digest = hashlib.sha256()
    for capture in captures:
        for modality in capture.present:
            frame = capture.frame(modality)
            digest.update(f"{modality.value}{frame.dtype}{frame.shape}".encode())
            digest.update(np.ascontiguousarray(frame).data)
        face = None if capture.face is None else FaceBox.of(capture.face)
        digest.update(repr(face).encode())
        if capture.landmarks is not None:
            digest.update(np.asarray(capture.landmarks, "<f4").tobytes())
    return digest.hexdigest()

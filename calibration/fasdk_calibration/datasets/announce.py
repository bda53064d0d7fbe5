"""What a verb says of a data set before it uses it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Modality
from fasdk_calibration.datasets.loading import examine_capture
from fasdk_calibration.datasets.plausibility import distance_of, implausible_depth

if TYPE_CHECKING:
    from fasdk_calibration.datasets.dataset import Dataset

_LOG = logging.getLogger(__name__)
_EXAMINED = 32  # captures that are opened, spread over the list


def announce_dataset(dataset: Dataset, modalities: Collection[Modality] = tuple(Modality)) -> None:
    """Check that every frame is there, and say how a list is read and what its depth shows.

    Captures spread over the list are opened: what was decided about their files, and depth that
    no person at a door has, are said once, as warnings of the log.

    Args:
        dataset: Data set to be used.
        modalities: Modalities that will be looked at; no frame of another is opened.

    Raises:
        DatasetError: Frames are missing, or one of the captures opened is no capture; `fasdk
            dataset check` finds all such rows.
    """
    dataset.require_files()
    if dataset.reading:
        _LOG.warning("%s is read so: %s", dataset.name, "; ".join(dataset.reading))
    records = dataset.records
    count = min(_EXAMINED, len(records))
    chosen = [records[i] for i in np.linspace(0, len(records) - 1, count).round().astype(int)]
    notes: dict[str, None] = {}
    distances: list[float] = []
    for record in chosen:
        stored = examine_capture(record, dataset.root, modalities)
        if stored.faults:
            raise dataset.fault(record, stored.faults[0].reason)
        notes |= dict.fromkeys(stored.notes)
        distance = distance_of(record, stored)
        distances += [] if distance is None else [distance]
    for note in notes:
        _LOG.warning("%s: %s", dataset.name, note)
    warning = implausible_depth(distances)
    if warning is not None:
        _LOG.warning("%s: %s", dataset.name, warning)

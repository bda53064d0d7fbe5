"""Labelled captures on disk: lists, published data sets and folders of one's own."""

from __future__ import annotations

from fasdk_calibration.datasets.dataset import Dataset, load_capture, load_list, open_dataset
from fasdk_calibration.datasets.frames import read_frame
from fasdk_calibration.datasets.manifest import read_list
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    CaptureRecord,
    Label,
    LabelledCapture,
    Progress,
)
from fasdk_calibration.datasets.writing import write_captures

__all__ = [
    "BONA_FIDE_SPECIES",
    "CaptureRecord",
    "Dataset",
    "Label",
    "LabelledCapture",
    "Progress",
    "load_capture",
    "load_list",
    "open_dataset",
    "read_frame",
    "read_list",
    "write_captures",
]

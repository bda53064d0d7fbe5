"""Labeled captures on disk: capture lists and published data sets."""

from __future__ import annotations

from fasdk.frames import read_frame
from fasdk.lists import FaceForm, ListOptions
from fasdk_calibration.datasets.announce import announce_dataset
from fasdk_calibration.datasets.benchmark_list import (
    BenchmarkList,
    BenchmarkRow,
    LabelConvention,
    read_benchmark_list,
    write_benchmark_list,
)
from fasdk_calibration.datasets.capture_list import read_list, write_list
from fasdk_calibration.datasets.dataset import Dataset, open_dataset
from fasdk_calibration.datasets.depth import depth_encoding, levels_to_millimeters
from fasdk_calibration.datasets.loading import load_capture, load_list
from fasdk_calibration.datasets.plausibility import implausible_depth
from fasdk_calibration.datasets.records import (
    BONA_FIDE_SPECIES,
    CaptureRecord,
    DepthUnit,
    Label,
    LabeledCapture,
)
from fasdk_calibration.datasets.source import DatasetSource, join_datasets
from fasdk_calibration.datasets.writing import write_captures

__all__ = [
    "BONA_FIDE_SPECIES",
    "BenchmarkList",
    "BenchmarkRow",
    "CaptureRecord",
    "Dataset",
    "DatasetSource",
    "DepthUnit",
    "FaceForm",
    "Label",
    "LabelConvention",
    "LabeledCapture",
    "ListOptions",
    "announce_dataset",
    "depth_encoding",
    "implausible_depth",
    "join_datasets",
    "levels_to_millimeters",
    "load_capture",
    "load_list",
    "open_dataset",
    "read_benchmark_list",
    "read_frame",
    "read_list",
    "write_benchmark_list",
    "write_captures",
    "write_list",
]

"""Captures of a build: development, calibration, and the candidates for golden captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.bundle.manifest import Precision
from fasdk.errors import DatasetError
from fasdk_engines.graph.captures import read_development, seeded_captures, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.capture import Capture
    from fasdk_calibration.datasets import Dataset, DatasetSource
    from fasdk_engines.build.resolved import ResolvedBuild, ResolvedModel
    from fasdk_engines.graph.captures import DevelopmentSet

GOLDEN_COUNT = 4
_GOLDEN_CANDIDATES = 16
_EMULATED_COUNT = 32


@dataclass(frozen=True, eq=False)
class BuildCaptures:
    """Captures that one build runs its graphs on.

    Attributes:
        development: Labeled captures that thresholds are chosen on, or None.
        calibration: Captures that a calibration set is chosen from; None without INT8.
        emulation: Captures that the FP16 emulation runs on: spread over the development captures,
            or seeded random ones where there are none.
        golden: Golden captures of the bundle, or for INT8 the candidates for them: of the list of
            the request, else synthetic, for they travel in the bundle, readable by anyone.
        golden_note: What the golden captures are, for the manifest.
    """

    development: DevelopmentSet | None
    calibration: Dataset | None
    emulation: Sequence[Capture]
    golden: Sequence[Capture]
    golden_note: str


def read_captures(build: ResolvedBuild) -> BuildCaptures:
    """Read the development captures and open the calibration list.

    Raises:
        DatasetError: A list or frame is missing or malformed, or the calibration list cannot serve.
    """
    model = build.model
    development = None if build.development is None else _read(build.development, model)
    calibration = None
    if build.int8 is not None:
        from fasdk_engines.quantization.calibration.calibration_set import open_calibration

        calibration = open_calibration(
            build.int8.calibration,
            model.family.modalities,
            model.required,
            development,
        )
    # An INT8 graph's golden captures are those with the least drift among the candidates.
    count = _GOLDEN_CANDIDATES if build.precision is Precision.INT8 else GOLDEN_COUNT
    synthetic = seeded_captures(model.family.modalities, count)
    emulation = synthetic if development is None else spread(development.captures, _EMULATED_COUNT)
    if build.golden is None:
        golden, note = synthetic, "golden captures are synthetic"
    else:
        listed = read_golden(build, development)
        golden, note = spread(listed, count), f"golden captures are frames of {build.golden.name}"
    return BuildCaptures(development, calibration, emulation, golden, note)


def _read(source: DatasetSource, model: ResolvedModel) -> DevelopmentSet:
    return read_development(source, model.depth, model.family.modalities)


def read_golden(build: ResolvedBuild, development: DevelopmentSet | None) -> Sequence[Capture]:
    """Return the captures of the list that golden captures may come from.

    Raises:
        DatasetError: The list or a frame is missing or malformed, or every capture lacks a modality
            that the model requires.
    """
    assert build.golden is not None  # noqa: S101 - asked for by the caller
    if development is not None and build.golden == build.development:
        listed = development.captures
    else:
        listed = _read(build.golden, build.model).captures
    required = set(build.model.required)
    found = [capture for capture in listed if required <= set(capture.present)]
    if not found:
        raise DatasetError(
            f"{build.golden.name}: no capture holds "
            f"{', '.join(m.value for m in build.model.required)}, which the model requires: list "
            "captures that do, or leave out --golden"
        )
    return found

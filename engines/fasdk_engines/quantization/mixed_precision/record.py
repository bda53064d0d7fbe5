"""Calibration record of a quantized bundle: the member calibration.json."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fasdk.bundle.calibration import CALIBRATION_SCHEMA
from fasdk_engines.quantization.mixed_precision.summary import Int8Summary

if TYPE_CHECKING:
    from fasdk_calibration.calibration_set.selection import StratumShare
    from fasdk_calibration.datasets.pseudonyms import PseudonymRule
    from fasdk_engines.quantization.graph.layers import Layer
    from fasdk_engines.quantization.mixed_precision.budget import BudgetReport
    from fasdk_engines.quantization.mixed_precision.search import Trial
    from fasdk_engines.quantization.mixed_precision.sensitivity import LayerSensitivity
    from fasdk_engines.quantization.quantizer import ActivationRange


@dataclass(frozen=True)
class CalibrationCapture:
    """One capture of the calibration set.

    Attributes:
        id: Pseudonym of the capture's id in the list.
        subject: Pseudonym of the person in it.
    """

    id: str
    subject: str


@dataclass(frozen=True)
class CalibrationRecord:
    """Contents of calibration.json, besides its `schema_version` and `kind`.

    Attributes:
        precision: Types of the graph.
        list: Name of the calibration list.
        listed: Number of captures in the list.
        captures: The captures chosen from it, in list order.
        subjects: Pseudonym of every person in them; the model must be evaluated on other people.
        pseudonyms: How names were replaced.
        strata: Number of candidates and of chosen captures in each stratum.
        coverage_radius: Largest distance, in the float graph's features, of a candidate to the
            nearest chosen capture; 0 where all were taken.
        method: Range method of the activations.
        ranges: Quantization of each activation.
        layers: Every Linear and Conv layer, with the reason where it is not in INT8.
        reverted: Names of layers reverted to float for accuracy, in the order of the search.
        int8_share: Share of the layers' multiply-accumulates in INT8, in [0, 1].
        searched: Whether more accurate layers were searched for (`--precision auto`).
        sensitivities: Sensitivity of each layer in INT8; empty where it was not measured.
        trials: Every candidate that was evaluated, in order.
        development: List the budget was evaluated on, or None.
        budget: Limits and figures on that list, or None where it was not evaluated.
    """

    precision: str
    list: str
    listed: int
    captures: tuple[CalibrationCapture, ...]
    subjects: tuple[str, ...]
    pseudonyms: PseudonymRule
    strata: tuple[StratumShare, ...]
    coverage_radius: float
    method: str
    ranges: tuple[ActivationRange, ...]
    layers: tuple[Layer, ...]
    reverted: tuple[str, ...]
    int8_share: float
    searched: bool
    sensitivities: tuple[LayerSensitivity, ...]
    trials: tuple[Trial, ...]
    development: str | None
    budget: BudgetReport | None

    def summary(self) -> Int8Summary:
        """Return the summary for the build report."""
        return Int8Summary(
            calibration=self.list,
            captures=len(self.captures),
            subjects=len(self.subjects),
            method=self.method,
            int8_share=self.int8_share,
            layers=len(self.layers),
            int8_layers=sum(layer.quantized for layer in self.layers),
            residual_layers=sum(layer.is_residual for layer in self.layers),
            reverted=self.reverted,
            trials=len(self.trials),
            budget_note=(
                "not evaluated: built without --development captures"
                if self.budget is None
                else f"the liveness budget holds on {self.development}"
            ),
            budget=self.budget,
        )

    def to_bytes(self) -> bytes:
        """Return the JSON document; equal records give equal bytes."""
        document = {"schema_version": CALIBRATION_SCHEMA, "kind": "int8", **asdict(self)}
        document["layers"] = [
            {**asdict(layer), "quantized": layer.quantized} for layer in self.layers
        ]
        return json.dumps(_finite(document), indent=1, sort_keys=True, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it: a number that is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value

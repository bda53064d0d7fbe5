"""calibration.json: which captures calibrated a graph, what was decided, tried and measured."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fasdk_engines.quantization.mixed_precision.summary import Int8Summary

if TYPE_CHECKING:
    from fasdk_calibration.calibration_set.selection import StratumShare
    from fasdk_engines.quantization import ActivationRange, Layer
    from fasdk_engines.quantization.mixed_precision.budget import BudgetReport
    from fasdk_engines.quantization.mixed_precision.search import Trial
    from fasdk_engines.quantization.mixed_precision.sensitivity import LayerCost


@dataclass(frozen=True)
class CalibrationCapture:
    """One capture that calibrated."""

    id: str
    subject: str


@dataclass(frozen=True)
class CalibrationRecord:
    """The member calibration.json of a bundle in eight bits.

    Attributes:
        kind: "int8".
        precision: Types of the graph.
        list: Calibration list.
        listed: Captures in it.
        captures: The chosen ones, in list order.
        subjects: Everybody in them: nobody whom the model is judged on may be among these.
        strata: Candidates and chosen ones by stratum.
        coverage_radius: Largest distance, in the float graph's features, of a candidate to the
            nearest chosen one; 0 where all were taken.
        method: How activations' ranges were chosen.
        ranges: What was chosen, by activation.
        layers: Every Linear and Conv with its precision and why.
        given_back: Layers given back to floating point for accuracy, worst first.
        int8_share: Share of their multiply-accumulates in eight bits.
        searched: Whether layers could be given back (`--precision auto`).
        costs: What each layer costs in eight bits, where that was measured.
        trials: Every candidate that was judged, in order.
        development: List it was judged on, or None.
        budget: Limits and figures on that list, or None where it was not judged.
    """

    kind: str
    precision: str
    list: str
    listed: int
    captures: tuple[CalibrationCapture, ...]
    subjects: tuple[str, ...]
    strata: tuple[StratumShare, ...]
    coverage_radius: float
    method: str
    ranges: tuple[ActivationRange, ...]
    layers: tuple[Layer, ...]
    given_back: tuple[str, ...]
    int8_share: float
    searched: bool
    costs: tuple[LayerCost, ...]
    trials: tuple[Trial, ...]
    development: str | None
    budget: BudgetReport | None

    def summary(self) -> Int8Summary:
        """Return what a build's report says of it."""
        return Int8Summary(
            calibration=self.list,
            captures=len(self.captures),
            subjects=len(self.subjects),
            method=self.method,
            int8_share=self.int8_share,
            layers=len(self.layers),
            layers_in_int8=sum(layer.quantized for layer in self.layers),
            layers_in_two_terms=sum(layer.two_terms for layer in self.layers),
            given_back=self.given_back,
            trials=len(self.trials),
            judged=(
                "not judged: built without --development captures"
                if self.budget is None
                else f"the liveness budget holds on {self.development}"
            ),
            budget=self.budget,
        )

    def to_bytes(self) -> bytes:
        """Return the JSON document; equal records give equal bytes."""
        return json.dumps(_plain(asdict(self)), indent=1, sort_keys=True, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: a number that is none becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(held) for held in value]
    return value

"""Summary of a quantization for the build report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk_engines.quantization.mixed_precision.budget import BudgetReport


@dataclass(frozen=True)
class Int8Summary:
    """What eight bits add to a build.

    Attributes:
        calibration: Calibration list.
        captures: How many were chosen from it.
        subjects: How many people those are.
        method: How activations' ranges were chosen.
        int8_share: Share of the multiply-accumulates of Linear and Conv layers in eight bits.
        layers: Linear and Conv layers.
        layers_in_int8: Those in eight bits.
        layers_in_two_terms: Those of them that multiply twice, for accuracy.
        given_back: Layers given back to floating point for accuracy, worst first.
        trials: How many candidates were judged.
        judged: Which list the liveness budget holds on, or that it was not judged.
        budget: Limits and figures, or None where it was not judged.
    """

    calibration: str
    captures: int
    subjects: int
    method: str
    int8_share: float
    layers: int
    layers_in_int8: int
    layers_in_two_terms: int
    given_back: tuple[str, ...]
    trials: int
    judged: str
    budget: BudgetReport | None

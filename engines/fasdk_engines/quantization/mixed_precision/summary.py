"""Summary of a quantization for the build report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk_engines.quantization.mixed_precision.budget import BudgetReport


@dataclass(frozen=True)
class Int8Summary:
    """Summary of a quantization, as the build report shows it.

    Attributes:
        calibration: Name of the calibration list.
        captures: Number of captures chosen from it.
        subjects: Number of people in the chosen captures.
        method: Range method of the activations.
        int8_share: Share of the multiply-accumulates of Linear and Conv layers in INT8, in [0, 1].
        layers: Number of Linear and Conv layers.
        int8_layers: Number of those in INT8.
        residual_layers: Number of those in INT8 whose activation is held in two terms.
        reverted: Names of layers reverted to float for accuracy, in the order of the search.
        trials: Number of candidates evaluated.
        budget_note: On which list the liveness budget holds, or that it was not evaluated.
        budget: Limits and figures, or None where the budget was not evaluated.
    """

    calibration: str
    captures: int
    subjects: int
    method: str
    int8_share: float
    layers: int
    int8_layers: int
    residual_layers: int
    reverted: tuple[str, ...]
    trials: int
    budget_note: str
    budget: BudgetReport | None

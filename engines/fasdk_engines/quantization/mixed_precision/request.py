"""What a build in eight bits is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fasdk.errors import UsageError
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits

DEFAULT_SIZE = 128


@dataclass(frozen=True)
class Int8Request:
    """How to quantize, and what the result is held to.

    Attributes:
        calibration: List of captures to calibrate on; labels serve to spread the choice alone.
        root: Folder its paths are relative to; None is the list's own.
        size: How many captures to choose.
        method: How activations' ranges are chosen; None takes the quantizer's own.
        limits: The liveness budget.
        search: Whether layers are given back until the budget holds (`--precision auto`).
    """

    calibration: Path
    root: Path | None = None
    size: int = DEFAULT_SIZE
    method: RangeMethod | None = None
    limits: BudgetLimits = field(default_factory=BudgetLimits)
    search: bool = False

    def __post_init__(self) -> None:
        """Refuse a size of nothing."""
        if self.size < 1:
            raise UsageError(
                f"--calibration-size is {self.size}: nothing is calibrated on nothing, give at "
                "least 1"
            )

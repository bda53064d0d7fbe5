"""Request for a quantized build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fasdk.errors import UsageError
from fasdk.settings import take_choices
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits

if TYPE_CHECKING:
    from fasdk_calibration.datasets import DatasetSource

DEFAULT_SIZE = 128


@dataclass(frozen=True)
class Int8Request:
    """Settings of a quantization, and the liveness budget the result is held to.

    Attributes:
        calibration: Captures to calibrate on; their labels only stratify the choice.
        size: Number of captures to choose.
        method: Range method of the activations; None takes the quantizer's own.
        limits: The liveness budget.
        search: Whether layers are made more accurate until the budget holds (`--precision auto`).
    """

    calibration: DatasetSource
    size: int = DEFAULT_SIZE
    method: RangeMethod | None = None
    limits: BudgetLimits = field(default_factory=BudgetLimits)
    search: bool = False

    def __post_init__(self) -> None:
        """Require at least one capture, and take the method as its member."""
        take_choices(self, method=RangeMethod)
        if self.size < 1:
            raise UsageError(
                f"--calibration-size is {self.size}: at least 1 capture is needed to calibrate"
            )

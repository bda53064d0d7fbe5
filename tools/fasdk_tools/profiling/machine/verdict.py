"""Verdict on a measurement: whether its latencies can be trusted, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.conditions import machine_troubles
from fasdk_tools.profiling.machine.reasons import Limits, MeasurementReason, Trouble

if TYPE_CHECKING:
    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.machine.sources import NotRead


@dataclass(frozen=True)
class MeasurementVerdict:
    """Whether latencies can be trusted.

    Attributes:
        reasons: What speaks against them.
        not_read: What could not be read, which speaks neither for nor against them.
    """

    reasons: tuple[MeasurementReason, ...]
    not_read: tuple[NotRead, ...]

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the measurement."""
        return not self.reasons


def judge(
    record: MachineRecord,
    *,
    reformat_share: float | None = None,
    limits: Limits | None = None,
) -> MeasurementVerdict:
    """Judge a measurement.

    Args:
        record: What the machine did meanwhile.
        reformat_share: Share of the engine's time that reformatting layers take, in [0, 1], or None
            where layers were not timed.
        limits: Figures beyond which a measurement is not trusted; None for the usual ones.
    """
    limits = limits or Limits()
    reasons = list(machine_troubles(record, limits))
    if reformat_share is not None and reformat_share > limits.reformats:
        reasons.append(
            MeasurementReason(
                Trouble.REFORMATS,
                f"reformatting layers take {reformat_share:.0%} of the engine's time "
                f"(at most {limits.reformats:.0%})",
                "build the plan with one precision, or with --precision fp16 throughout",
            )
        )
    return MeasurementVerdict(tuple(dict.fromkeys(reasons)), record.not_read)

"""Verdict on a measurement: whether its latencies can be trusted, and why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.calls import call_troubles
from fasdk_tools.profiling.machine.conditions import machine_troubles
from fasdk_tools.profiling.machine.reasons import Limits, MeasurementReason, Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.machine.sources import NotRead
    from fasdk_tools.profiling.samples import Samples


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
    samples: Samples | None = None,
    *,
    reformat_share: float | None = None,
    limits: Limits | None = None,
) -> MeasurementVerdict:
    """Judge the measurement of one run.

    Args:
        record: What the machine did meanwhile.
        samples: Calls of the run, or None to judge the machine alone.
        reformat_share: Share of the engine's time that reformatting layers take, in [0, 1], or None
            where layers were not timed.
        limits: Figures beyond which a measurement is not trusted; None for the usual ones.
    """
    limits = limits or Limits()
    reasons = list(machine_troubles(record, limits))
    if samples is not None:
        reasons += call_troubles(samples, limits)
    if reformat_share is not None and reformat_share > limits.reformats:
        reasons.append(
            MeasurementReason(
                Trouble.REFORMATS,
                f"reformatting layers take {reformat_share:.0%} of the engine's time "
                f"(at most {limits.reformats:.0%})",
                "compare with a bundle of one precision, such as `fasdk build-engine --precision "
                "fp16`",
            )
        )
    return MeasurementVerdict(tuple(reasons), record.not_read)


def merge(verdicts: Sequence[MeasurementVerdict]) -> MeasurementVerdict:
    """Return one verdict on several runs: trusted where each of them is.

    A trouble that several runs have is told once, with the figure of the first of them.
    """
    first: dict[tuple[Trouble, str], MeasurementReason] = {}
    runs: dict[tuple[Trouble, str], set[int]] = {}
    for number, verdict in enumerate(verdicts):
        for reason in verdict.reasons:
            key = (reason.trouble, reason.action)
            first.setdefault(key, reason)
            runs.setdefault(key, set()).add(number)
    return MeasurementVerdict(
        reasons=tuple(
            reason
            if len(verdicts) == 1
            else replace(
                reason, measured=f"{reason.measured} (in {len(runs[key])} of {len(verdicts)} runs)"
            )
            for key, reason in first.items()
        ),
        not_read=tuple(dict.fromkeys(lack for each in verdicts for lack in each.not_read)),
    )

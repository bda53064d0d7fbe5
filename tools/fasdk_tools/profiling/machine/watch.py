"""Watch over a profile: the machine's record, verdict and energy of every run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.machine.energy import RailEnergy, rail_energies
from fasdk_tools.profiling.machine.monitor import MachineMonitor, MachineRecord
from fasdk_tools.profiling.machine.verdict import MeasurementVerdict, judge, merge
from fasdk_tools.profiling.samples import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fasdk_tools.profiling.machine.reasons import Trouble
    from fasdk_tools.profiling.samples import Samples

IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Watched:
    """What was seen of a profile.

    Attributes:
        record: What the machine did.
        verdict: Whether the runs can be trusted.
        energies: Energy of each run by rail, in order; none where no rail could be read.
    """

    record: MachineRecord
    verdict: MeasurementVerdict
    energies: tuple[tuple[RailEnergy, ...], ...]


class MachineWatch:
    """Watch over the machine while runs are measured.

    Attributes:
        monitor: Takes the readings.
    """

    def __init__(self, monitor: MachineMonitor | None = None) -> None:
        """Watch by a monitor; None for one of this machine."""
        self.monitor = monitor or MachineMonitor()
        self._spans: list[tuple[float, float]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take readings during the block, after the idle power where a rail can be read."""
        try:
            if self.monitor.measures_power:
                self.monitor.measure_idle(IDLE_SECONDS)
            with self.monitor.running():
                yield
        finally:
            self.monitor.close()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Mark the block as one run: what happens before and after it is not judged."""
        start_s = self.monitor.take().at_s
        yield  # a run that fails has no calls to judge
        self._spans.append((start_s, self.monitor.take().at_s))

    def found(
        self,
        runs: Sequence[Samples | None],
        *,
        reformat_share: float | None = None,
        expected: frozenset[Trouble] = frozenset(),
    ) -> Watched:
        """Judge the runs.

        Args:
            runs: Calls of every run that was marked, in order; None where only the machine is to
                be judged.
            reformat_share: Share of the engine's time that reformatting layers take, or None.
            expected: Troubles that are part of what was measured, and so are no reason.
        """
        record = self.monitor.record()
        verdicts, energies = [], []
        for (start_s, end_s), samples in zip(self._spans, runs, strict=True):
            part = record.between(start_s, end_s)
            verdict = judge(part, samples, reformat_share=reformat_share)
            reasons = tuple(each for each in verdict.reasons if each.trouble not in expected)
            verdicts.append(replace(verdict, reasons=reasons))
            energies.append(() if samples is None else rail_energies(part, _decisions(samples)))
        return Watched(record, merge(verdicts), tuple(energies))


def _decisions(samples: Samples) -> int:
    """Return the number of decisions that took energy, those of the warm-up included."""
    decided = int(np.count_nonzero(samples.outcome == Outcome.DECIDED))
    return decided * (samples.batch if samples.load is Load.CLOSED else 1)

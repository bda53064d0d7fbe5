"""Energy per decision, from the power rails."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.machine.readings import Rail, Reading


_LONGEST_GAP_S = 3.0


@dataclass(frozen=True)
class RailEnergy:
    """Energy that one rail delivered during a measurement.

    Attributes:
        rail: Name of the rail.
        joules: Energy over the measurement.
        seconds: Length of the measurement.
        decisions: Decisions made in it.
        idle_watts: Mean power before the measurement, with nothing to do, or None where it was not
            measured.
    """

    rail: str
    joules: float
    seconds: float
    decisions: int
    idle_watts: float | None

    @property
    def per_decision_j(self) -> float | None:
        """Joules a decision, what the machine uses when idle included; None without a decision."""
        return self.joules / self.decisions if self.decisions else None

    @property
    def above_idle_per_decision_j(self) -> float | None:
        """Joules a decision beyond what the machine would have used idle, or None."""
        if self.idle_watts is None or not self.decisions:
            return None
        return (self.joules - self.idle_watts * self.seconds) / self.decisions


def rail_energies(record: MachineRecord, decisions: int) -> tuple[RailEnergy, ...]:
    """Return the energy of each rail that could be read throughout; none where there is none."""
    found = []
    for name in dict.fromkeys(rail.name for reading in record.readings for rail in reading.rails):
        measured = _joules(record.readings, name)
        if measured is None:
            continue
        joules, seconds = measured
        idle = _joules(record.idle, name)
        idle_watts = None if idle is None else idle[0] / idle[1]
        found.append(RailEnergy(name, joules, seconds, decisions, idle_watts))
    return tuple(found)


def _joules(readings: Sequence[Reading], name: str) -> tuple[float, float] | None:
    """Return one rail's energy over all readings and their length in seconds, or None.

    Power is integrated by the trapezoidal rule; an energy counter's increases are added up. Where
    the rail was not read for longer than `_LONGEST_GAP_S`, or not at both ends, the rest would be a
    guess.
    """
    points = [
        (reading.at_s, rail) for reading in readings for rail in reading.rails if rail.name == name
    ]
    if len(points) < 2 or (points[0][0], points[-1][0]) != (readings[0].at_s, readings[-1].at_s):
        return None
    joules = 0.0
    for (start_s, before), (end_s, after) in pairwise(points):
        part = _between(before, after, end_s - start_s)
        if part is None or end_s - start_s > _LONGEST_GAP_S:
            return None
        joules += part
    seconds = points[-1][0] - points[0][0]
    return (joules, seconds) if seconds > 0 else None


def _between(before: Rail, after: Rail, seconds: float) -> float | None:
    if before.watts is not None and after.watts is not None:
        return (before.watts + after.watts) / 2 * seconds
    if before.joules is None or after.joules is None:
        return None
    increase = after.joules - before.joules
    if increase < 0:
        return None if after.wraps_at_j is None else increase + after.wraps_at_j
    return increase

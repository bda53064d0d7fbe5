"""Energy per decision from recorded rails."""

import pytest

from fasdk_tools.profiling.machine.energy import rail_energies
from fasdk_tools.profiling.machine.monitor import MachineMonitor, MachineRecord
from fasdk_tools.profiling.machine.readings import Rail, Reading

from support import machine_trees


def powers(*watts, seconds=1.0, name="VDD_IN"):
    return tuple(
        Reading(step * seconds, rails=() if power is None else (Rail(name, watts=power),))
        for step, power in enumerate(watts)
    )


def counters(*joules, wraps_at_j=None):
    return tuple(
        Reading(float(step), rails=(Rail("package-0", joules=energy, wraps_at_j=wraps_at_j),))
        for step, energy in enumerate(joules)
    )


def test_power_is_integrated_by_trapezoids_beside_the_idle_power():
    record = MachineRecord(powers(6.0, 10.0, 10.0), idle=powers(4.0, 6.0))
    (energy,) = rail_energies(record, decisions=6)
    assert (energy.rail, energy.joules, energy.seconds) == ("VDD_IN", 18.0, 2.0)
    assert energy.idle_watts == 5.0
    assert energy.per_decision_j == 3.0
    assert energy.above_idle_per_decision_j == pytest.approx(8 / 6)


def test_an_energy_counter_may_wrap():
    record = MachineRecord(counters(90.0, 98.0, 3.0, wraps_at_j=100.0))
    (energy,) = rail_energies(record, decisions=13)
    assert energy.joules == 13.0
    assert energy.per_decision_j == 1.0
    assert (energy.idle_watts, energy.above_idle_per_decision_j) == (None, None)


def test_a_counter_that_falls_without_a_known_end_gives_no_energy():
    assert rail_energies(MachineRecord(counters(90.0, 3.0)), decisions=1) == ()


def test_a_reading_that_is_missing_is_bridged():
    (energy,) = rail_energies(MachineRecord(powers(6.0, None, 6.0)), decisions=1)
    assert energy.joules == 12.0


@pytest.mark.parametrize(
    "watts", [(6.0,), (None, 6.0, 6.0), (6.0, 6.0, None), (6.0, None, None, None, 6.0)]
)
def test_a_rail_that_was_not_read_throughout_gives_no_energy(watts):
    assert rail_energies(MachineRecord(powers(*watts)), decisions=1) == ()


def test_no_decision_has_no_energy_a_decision():
    record = MachineRecord(powers(6.0, 6.0), idle=powers(4.0, 4.0))
    (energy,) = rail_energies(record, decisions=0)
    assert (energy.per_decision_j, energy.above_idle_per_decision_j) == (None, None)


def test_the_rails_of_an_orin_nano_are_integrated(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    assert monitor.measures_power
    for watts in (6.0, 8.0, 8.0):
        tree.write_rail(1, 1, "VDD_IN", watts)
        monitor.take()
        tree.pass_time(0.5)
    energies = {energy.rail: energy.joules for energy in rail_energies(monitor.record(), 1)}
    assert energies == pytest.approx({"VDD_IN": 7.5, "VDD_CPU_GPU_CV": 2.0, "VDD_SOC": 1.5})


def test_a_virtual_machine_has_no_energy(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    for _ in range(3):
        monitor.take()
        tree.pass_time(0.5)
    assert not monitor.measures_power
    assert rail_energies(monitor.record(), 1) == ()

"""Troubles that the calls of a run show."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.machine.calls import call_troubles
from fasdk_tools.profiling.machine.monitor import MachineMonitor
from fasdk_tools.profiling.machine.reasons import Limits, Trouble
from fasdk_tools.profiling.machine.verdict import merge
from fasdk_tools.profiling.machine.watch import MachineWatch
from fasdk_tools.profiling.samples import Samples

from support import machine_trees


def samples(due_ms, latency_ms, *, load=Load.CONSTANT, warmup=0, batch=1):
    due_ms, latency_ms = np.float64(due_ms), np.float64(latency_ms)
    return Samples(
        load=load,
        batch=batch,
        lanes=1,
        rate_per_s=None,
        due_ms=due_ms,
        submitted_ms=due_ms,
        answered_ms=due_ms + latency_ms,
        outcome=np.zeros(len(due_ms), np.uint8),
        warmup=warmup,
    )


def steady(calls=600, *, spacing_ms=50.0, seed=0, **options):
    rng = np.random.default_rng(seed)
    return samples(np.arange(calls) * spacing_ms, 8 * rng.lognormal(0, 0.2, calls), **options)


def with_pauses(factor, *, every=30, pause_ms=2000.0, seed=0, **options):
    """Return a run with a pause before each `every`th call, which takes `factor` times as long."""
    run = steady(seed=seed)
    first = np.arange(len(run)) % every == 0
    due_ms = run.due_ms + np.cumsum(first) * pause_ms
    return samples(due_ms, run.latency_ms * np.where(first, factor, 1.0), **options)


def troubles(run):
    return [reason.trouble for reason in call_troubles(run, Limits())]


def test_a_steady_run_has_none():
    found = [troubles(steady(seed=seed)) for seed in range(50)]
    assert found == [[]] * 50


def test_a_latency_that_rises_throughout_is_named():
    run = steady()
    rising = samples(run.due_ms, run.latency_ms * np.linspace(1.0, 1.4, len(run)))
    (reason,) = call_troubles(rising, Limits())
    assert reason.trouble is Trouble.DRIFT
    assert "in the first 15.0 s to" in reason.measured


def test_a_latency_that_rises_in_the_warm_up_alone_is_no_reason():
    run = steady()
    falling = run.latency_ms * np.where(np.arange(len(run)) < 100, 5.0, 1.0)
    assert troubles(samples(run.due_ms, falling, warmup=100)) == []


@pytest.mark.parametrize("load", [Load.CONSTANT, Load.POISSON, Load.REPLAY, Load.CLOSED])
def test_a_wake_up_after_a_pause_is_named(load):
    # As many pauses in each window, so that the rate of a closed loop is steady.
    (reason,) = call_troubles(with_pauses(3.0, every=25, load=load), Limits())
    assert reason.trouble is Trouble.WAKE_UP
    assert "24 pauses" not in reason.measured  # the first call has no pause before it
    assert "23 pauses" in reason.measured


def test_pauses_that_cost_nothing_are_no_reason():
    assert [troubles(with_pauses(1.0, seed=seed)) for seed in range(50)] == [[]] * 50


def test_pauses_of_a_load_that_is_about_them_are_no_reason():
    assert troubles(with_pauses(3.0, load=Load.IDLE)) == []


def test_captures_that_are_due_all_at_once_are_no_drift():
    run = samples(np.zeros(500), 5.0 * np.arange(1, 501), load=Load.OFFLINE)
    assert troubles(run) == []


def test_a_warm_up_that_does_not_end_is_named_with_what_to_do():
    run = steady()
    swinging = np.where(np.arange(len(run)) // 86 % 2, 1.5, 1.0)
    (reason,) = call_troubles(samples(run.due_ms, run.latency_ms * swinging), Limits())
    assert reason.trouble is Trouble.UNSTEADY
    assert "not over after 600 calls in 29.9 s: no 3 successive windows agree" in reason.measured
    assert reason.action.startswith("measure for longer with --seconds or --soak; look for")


@pytest.mark.parametrize(
    ("load", "action"),
    [
        (Load.CLOSED, "measure for longer with --seconds or --soak"),
        (Load.OFFLINE, "measure more captures with --calls"),
        (Load.REPLAY, "replay a longer recording"),
    ],
)
def test_a_run_too_short_to_show_a_steady_state_is_named(load, action):
    (reason,) = call_troubles(steady(150, load=load), Limits())
    assert reason.trouble is Trouble.UNSTEADY
    assert re.search(r"150 decided calls in 7\.[45] s are too few", reason.measured)
    assert "at least 151 calls and 1.5 s" in reason.measured
    assert reason.action == action


def test_calls_that_were_refused_are_left_out():
    run = steady()
    answered_ms = run.answered_ms.copy()
    answered_ms[::3] = np.nan
    assert troubles(replace(run, answered_ms=answered_ms)) == []


def watched(tree, *runs, seconds=0.5):
    """Return what a watch found of runs, each of four half seconds."""
    watch = MachineWatch(MachineMonitor(tree.root, clock=tree.clock))
    watch.monitor.take()
    for _ in runs:
        tree.pass_time(60.0)  # opening an engine, which nobody judges
        with watch.run():
            for _ in range(4):
                tree.pass_time(seconds)
                watch.monitor.take()
            tree.pass_time(seconds)
    return watch.found(runs)


def test_every_run_is_judged_by_itself(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    found = watched(tree, steady(), with_pauses(3.0), with_pauses(4.0))
    (reason,) = found.verdict.reasons
    assert reason.trouble is Trouble.WAKE_UP
    assert "3.1 times, 19 pauses" in reason.measured
    assert reason.measured.endswith("(in 2 of 3 runs)")
    assert found.energies == ((), (), ())


def test_a_decision_has_its_share_of_the_runs_energy(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    run = steady(600, load=Load.CLOSED, batch=2, warmup=10)
    found = watched(tree, run, run)
    assert found.verdict.trusted, found.verdict.reasons
    first = {energy.rail: energy for energy in found.energies[0]}["VDD_IN"]
    assert (first.joules, first.seconds, first.decisions) == pytest.approx((15.0, 2.5, 1200))
    assert first.per_decision_j == pytest.approx(0.0125)
    assert first.idle_watts is None


def test_one_verdict_on_no_run_is_that_nothing_speaks_against_it():
    assert merge([]).trusted

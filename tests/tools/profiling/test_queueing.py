"""Open loads held against queueing theory, and the theory against simulated queues."""

from __future__ import annotations

import numpy as np
import pytest

from support import profile_queueing as queueing
from support.timed_engine import Stall

SERVICE_MS = queueing.SERVICE_MS


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("service", [queueing.fixed, queueing.two_point])
def test_the_formula_is_the_mean_of_the_recursion(load, service):
    rng, calls = np.random.default_rng(0), 60_000
    draw = service()
    services = np.array([draw() for _ in range(calls)])
    due = np.cumsum(rng.exponential(SERVICE_MS / load, calls))
    simulated = queueing.waiting_by_recursion(due, services).mean()
    offered = (calls - 1) / (due[-1] - due[0])
    assert simulated == pytest.approx(queueing.mean_waiting_ms(offered, services), rel=0.1)


def test_the_formula_is_the_published_one_for_fixed_services():
    # M/D/1 at 50 %: half a service (Kleinrock, Queueing Systems 1, 1975)
    assert queueing.mean_waiting_ms(0.1, np.full(9, 5.0)) == pytest.approx(2.5)


@pytest.mark.parametrize("p", [95, 99, 99.9])
def test_a_stall_takes_the_percentile_of_the_simulated_queue(p):
    stall = Stall(every_ms=5_000.0, length_ms=200.0)
    due = np.arange(0.0, 500_000, 2 * SERVICE_MS)
    services = np.full(len(due), SERVICE_MS)
    services[due % stall.every_ms == 0] += stall.length_ms
    waiting = queueing.waiting_by_recursion(due, services)
    latency = np.sort(waiting + services)
    found = latency[int(np.ceil(len(due) * p / 100)) - 1]
    assert found == pytest.approx(
        queueing.stalled_percentile_ms(p, SERVICE_MS, 0.5 / SERVICE_MS, stall), rel=0.05
    )


@pytest.mark.slow
def test_an_open_load_shows_a_stall_that_the_closed_loop_hides():
    found = queueing.measure_stall(6.0, Stall(every_ms=2_000.0, length_ms=100.0))
    assert found["constant"] > found["theory_ms"] / 2
    assert found["closed"] < found["constant"] / 2

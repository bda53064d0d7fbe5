"""Open loads held against queueing theory, and a planted stall under open and closed loads.

    PYTHONPATH=tests python -m support.profile_queueing [--scale 1.0]

prints one JSON document, after some eight minutes at full size.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fasdk.session.session import Liveness
from fasdk_tools.profiling.load import Load, LoadRequest
from fasdk_tools.profiling.measure import measure
from fasdk_tools.profiling.percentiles import percentile

from support import tiny_bundle
from support.timed_engine import Stall, TimedEngine, timed_session

SERVICE_MS = 5.0
TWO_POINT_MS = (2.0, 8.0)  # half of the calls each: a squared coefficient of variation of 0.36
# Chance moves the mean waiting of 5,000 arrivals by some 10 % at a load of 80 %: more are needed.
ARRIVALS = {0.5: 6_000, 0.8: 20_000}
STALL = Stall(every_ms=5_000.0, length_ms=200.0)
STALL_SECONDS = 60.0
_BURST = 400


@dataclass(frozen=True)
class Waiting:
    """Mean waiting of one open load, measured and expected.

    Attributes:
        queue: "M/D/1" or "M/G/1".
        load: Share of the time that the lane is meant to work.
        arrivals: Number of arrivals.
        utilization: Share of the time that the lane worked, from the arrivals and services that
            were.
        waiting_ms: Mean waiting measured, in milliseconds.
        theory_ms: Mean waiting by Pollaczek and Khinchine, in milliseconds.
        recursion_ms: Mean waiting by Lindley's recursion over the very arrivals and services that
            were, in milliseconds.
    """

    queue: str
    load: float
    arrivals: int
    utilization: float
    waiting_ms: float
    theory_ms: float
    recursion_ms: float


def fixed() -> Callable[[], float]:
    """Return service times that are all alike."""
    return lambda: SERVICE_MS


def two_point(seed: int = 0) -> Callable[[], float]:
    """Return service times of two values, equally likely."""
    rng = np.random.default_rng(seed)
    return lambda: TWO_POINT_MS[int(rng.integers(2))]


def mean_waiting_ms(rate_per_ms: float, service_ms: NDArray[np.float64]) -> float:
    """Return the mean waiting of M/G/1 (Pollaczek 1930, Khinchine 1932), in milliseconds."""
    utilization = rate_per_ms * float(service_ms.mean())
    return rate_per_ms * float((service_ms**2).mean()) / (2.0 * (1.0 - utilization))


def waiting_by_recursion(
    due_ms: NDArray[np.float64], service_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each arrival's waiting in a first-come queue (Lindley 1952), float64 [n]."""
    waiting = np.zeros(len(due_ms))
    for now in range(1, len(due_ms)):
        gap = due_ms[now] - due_ms[now - 1]
        waiting[now] = max(0.0, waiting[now - 1] + service_ms[now - 1] - gap)
    return waiting


def stalled_percentile_ms(p: float, service_ms: float, rate_per_ms: float, stall: Stall) -> float:
    """Return a percentile of latency under a constant load with stalls, in milliseconds.

    Waiting falls evenly from a stall's length to 0 while the backlog is worked off; the share of
    arrivals that meet it is length / ((1 - utilization) * every).
    """
    share = stall.length_ms / ((1.0 - rate_per_ms * service_ms) * stall.every_ms)
    return service_ms + stall.length_ms * max(0.0, 1.0 - (1.0 - p / 100.0) / share)


def overhead_ms(session: Liveness, engine: TimedEngine) -> float:
    """Return what the lane is busy for in a call beside the engine's time, from a full queue."""
    answered_ns: list[int] = []
    all_answered = threading.Event()

    def answered(_: object) -> None:
        answered_ns.append(time.monotonic_ns())
        if len(answered_ns) == _BURST:
            all_answered.set()

    before = len(engine.asked_ms)
    capture = tiny_bundle.capture()
    for _ in range(_BURST):
        session.submit(capture).add_done_callback(answered)
    if not all_answered.wait(600.0):
        raise RuntimeError(f"{len(answered_ns)} of {_BURST} captures were answered")
    asked = float(np.mean(engine.asked_ms[before + 1 : before + _BURST]))
    return (answered_ns[-1] - answered_ns[0]) / 1e6 / (_BURST - 1) - asked


def measure_waiting(
    queue: str, service_ms: Callable[[], float], load: float, arrivals: int, seed: int = 1
) -> Waiting:
    """Measure the mean waiting of Poisson arrivals at one lane."""
    engine = TimedEngine(service_ms)
    with timed_session(engine) as session:
        beside_ms = overhead_ms(session, engine)
        rate_per_ms = load / (SERVICE_MS + beside_ms)
        before = len(engine.asked_ms)
        request = LoadRequest(
            load=Load.POISSON,
            rate_per_s=1e3 * rate_per_ms,
            seconds=1.05 * arrivals / (1e3 * rate_per_ms),
            seed=seed,
        )
        samples = measure(session, [tiny_bundle.capture()], request)
    services_ms = np.array(engine.asked_ms[before:])[-len(samples) :] + beside_ms
    offered = (len(samples) - 1) / float(samples.due_ms[-1] - samples.due_ms[0])
    return Waiting(
        queue=queue,
        load=load,
        arrivals=len(samples),
        utilization=offered * float(services_ms.mean()),
        waiting_ms=float(samples.stages_ms["queue"].mean()),
        theory_ms=mean_waiting_ms(offered, services_ms),
        recursion_ms=float(waiting_by_recursion(samples.due_ms, services_ms).mean()),
    )


def measure_stall(seconds: float, stall: Stall = STALL) -> dict[str, float]:
    """Measure p99 of a constant load at 50 % and of a closed loop on an engine that stalls."""
    rate_per_ms = 0.5 / SERVICE_MS
    p99: dict[str, float] = {}
    for load, rate in ((Load.CONSTANT, 1e3 * rate_per_ms), (Load.CLOSED, None)):
        with timed_session(TimedEngine(fixed(), stall)) as session:
            request = LoadRequest(load=load, rate_per_s=rate, seconds=seconds)
            samples = measure(session, [tiny_bundle.capture()], request).counted
        found = percentile(samples.latency_ms, 99)
        p99[load.value] = float("nan") if found.ms is None else found.ms
    theory = stalled_percentile_ms(99, SERVICE_MS, rate_per_ms, stall)
    return {"theory_ms": theory, "service_ms": SERVICE_MS} | p99


def main() -> int:
    """Measure every load and print what was found and expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    scale: float = parser.parse_args().scale
    waiting = [
        asdict(measure_waiting(queue, service, load, int(scale * arrivals)))
        for load, arrivals in ARRIVALS.items()
        for queue, service in (("M/D/1", fixed()), ("M/G/1", two_point()))
    ]
    print(json.dumps({"waiting": waiting, "stall": measure_stall(scale * STALL_SECONDS)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

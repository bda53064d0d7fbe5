"""Made-up profiles with latencies of a known shape, and their pages."""

from __future__ import annotations

import numpy as np

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.machine.energy import RailEnergy
from fasdk_tools.profiling.machine.monitor import MachineRecord
from fasdk_tools.profiling.machine.readings import (
    Clock,
    ClockKind,
    CpuTimes,
    Rail,
    Reading,
    Temperature,
)
from fasdk_tools.profiling.result import ProfileDocument, Run
from fasdk_tools.profiling.samples import Outcome, Samples
from fasdk_tools.report.profile import LayerTime, LayerTimes

SHARES = {
    "gates": 0.04,
    "queue": 0.2,
    "preprocess": 0.16,
    "upload": 0.03,
    "engine": 0.5,
    "download": 0.02,
    "decision": 0.03,
    "other": 0.02,
}
ENERGIES = (RailEnergy("VDD_IN", joules=720.0, seconds=60.0, decisions=400, idle_watts=6.5),)
LAYERS = LayerTimes(
    tuple(
        LayerTime(f"/backbone/stage{i}/Conv_{i}", "FP16", 0.4 / (i + 1), is_reformat=i == 3)
        for i in range(24)
    ),
    whole_ms=1.9,
)


def samples(
    calls: int,
    *,
    load: Load = Load.CONSTANT,
    rate_per_s: float | None = 20.0,
    lanes: int = 1,
    spread: float = 0.2,
    warmup: int = 3,
    refused: int = 0,
    seed: int = 0,
) -> Samples:
    """Return log-normal latencies with a median of 8 ms, the warm-up slower.

    Args:
        calls: Calls that are counted.
        load: How they arrive.
        rate_per_s: Arrivals a second; None for a closed loop.
        lanes: Lanes.
        spread: Standard deviation of the latency's logarithm.
        warmup: Calls before them.
        refused: How many of the counted calls are refused, spread over the run.
        seed: Seed of the latencies.
    """
    rng = np.random.default_rng(seed)
    latency_ms = 8.0 * np.exp(spread * rng.standard_normal(warmup + calls))
    latency_ms[:warmup] *= 4.0
    due_ms = (
        np.cumsum(latency_ms)
        if rate_per_s is None
        else 1e3 / rate_per_s * np.arange(warmup + calls)
    )
    outcome = np.full(warmup + calls, Outcome.DECIDED, np.uint8)
    outcome[warmup:][: refused * 7 : 7] = Outcome.REFUSED
    answered_ms = np.where(outcome == Outcome.DECIDED, due_ms + latency_ms, np.nan)
    return Samples(
        load=load,
        batch=1,
        lanes=lanes,
        rate_per_s=rate_per_s,
        due_ms=due_ms,
        submitted_ms=due_ms,
        answered_ms=answered_ms,
        outcome=outcome,
        stages_ms={name: share * (answered_ms - due_ms) for name, share in SHARES.items()},
        warmup=warmup,
    )


def document(
    *runs: Samples,
    trusted: bool | None = None,
    energies: tuple[RailEnergy, ...] = (),
    **fields: object,
) -> ProfileDocument:
    """Return the document of some runs, each of which took the same energy."""
    values = {
        "bundle": "lobby.fasb",
        "bundle_id": "a" * 64,
        "bundle_trust": "unsigned",
        "backend": "onnxruntime",
        "version": "1.23.2",
        "precision": "fp32",
        "captures": 8,
        "trusted": trusted,
        "runs": tuple(Run.of(run, 12.0, energies) for run in runs),
    }
    return ProfileDocument(**(values | fields))


def machine(seconds: int = 60) -> MachineRecord:
    """Return a board that gets warmer until it slows down."""
    readings = tuple(
        Reading(
            at_s=1000.0 + at,
            cpu=CpuTimes(6, busy_s=50.0 + 2.5 * at, own_s=2.0 * at),
            clocks=(
                Clock("policy0", ClockKind.CPU, 1500.0 - 300.0 * (at > 40)),
                Clock("17000000.gpu", ClockKind.GPU, 918.0 - 306.0 * (at > 40)),
            ),
            temperatures=(
                Temperature("cpu-thermal", 48.0 + 0.4 * at),
                Temperature("tj-thermal", 52.0 + 0.5 * at, 85.0),
            ),
            rails=(Rail("VDD_IN", 9.0 + 3.0 * (at > 5)),),
            gpu_load=0.6,
        )
        for at in range(seconds)
    )
    return MachineRecord(readings, power_mode="15W", jetson=True)


def rates() -> list[Samples]:
    """Return a closed loop, three open loads and one with few calls."""
    return [
        samples(400, load=Load.CLOSED, rate_per_s=None),
        samples(3100, rate_per_s=20.0, spread=0.15, seed=1),
        samples(900, rate_per_s=60.0, spread=0.6, refused=9, seed=2),
        samples(1200, rate_per_s=100.0, spread=1.2, seed=3),
        samples(40, rate_per_s=20.0, lanes=2, seed=4),
    ]

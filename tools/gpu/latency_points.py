"""Latency of an engine at batch sizes, with CUDA graphs and without."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from claims import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from setting import Sizes

    from fasdk.backends.tensorrt.execution import TensorRtEngine
    from fasdk.backends.tensorrt.lane import TensorRtLane

WARM_UP_CALLS = 5


def latency_claims(
    what: str,
    engine: TensorRtEngine,
    inputs: Mapping[str, NDArray[np.float32]],
    batches: Sequence[int],
    sizes: Sizes,
) -> Iterator[Claim]:
    """Measure calls of a timed engine at every batch size, with graphs and without.

    A call's time is the host's, from filled inputs to copied outputs; the engine's is that between
    two CUDA events, so that its median cannot exceed the call's.

    Args:
        what: Name of the engine in the claims.
        engine: The engine, which times its lanes.
        inputs: float32 [largest batch, ...] by input name.
        batches: Batch sizes.
        sizes: Number of calls.
    """
    for batch in batches:
        for graphs in (True, False):
            way = "graphs" if graphs else "enqueued"
            lane = engine.open_lane(batch, graphs=graphs)
            try:
                if graphs and not lane.uses_graphs:
                    note = "the capture of a graph was refused"
                    yield Claim(f"{what}, batch {batch}, {way}: ran", None, "==", True, note)
                    continue
                call_ms, device = _measure(lane, inputs, batch, sizes)
            finally:
                lane.close()
            yield _claim_of(f"{what}, batch {batch}, {way}", call_ms, device)


def _measure(
    lane: TensorRtLane, inputs: Mapping[str, NDArray[np.float32]], batch: int, sizes: Sizes
) -> tuple[list[float], NDArray[np.float64]]:
    """Return each call's time, and float64 [calls, 3] of upload, engine and download, all in ms."""
    for name, rows in lane.inputs.items():
        np.copyto(rows[:batch], inputs[name][:batch])
    for _ in range(WARM_UP_CALLS):
        lane.run(batch)
    call_ms, device = list[float](), list[tuple[float, float, float]]()
    end_s = time.perf_counter() + sizes.point_s
    while len(call_ms) < sizes.calls and (not call_ms or time.perf_counter() < end_s):
        start_s = time.perf_counter()
        found = lane.run(batch)
        call_ms.append(1e3 * (time.perf_counter() - start_s))
        if found.device is not None:
            times = found.device
            device.append((times.upload_ms, times.engine_ms, times.download_ms))
    return call_ms, np.asarray(device, np.float64).reshape(-1, 3)


def _claim_of(what: str, call_ms: Sequence[float], device: NDArray[np.float64]) -> Claim:
    p50_ms, p99_ms = (float(np.percentile(call_ms, p)) for p in (50, 99))
    figures: dict[str, Any] = {"p50_ms": p50_ms, "p99_ms": p99_ms, "calls": len(call_ms)}
    claim = f"{what}: median engine time in ms by CUDA events, within that of a call"
    if not len(device):
        return Claim(claim, None, "<=", p50_ms, "the lane took no times", figures=figures)
    medians = np.median(device, axis=0)
    figures |= {
        "engine_p99_ms": float(np.percentile(device[:, 1], 99)),
        "upload_p50_ms": float(medians[0]),
        "download_p50_ms": float(medians[2]),
    }
    return Claim(claim, float(medians[1]), "<=", p50_ms, figures=figures)

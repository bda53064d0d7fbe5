"""Made-up runs of a door: pauses, cold starts and a long run, in the document of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasdk_tools.profiling.door_figures import (
    PARTS,
    ColdFigures,
    ColdPart,
    ColdStart,
    IdleFigures,
    MinuteFigures,
    PauseFigures,
    SoakFigures,
    TrackFigures,
)
from fasdk_tools.profiling.result import ProfileDocument, Run

from support import profile_pages

if TYPE_CHECKING:
    from fasdk_tools.profiling.samples import Samples


def idle() -> Run:
    """Return first decisions that take 8 ms, and after long pauses three times as long."""
    rng = np.random.default_rng(5)
    pauses: list[PauseFigures] = []
    for pause_s in (0.0, 1.0, 5.0, 10.0, 60.0):
        ms = (8.0 + 16.0 * (pause_s >= 5.0)) * np.exp(0.1 * rng.standard_normal(20))
        median_ms = float(np.median(ms))
        pauses.append(
            PauseFigures(
                pause_s=pause_s,
                calls=20,
                median_ms=median_ms,
                largest_ms=float(ms.max()),
                ratio_to_busy=median_ms / (pauses[0].median_ms if pauses else median_ms),
                latencies_ms=tuple(ms.tolist()),
            )
        )
    track = TrackFigures(
        fps=30.0,
        tracks=20,
        verdicts=19,
        median_ms=142.0,
        largest_ms=180.0,
        median_frames=3.0,
        frame_median_ms=8.4,
        times_ms=(142.0,) * 19 + (None,),
    )
    return Run.of_pauses(
        IdleFigures(
            quick=False, busy_median_ms=pauses[0].median_ms, pauses=tuple(pauses), track=track
        )
    )


def cold() -> Run:
    """Return ten cold starts after a slow first one."""
    means_ms = dict(zip(PARTS, (22.0, 310.0, 12.0, 95.0, 4.0, 14.0), strict=True))
    rng = np.random.default_rng(6)

    def start(scale: float) -> ColdStart:
        times = {
            f"{part}_ms": float(scale * ms * np.exp(0.1 * rng.standard_normal()))
            for part, ms in means_ms.items()
        }
        return ColdStart(**times, total_ms=sum(times.values()), plan="cache")

    first, *others = [start(3.0), *(start(1.0) for _ in range(10))]
    parts = {
        name: ColdPart(
            median_ms=float(np.median([getattr(each, f"{name}_ms") for each in others])),
            largest_ms=max(getattr(each, f"{name}_ms") for each in others),
        )
        for name in (*PARTS, "total")
    }
    return Run.of_starts(
        ColdFigures(
            quick=True,
            backend="onnxruntime",
            version="1.23.2",
            first=first,
            starts=tuple(others),
            parts=parts,
        )
    )


def soak(calls: Samples, *, minutes: int = 45) -> Run:
    """Return a long run of some calls that gets slower, larger and warmer."""
    series = tuple(
        MinuteFigures(
            minute=number,
            calls=1200,
            median_ms=8.0 + 0.05 * number,
            largest_ms=14.0 + 3.0 * (number % 7 == 0),
            resident_mb=310.0 + 0.4 * number,
            temperature_c=48.0 + 12.0 * (1.0 - 0.9**number),
        )
        for number in range(1, minutes + 1)
    )
    figures = SoakFigures(
        load=calls.load.value,
        asked_s=60.0 * minutes,
        measured_s=60.0 * minutes,
        interrupted=False,
        first_ms=8.05,
        last_ms=8.0 + 0.05 * minutes,
        spearman=0.81,
        drifts=True,
        memory_growth_mb=0.4 * (minutes - 2),
        minutes=series,
    )
    return Run.of(calls).model_copy(update={"soak": figures})


def whole() -> tuple[ProfileDocument, list[Samples | None]]:
    """Return pauses, cold starts and a long run in one document, and their samples."""
    calls = profile_pages.samples(5400, rate_per_s=2.0, seed=7)
    found = profile_pages.document(
        calls, trusted=True, not_read=("throttling: the kernel shows no counter",)
    )
    runs = (idle(), cold(), soak(calls))
    return found.model_copy(update={"runs": runs}), [None, None, calls]

"""Arrival times of open loads."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bounded_file import FileKind, read_bounded
from fasdk.errors import UsageError
from fasdk_tools.profiling.load import Load, LoadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def due_times_ms(request: LoadRequest) -> NDArray[np.float64]:
    """Return when each capture of an open load is due, float64 [n], in milliseconds, ascending.

    At least `min_calls` of them. The times of one request are always the same: random ones come
    from its seed.
    """
    if request.load is Load.OFFLINE:
        return np.zeros(request.calls)
    if request.load is Load.REPLAY:
        recorded = np.asarray(request.arrivals_ms, np.float64)
        return np.asarray(recorded - recorded[0], np.float64)
    assert request.rate_per_s is not None  # noqa: S101 - the request has checked it
    period_ms = 1e3 / request.rate_per_s
    count = request.due_calls
    rng = np.random.default_rng(request.seed)
    if request.load is Load.POISSON:
        return np.cumsum(rng.exponential(period_ms, count), dtype=np.float64)
    if request.fps is None:
        return np.arange(count, dtype=np.float64) * period_ms
    # Cameras that nothing synchronizes: each has a phase of its own, and keeps it.
    phases = np.sort(rng.uniform(0.0, 1.0, request.cameras))
    number = np.arange(count)
    turn = phases[number % request.cameras] + number // request.cameras
    return np.asarray((turn - phases[0]) * 1e3 / request.fps, np.float64)


def read_arrivals(path: Path) -> NDArray[np.float64]:
    """Read recorded arrival times, float64 [n], in milliseconds, ascending.

    A line is a time in milliseconds, or a document of `fasdk run --json`, whose capture was exposed
    `latency_ms` before the decision; one without a capture is passed over.

    Raises:
        UsageError: The file is absent, holds no time, or a line is no time or lies before the line
            above it.
    """
    lines = _lines(path)
    found = [(number, _time_ms(path, number, line)) for number, line in lines]
    known = [(number, time_ms) for number, time_ms in found if time_ms is not None]
    times_ms = np.array([time_ms for _, time_ms in known])
    if not len(times_ms):
        raise UsageError(
            f"{path} holds no arrival time: expected one a line in milliseconds, or what "
            "`fasdk run --json` prints"
        )
    back = np.flatnonzero(np.diff(times_ms) < 0)
    if len(back):
        at = int(back[0]) + 1
        raise UsageError(
            f"{path}:{known[at][0]}: goes back in time, from {times_ms[at - 1]:.3f} to "
            f"{times_ms[at]:.3f} ms: sort the times, or record them again on a clock that is not "
            "set meanwhile"
        )
    return times_ms


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file that are not empty, with their numbers from 1."""
    try:
        text = read_bounded(path, FileKind.LIST).decode()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read as arrival times: {cause}") from None
    return [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]


def _time_ms(path: Path, number: int, line: str) -> float | None:
    """Return the arrival time of one line, None for a decision on no capture."""
    found = math.nan
    try:
        if line.startswith("{"):
            document: Any = json.loads(line)
            if document["latency_ms"] is None:
                return None
            found = 1e3 * float(document["unix_s"]) - float(document["latency_ms"])
        else:
            found = float(line)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    if not math.isfinite(found):
        raise UsageError(
            f"{path}:{number}: {line[:60]!r} is no arrival time: expected milliseconds, or a line "
            "of `fasdk run --json`"
        )
    return found

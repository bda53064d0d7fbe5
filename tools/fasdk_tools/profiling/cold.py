"""Cold starts: a new process each time, from its start to its first decision."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fasdk.errors import BackendError
from fasdk_tools.profiling.door_figures import PARTS, ColdFigures, ColdPart, ColdStart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SHOWN = 200  # characters of a child's output in a message


@dataclass(frozen=True)
class ColdRequest:
    """Cold starts to measure.

    Attributes:
        bundle: Path of the bundle.
        backend: Backend name, or "auto".
        threads: CPU threads of ONNX Runtime; 0 for one a core.
        keys: Files of the public keys to trust; none for those of the trust store.
        unsigned: Whether no signature is asked for.
        count: Starts that count, after one that does not.
        quick: Whether this is fewer than the default.
        timeout_s: Longest time one start may take, in seconds: a plan may have to be built.
    """

    bundle: Path
    backend: str = "auto"
    threads: int = 0
    keys: tuple[Path, ...] = ()
    unsigned: bool = False
    count: int = 10
    quick: bool = False
    timeout_s: float = 3600.0


class _Line(BaseModel):
    """What a child prints.

    Attributes:
        times_ns: Its spawning, the start of its main function and the end of each part after it.
        score: Score of the first decision.
        reasons: Reasons of the first decision.
        backend: Backend that ran it.
        version: Version of the backend.
        plan: Origin of its plan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    times_ns: list[int] = Field(min_length=len(PARTS) + 1, max_length=len(PARTS) + 1)
    score: float
    reasons: list[str]
    backend: str
    version: str
    plan: str


def measure_cold(
    request: ColdRequest,
    *,
    command: Sequence[str] = (sys.executable, "-m", "fasdk_tools.profiling.cold_child"),
    on_progress: Callable[[float], None] | None = None,
) -> ColdFigures:
    """Start a process for each measurement and split what it does until its first decision.

    The first start fills the system's file caches, may build the plan and leaves the record of the
    proof; it is reported and not counted.

    Args:
        request: What to start, and how often.
        command: Command that makes one cold start, the request as JSON after it.
        on_progress: Callback with the share of the starts that is over, in [0, 1].

    Raises:
        BackendError: A process failed, took too long, or printed anything else than its figures.
    """
    found: list[tuple[ColdStart, _Line]] = []
    for number in range(request.count + 1):
        found.append(_start(request, command))
        if on_progress is not None:
            on_progress((number + 1) / (request.count + 1))
    (first, line), *others = found
    starts = tuple(start for start, _ in others)
    return ColdFigures(
        quick=request.quick,
        backend=line.backend,
        version=line.version,
        first=first,
        starts=starts,
        parts={name: _part(starts, name) for name in (*PARTS, "total")},
    )


def _start(request: ColdRequest, command: Sequence[str]) -> tuple[ColdStart, _Line]:
    document = {
        "spawned_ns": time.monotonic_ns(),
        "bundle": str(request.bundle),
        "backend": request.backend,
        "threads": request.threads,
        "keys": [str(key) for key in request.keys],
        "unsigned": request.unsigned,
    }
    try:
        ran = subprocess.run(  # noqa: S603 - our own module, without a shell
            [*command, json.dumps(document)],
            capture_output=True,
            check=False,
            timeout=request.timeout_s,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
        )
    except subprocess.TimeoutExpired:
        raise BackendError(
            f"a cold start of {request.bundle} took more than {request.timeout_s:g} s and was "
            "ended: see where `fasdk check` waits"
        ) from None
    except OSError as error:
        raise BackendError(f"a cold start cannot be made: {error}") from error
    said = _last_line(ran.stderr)
    if ran.returncode != 0:
        raise BackendError(
            f"a cold start of {request.bundle} ended with status {ran.returncode}: "
            f"{said or 'it said nothing'}"
        )
    try:
        line = _Line.model_validate_json(ran.stdout)
        parts = np.diff(line.times_ns) / 1e6
    except ValidationError:
        raise BackendError(
            f"a cold start of {request.bundle} printed {_last_line(ran.stdout)!r}, expected one "
            f"JSON line with its times{': ' + said if said else ''}"
        ) from None
    if not math.isfinite(line.score):
        raise BackendError(
            f"the first decision of a cold start got no score: {'; '.join(line.reasons)}"
        )
    times = {f"{name}_ms": float(ms) for name, ms in zip(PARTS, parts, strict=True)}
    return ColdStart(**times, total_ms=float(parts.sum()), plan=line.plan), line


def _part(starts: Sequence[ColdStart], name: str) -> ColdPart:
    values = [getattr(start, f"{name}_ms") for start in starts]
    return ColdPart(median_ms=float(np.median(values)), largest_ms=max(values))


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_SHOWN] if lines else ""

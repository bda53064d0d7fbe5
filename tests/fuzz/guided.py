"""Coverage-guided fuzzing with atheris, where it is installed."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from fuzz.limits import Failures, PeakMemory, Report
from fuzz.target import Target


def work_guided(
    target: Target, *, executions: int, seed: int, seconds: float | None, keep: Path, peak_mb: float
) -> None:
    """Run a target under libFuzzer in this process and end it; the report goes to `keep`.

    A crash, a hang and too much memory end the process; libFuzzer keeps the input there too.
    """
    import atheris

    from fuzz.loop import execute, require_sound

    with atheris.instrument_imports(include=["fasdk", "fasdk_engines", "fasdk_calibration"]):
        run, seeds = target.prepare(), list(target.seeds())
    require_sound(run, seeds)
    corpus = keep / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    memory, failures = PeakMemory(), Failures(keep, target.name)
    counts = {"done": 0, "accepted": 0}
    start = time.monotonic()

    def one(data: bytes) -> None:
        counts["accepted"] += execute(run, data, failures)
        counts["done"] += 1
        if counts["done"] % 1000 == 0 or counts["done"] >= executions:
            _write(target, counts, failures, memory, start, keep)

    def mutate(data: bytes, largest: int, number: int) -> bytes:
        if number % 4 == 0:
            return bytes(atheris.Mutate(data, largest))
        return target.mutate(data, random.Random(number))[:largest]

    words = [sys.argv[0], f"-runs={executions}", f"-seed={seed + 1}", "-max_len=65536"]
    words += [
        "-timeout=20",
        f"-rss_limit_mb={peak_mb:.0f}",
        f"-artifact_prefix={keep}/{target.name}-",
    ]
    words += [] if seconds is None else [f"-max_total_time={int(seconds)}"]
    atheris.Setup([*words, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _write(
    target: Target,
    counts: dict[str, int],
    failures: Failures,
    memory: PeakMemory,
    start: float,
    keep: Path,
) -> None:
    rows = tuple(f"{what} ({count})" for what, count in failures.counts.most_common())
    took = round(time.monotonic() - start, 1)
    report = Report(
        target.name, counts["done"], counts["accepted"], rows, memory.mb(), took, guided=True
    )
    (keep / f"{target.name}.json").write_text(json.dumps(vars(report)))

"""Claims about the device runtime, measured: `make verify-runtime`.

Run from the project's root in its virtual environment, on an otherwise idle machine: ratios of
times are taken side by side, but a busy neighbor still moves the tail. `--only GROUP` measures one
group. What needs a GPU is no claim here: see docs/results/limits.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator

from claims import Claim, report
from measuring import ROOT, SUPPORT_ENVIRONMENT, bench_json, pytest_claim, support_json

_TRIES = 3


def preprocess_claims() -> Iterator[Claim]:
    """Bit-equality with OpenCV, the CUDA source, and the native pass against the loaders' way."""
    yield pytest_claim(
        "10,000 random cases differ from OpenCV in no bit: failures",
        "tests/sdk/preprocess/test_native.py",
        "-k",
        "ten_thousand",
    )
    yield pytest_claim(
        "HOG equals scikit-image's and PLGF its definition on 8-bit output: failures",
        "-m",
        "slow or not slow",
        "tests/sdk/preprocess/test_composite.py",
    )
    yield pytest_claim(
        "CUDA source compiles for each architecture, its pixel functions tested on the host: "
        "failures",
        "-m",
        "not gpu",
        "tests/native/test_cuda_kernels.py",
        "tests/native/test_vectors.py",
    )
    runs = [bench_json("preprocess.py") for _ in range(_TRIES)]
    note = f"best of {_TRIES} runs, thread CPU time, medians of alternating calls"
    equal = all(r["tensors_equal"] and r["composite_tensors_equal"] for r in runs)
    yield Claim("native tensors equal the published loaders'", equal, "==", True)
    plain = max(r["published_over_native"] for r in runs)
    yield Claim("plain preprocessing, times faster than cv2 + NumPy", plain, ">=", 3.0, note)
    composite = max(r["composite_published_over_native"] for r in runs)
    claim = "with HOG and PLGF, times faster than scikit-image + SciPy"
    yield Claim(claim, composite, ">=", 20.0, note)


def session_claims() -> Iterator[Claim]:
    """What a session costs over the engine it runs: tiny MMDG, ONNX Runtime, two cores."""
    parts = {
        "overhead": ("check() over the bare engine call, ms", "overhead_ms", "<=", 0.3),
        "throughput": ("8 callers' throughput over the best bare loop's", "share", ">=", 0.9),
        "latency": ("p99 over the median at 70 % load", "p99_over_p50", "<=", 2.0),
        "memory": ("growth of resident memory over 100,000 captures", "growth", "<=", 0.01),
    }
    for part, (claim, key, comparison, limit) in parts.items():
        found = bench_json("session.py", "--parts", part)[part]
        note = ""
        if bare := found.get("bare_one_thread"):
            note = (
                f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms; the engine without a "
                f"session, one thread at 70 % of its own rate: {bare['p99_over_p50']}"
            )
        yield Claim(claim, found[key], comparison, limit, note)


def simulated_claims() -> Iterator[Claim]:
    """Real pycuda on the simulated driver: planted bugs, and four lanes against a serial run."""
    build = [sys.executable, "-m", "support.cuda_sim.build"]
    subprocess.run(build, check=True, cwd=ROOT, stdout=sys.stderr, env=SUPPORT_ENVIRONMENT)
    plants = support_json("support.planted")
    missed = plants["planted"] - plants["caught"]
    note = f"{plants['planted']} planted in {plants['scenarios']} scenarios"
    yield Claim("planted synchronization bugs that are not caught", missed, "==", 0, note)
    clean = plants["holds_with_none_planted"]
    yield Claim("the same scenarios hold with none planted", clean, "==", True)
    for through in ((), ("--session",)):
        found = support_json("support.cuda_sim.lanes", *through)
        where = f"{found['captures']} captures over {found['lanes']} {found['through']}"
        yield Claim(f"{where}: scores that differ from a serial run's", found["different"], "==", 0)
        yield Claim(f"{where}: at least 100,000", found["captures"], ">=", 100_000)
        wrong = found["violations"] + found["left_behind"]
        yield Claim(f"{where}: races, misuse or leaks the driver saw", wrong, "==", 0)


def fault_claims() -> Iterator[Claim]:
    """Every fault by check, submit and run ends in RETRY or ERROR, and the next capture works."""
    yield pytest_claim(
        "every fault by check, submit and run ends in RETRY or ERROR, never LIVE or a hang: "
        "failures",
        "tests/sdk/session/test_faults.py",
    )
    yield pytest_claim(
        "four interleaved cameras never mix, and no track says LIVE without its evidence: failures",
        "tests/sdk/tracking/test_track.py",
        "tests/sdk/tracking/test_track_threads.py",
    )


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "preprocess": preprocess_claims,
    "session": session_claims,
    "simulated": simulated_claims,
    "faults": fault_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_GROUPS))
    only = parser.parse_args().only
    return report(_GROUPS if only is None else {only: _GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())

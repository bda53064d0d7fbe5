"""Claims about the GPU half without a GPU, measured: `make verify-gpu`.

Run from the project's root in its virtual environment. `--only GROUP` measures one group.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import gpu_lanes
from claims import Claim, report
from measuring import ROOT, SUPPORT_ENVIRONMENT, bench_lines, pytest_claim, support_json

PROOF_SECONDS = 1800  # of a dry run of all four models on two cores
RANDOM_CAPTURES = 10_000
ARCHITECTURES = (80, 86, 87, 89, 90, 110, 120)
FATBIN_BYTES = 2_000_000
PROOF_GROUPS = ("device", "prepare", "kernel", "lanes", "tensorrt", "tensorrt_rtx", "pytorch")
BASE_MB = 130.0
BASE = "."
CAMERA_GRID_MS = 0.001  # a buffer's time is a whole number of nanoseconds
CAMERA_CLOSE_S = 2.0  # after which a pipeline is left behind


def prove_claims() -> Iterator[Claim]:
    """The proof kit's dry run shows every claim; its parts install without a network."""
    build_driver()
    with tempfile.TemporaryDirectory() as work:
        words = ["--dry-run", "--work", work, "--seconds", str(PROOF_SECONDS)]
        ran = subprocess.run(
            [sys.executable, str(ROOT / "tools" / "gpu" / "prove.py"), *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
    lines: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines()]
    shown = {line["group"].partition(":")[0] for line in lines}
    absent = [group for group in PROOF_GROUPS if group not in shown]
    yield Claim("dry run: groups without a claim", len(absent), "==", 0, ", ".join(absent))
    unshown = [line["claim"] for line in lines if line["ok"] is not True]
    note = f"{len(lines)} claims; {'; '.join(unshown)[:300] or 'all hold'}"
    yield Claim("dry run: claims that are missed or not tried", len(unshown), "==", 0, note)
    yield Claim("dry run: exit status", ran.returncode, "==", 0, ran.stderr[-200:])
    yield pytest_claim(
        "parts of wheels install in a fresh environment without a network: tests that fail or skip",
        "tests/tools/gpu/test_carry.py",
        *("-m", "slow or not slow"),
    )


def kernel_claims() -> Iterator[Claim]:
    """The preprocessing kernels: rows on the simulated driver, and what the fatbin holds."""
    build_driver()
    found = support_json("support.cuda_sim.rows", "--captures", RANDOM_CAPTURES)
    by_way = ", ".join(f"{count} {way}" for way, count in found["captures"].items())
    yield Claim("kernels: random captures", sum(found["captures"].values()), ">=", RANDOM_CAPTURES)
    yield Claim("kernels: rows that differ from the host's", found["different"], "==", 0, by_way)
    yield Claim("kernels: violations that the driver saw", found["violations"], "==", 0)
    yield Claim("kernels: objects left behind", found["left_behind"], "==", 0)
    fatbin = support_json("support.fatbin")
    code, ptx = fatbin.get("code", []), fatbin.get("ptx", [])
    lacking = sorted(set(ARCHITECTURES) - set(code))
    yield Claim("fatbin: architectures that it lacks", len(lacking), "==", 0, f"code for {code}")
    yield Claim("fatbin: PTX of the newest", ptx[-1:], "==", [max(ARCHITECTURES)])
    yield Claim("fatbin: bytes", fatbin.get("bytes"), "<=", FATBIN_BYTES)
    names = ", ".join(fatbin.get("entry_points", []))
    different = fatbin.get("different_parameters")
    claim = "fatbin: architectures whose entry points take other arguments than the host passes"
    yield Claim(claim, different, "==", 0, names)
    yield pytest_claim(
        "kernels: planted bugs that go unnoticed, and tests that fail or skip",
        "tests/cuda_sim/test_kernels.py",
        *("-m", "cuda_sim", "--timeout=900"),
    )


def build_driver() -> None:
    """Build the simulated driver where it is not up to date."""
    build = [sys.executable, "-m", "support.cuda_sim.build"]
    subprocess.run(build, check=True, cwd=ROOT, stdout=sys.stderr, env=SUPPORT_ENVIRONMENT)


def lane_claims() -> Iterator[Claim]:
    """Lanes that preprocess on the simulated device; see `gpu_lanes`."""
    build_driver()
    yield from gpu_lanes.lane_claims()


def install_claims() -> Iterator[Claim]:
    """Sizes of a device's installs."""
    for row in bench_lines("install_size.py"):
        largest = ", ".join(f"{name} {mb}" for name, mb in row["largest_mb"].items())
        claim = f"`{row['install']}`, {row['machine']}, Python {row['python']}"
        note = f"{row['mb']} MB without bytecode, {row['packages']} packages: {largest}"
        if row["install"] == BASE:
            whole = row["with_bytecode_mb"]
            yield Claim(f"{claim}: MB with bytecode", whole, "<=", BASE_MB, note)
        else:
            needs = "cpu" in row["install"]
            yield Claim(f"{claim}: ONNX Runtime", row["has_onnxruntime"], "==", needs, note)


def package_claims() -> Iterator[Claim]:
    """What works with the base install alone, and what names its extra."""
    yield pytest_claim(
        "base install, stand-in TensorRT, the extra each verb names: tests that fail or skip",
        *("tests/tools/test_missing_packages.py", "-m", "not gpu and not cuda_sim"),
    )


def camera_claims() -> Iterator[Claim]:
    """Cameras on a real GStreamer: every frame, its time, the end, faults and restarts."""
    found = support_json("support.gstreamer_figures")
    note = f"videotestsrc, {found['gstreamer']}"
    frames = "frames of a recording that were given, of 300"
    yield Claim(f"gst: {frames}", found["recorded"], "==", 300, note)
    yield Claim("gst: frames of a live source that were given, of 300", found["live"], "==", 300)
    yield Claim(
        "gst: stamps of 300 that are not later than the one before", found["not_rising"], "==", 0
    )
    grid = "greatest distance in ms of two stamps from whole periods of the source"
    yield Claim(f"gst: {grid}", found["off_the_sources_grid_ms"], "<=", CAMERA_GRID_MS)
    yield Claim("gst: restarts after EOS, of 5", found["after_eos"], "==", 5)
    yield Claim("gst: restarts after a failed element, of 5", found["after_error"], "==", 5)
    ignored = "frames, of 30, while an element below errorignore failed"
    yield Claim(f"gst: {ignored}", found["below_errorignore"], "==", 30)
    closing = "seconds to close a pipeline that gives nothing"
    yield Claim(f"gst: {closing}", found["seconds_to_close"], "<=", CAMERA_CLOSE_S)
    yield pytest_claim(
        "csi: and gst: cameras, their faults and passwords: tests that fail or skip",
        "tests/sdk/cameras/test_gstreamer.py",
        "tests/sdk/cameras/test_gstreamer_faults.py",
    )


def plan_claims() -> Iterator[Claim]:
    """Options of a plan's build and the timing cache, on the stand-in TensorRT."""
    yield pytest_claim(
        "options of a plan's build, sealed timing cache: tests that fail or skip",
        "tests/sdk/backends/test_timing_cache.py",
        "tests/sdk/backends/test_plan_cache.py",
    )


_GROUPS: dict[str, Callable[[], Iterator[Claim]]] = {
    "prove": prove_claims,
    "install": install_claims,
    "kernels": kernel_claims,
    "packages": package_claims,
    "lanes": lane_claims,
    "cameras": camera_claims,
    "plans": plan_claims,
}


def main() -> int:
    """Measure every group, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(_GROUPS))
    only = parser.parse_args().only
    return report(_GROUPS if only is None else {only: _GROUPS[only]})


if __name__ == "__main__":
    sys.exit(main())

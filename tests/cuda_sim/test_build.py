"""Build script of the simulated driver: up-to-date builds, and missing tools."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from support.cuda_sim.simulated_cuda import HERE


def run_script(**variables):
    return subprocess.run(
        [sys.executable, "-m", "support.cuda_sim.build"],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])} | variables,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_missing_tool_is_named_with_its_package(tmp_path):
    done = run_script(PATH=str(tmp_path), FASDK_CUDA_SIM_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "cuda-sim: cmake is not installed (Debian: apt-get install cmake)\n"


def test_a_step_that_fails_is_told_in_one_line(tmp_path):
    broken = tmp_path / "cmake"
    broken.write_text("#!/bin/sh\necho CMake Error: no such compiler >&2\nexit 1\n")
    broken.chmod(0o755)
    for tool in ("g++", "make"):
        (tmp_path / tool).symlink_to(broken)
    (tmp_path / "include").mkdir()
    for header in ("cuda.h", "cudaProfiler.h"):
        (tmp_path / "include" / header).touch()
    done = run_script(
        PATH=str(tmp_path), FASDK_CUDA_SIM_DIR=str(tmp_path / "out"), CUDA_HOME=str(tmp_path)
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "cuda-sim: cannot configure the simulated driver: CMake Error: no such compiler ("
    )


@pytest.mark.cuda_sim
def test_nothing_is_built_twice():
    start = time.monotonic()
    done = run_script()
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - start < 5

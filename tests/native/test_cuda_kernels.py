"""CUDA kernels: compilation for every architecture, and the arguments they take.

What the kernels compute is tested without a GPU: `tests/cuda_sim/test_rows.py` runs their source on
the simulated driver, `fasdk_vectors` their body over every vector.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from fasdk.preprocess.native import native_module

from support.fatbin import cubins, installed, parameters, targets
from support.requirements import Requirement

ROOT = Path(__file__).parents[2]
# 87: Orin, 110: Thor, 80 and 90: data center, the others: desktop
ARCHITECTURES = {80, 86, 87, 89, 90, 110, 120}
LARGEST_FATBIN_BYTES = 2_000_000
FATBIN = installed() or Path("no fatbin")
needs_fatbin = Requirement.NVCC.mark("no fatbin was built", lacking=installed() is None)


def build(folder: Path, *options: str) -> str:
    configured = subprocess.run(
        ["cmake", "-S", ROOT, "-B", folder, "-DFASDK_NATIVE=OFF", "-DFASDK_CUDA=ON", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if configured.returncode:
        return configured.stderr
    done = subprocess.run(["cmake", "--build", folder], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_kernels_compile_for_every_architecture_that_nvcc_knows(tmp_path):
    Requirement.NVCC.programs("nvcc")
    known = subprocess.run(
        ["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True
    ).stdout
    expected = {int(n) for n in re.findall(r"sm_(\d+)\b", known)} & ARCHITECTURES
    assert build(tmp_path) == ""
    fatbin = tmp_path / "preprocess.fatbin"
    held = list(targets(fatbin))
    assert {t.compute_capability for t in held if not t.is_ptx} == expected
    assert [t.compute_capability for t in held if t.is_ptx] == [max(expected)]
    assert min(t.size for t in held) > 1000, "an entry without a kernel in it"
    assert fatbin.stat().st_size <= LARGEST_FATBIN_BYTES
    module = native_module()
    if module is not None:
        for _, cubin in cubins(fatbin):
            assert parameters(cubin) == module.ROW_PARAMETERS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "native", "fails"), [("ON", "OFF", True), ("AUTO", "AUTO", False)]
)
def test_a_broken_nvcc_fails_only_the_build_that_asks_for_it(asked, native, fails, tmp_path):
    done = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path, f"-DFASDK_CUDA={asked}", f"-DFASDK_NATIVE={native}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDACXX": "/no/such/nvcc"},
    )
    assert (done.returncode != 0) is fails
    assert ("no working nvcc found" if fails else "no nvcc, left out") in done.stdout + done.stderr


@needs_fatbin
def test_the_installed_kernels_take_what_the_host_packs():
    module = native_module()
    assert module is not None
    found = {capability: parameters(cubin) for capability, cubin in cubins(FATBIN)}
    assert found == dict.fromkeys(found, module.ROW_PARAMETERS)
    assert 87 in found


@needs_fatbin
def test_the_installed_kernels_are_small_and_end_in_ptx():
    held = list(targets(FATBIN))
    assert FATBIN.stat().st_size <= LARGEST_FATBIN_BYTES
    newest = max(t.compute_capability for t in held)
    assert [t.compute_capability for t in held if t.is_ptx] == [newest]


@pytest.mark.gpu
@pytest.mark.parametrize("mapped", [False, True])
def test_a_gpu_gives_the_hosts_bits(mapped):
    pytest.importorskip("pycuda.driver")
    from fasdk.backends.cuda import PyCudaDriver
    from fasdk.backends.device_kernels import KernelSource, kernel_image
    from fasdk.backends.tensorrt.row_kernels import RowKernels

    from support.row_cases import compare

    driver = PyCudaDriver()
    with driver.current():
        kernels = RowKernels(driver, kernel_image(KernelSource.FATBIN, driver.device))
    found = compare(driver, kernels, 2000, mapped=mapped, longest_side=224)
    with driver.current():
        kernels.free()
    assert found.different == []

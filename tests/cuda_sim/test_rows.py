"""Rows that the kernels write on the simulated driver, through the real pycuda."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fasdk.backends.cuda import PyCudaDriver
from fasdk.backends.tensorrt.row_kernels import RowKernels
from fasdk.preprocess.native import native_module

from support.cuda_sim.kernel_image import image
from support.cuda_sim.simulated_cuda import Simulator
from support.requirements import Requirement
from support.row_cases import compare

pytestmark = [
    pytest.mark.cuda_sim,
    Requirement.NATIVE.mark("it was not built", lacking=native_module() is None),
]

EVERY_SETTING = {
    *("face", "frame", "landmarks", "shift", "clip", "pad", "box", "square"),
    *("constant", "replicate", "reflect", "reflect-101", "stretch", "letterbox", "letterbox-floor"),
    *("bilinear", "area", "rgb", "bgr", "absent", "depth", "2 axes", "3 axes"),
}


@pytest.fixture
def driver(simulator: Simulator, cuda: Any) -> PyCudaDriver:
    return PyCudaDriver()


@pytest.fixture
def kernels(driver: PyCudaDriver) -> Iterator[RowKernels]:
    loaded = RowKernels(driver, image())
    yield loaded
    loaded.free()


@pytest.mark.parametrize("mapped", [False, True], ids=["copied", "mapped"])
def test_rows_are_the_hosts_to_the_bit(simulator, driver, kernels, mapped):
    simulator.run_freely()
    found = compare(driver, kernels, 300, seed=5, mapped=mapped)
    assert found.different == []
    assert found.captures == 300
    assert found.settings == EVERY_SETTING
    assert simulator.report().violations == ()


@pytest.mark.parametrize("mapped", [False, True], ids=["copied", "mapped"])
def test_late_work_changes_no_bit(simulator, driver, kernels, mapped):
    simulator.reset(11)
    simulator.set_hold(2000)
    found = compare(driver, kernels, 32, seed=6, mapped=mapped)
    assert found.different == []
    report = simulator.report()
    assert report.violations == ()
    copies = report.executed.get("cuMemcpyHtoDAsync", 0)
    assert (copies == 0) is mapped


@pytest.mark.slow
def test_ten_thousand_captures_are_the_hosts_to_the_bit(simulator, driver, kernels):
    simulator.run_freely()
    found = compare(driver, kernels, 10_000, seed=7)
    assert (found.captures, found.different) == (10_000, [])
    assert simulator.report().violations == ()

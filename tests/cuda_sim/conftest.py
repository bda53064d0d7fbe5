"""Fixtures of the simulated driver's tests: pycuda with its context current."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from support.cuda_sim.simulated_cuda import Simulator


@pytest.fixture
def cuda(simulator: Simulator) -> Iterator[Any]:
    """`pycuda.driver`, the device's primary context current."""
    driver: Any = import_module("pycuda.driver")
    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    try:
        yield driver
    finally:
        simulator.lose_device(result=0)  # so that what a test left behind can be let go of
        driver.Context.pop()
        simulator.reset()


@pytest.fixture
def stream(cuda: Any) -> Any:
    """A stream that does not wait for the legacy one."""
    return cuda.Stream(1)

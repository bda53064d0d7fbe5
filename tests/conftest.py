"""Fixtures every component's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cuda_sim.simulated_cuda import Simulator, load

PROJECT = Path(__file__).parent.parent
REFERENCE = PROJECT.parent / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published implementations' outputs; tests that need it skip without it."""
    if not REFERENCE.is_dir():
        pytest.skip("the reference folder is not beside this checkout")
    return REFERENCE


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated CUDA driver, reset, with pycuda on it; only for tests marked `cuda_sim`."""
    driver = load()
    driver.reset()
    yield driver
    driver.reset()

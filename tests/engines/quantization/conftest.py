"""Quantisers of the small networks, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import networks

from fasdk_engines.quantisation import Quantiser


@pytest.fixture(scope="session", params=["transformer", "convolutions"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def int8(name: str) -> Quantiser:
    return networks.prepare(name)


@pytest.fixture(scope="session")
def transformer() -> Quantiser:
    return networks.prepare("transformer")

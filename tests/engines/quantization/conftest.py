"""Quantisers of the small networks, made once."""

from __future__ import annotations

import pytest

from fasdk_engines.quantization import Quantiser

from support import networks


@pytest.fixture(scope="session", params=["transformer", "convolutions"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def int8(name: str) -> Quantiser:
    return networks.prepare(name)


@pytest.fixture(scope="session")
def transformer() -> Quantiser:
    return networks.prepare("transformer")

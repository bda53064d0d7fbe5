"""Quantizers of the small networks, made once."""

from __future__ import annotations

import pytest

from fasdk_engines.quantization import Quantizer

from support import networks


@pytest.fixture(scope="session", params=["transformer", "convolutions"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def int8(name: str) -> Quantizer:
    return networks.prepare(name)


@pytest.fixture(scope="session")
def transformer() -> Quantizer:
    return networks.prepare("transformer")

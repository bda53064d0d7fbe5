"""Quantisers of the small networks, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import networks

from fasdk.bundle import Precision
from fasdk_engines.quantisation import Quantiser


def prepare(name: str, precision: Precision = Precision.INT8, **options: object) -> Quantiser:
    return Quantiser.prepare(
        networks.graph(name),
        [networks.captures(48)],
        networks.SPECS,
        precision=precision,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session", params=["transformer", "convolutions"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def int8(name: str) -> Quantiser:
    return prepare(name)


@pytest.fixture(scope="session")
def transformer() -> Quantiser:
    return prepare("transformer")

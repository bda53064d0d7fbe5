"""Fixtures of the golden tests: the published implementations' weights and inputs, rebuilt."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fill(reference: Path) -> ModuleType:
    """The reference's own rule for weights and inputs from names and shapes."""
    spec = importlib.util.spec_from_file_location("fill", reference / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

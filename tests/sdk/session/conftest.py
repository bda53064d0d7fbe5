"""Fixtures of the session tests: a session on the tiny bundle."""

from __future__ import annotations

import pytest

import fasdk
from fasdk.backends.engine import Backend


@pytest.fixture
def session(bundle_path):
    with fasdk.open(
        bundle_path, backend=Backend.ONNXRUNTIME, threads=1, missing="degrade"
    ) as opened:
        yield opened

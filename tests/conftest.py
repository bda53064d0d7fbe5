"""Fixtures every component's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
REFERENCE = PROJECT.parent / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published implementations' outputs; tests that need it skip without it."""
    if not REFERENCE.is_dir():
        pytest.skip("the reference folder is not beside this checkout")
    return REFERENCE

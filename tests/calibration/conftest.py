"""Fixtures of the calibration tests: one small population of captures."""

from __future__ import annotations

import pytest

from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.synthetic import SceneSettings, Species, generate

SMALL = SceneSettings(width=160, height=120)


@pytest.fixture(scope="session")
def population() -> dict[Species, list[LabeledCapture]]:
    """Sixteen captures a species."""
    return {
        species: [generate(5, i, species=species, settings=SMALL) for i in range(16)]
        for species in Species
    }

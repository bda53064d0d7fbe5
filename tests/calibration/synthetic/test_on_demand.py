"""Captures generated when asked for equal those generated at once."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.synthetic import Population, SceneSettings, Split, generate_mixed
from fasdk_calibration.synthetic.on_demand import captures_on_demand

SMALL = SceneSettings(width=64, height=48, frames_per_presentation=2, domain="office")
POPULATIONS = (Population(3, SceneSettings(width=64, height=48)), Population(4, SMALL))


def test_a_capture_on_demand_is_the_one_generate_mixed_yields():
    made = list(generate_mixed(POPULATIONS, 10, Split.DEVELOPMENT, threads=1))
    found = captures_on_demand(POPULATIONS, 10, Split.DEVELOPMENT)
    assert len(found) == len(made)
    for lazy, eager in zip(found, made, strict=True):
        for name in ("id", "label", "species", "subject", "domain", "presentation", "is_bona_fide"):
            assert getattr(lazy, name) == getattr(eager, name)
        for modality in eager.capture.present:
            np.testing.assert_array_equal(
                lazy.capture.frame(modality), eager.capture.frame(modality)
            )


def test_captures_on_demand_need_a_population():
    with pytest.raises(DatasetError, match="no population"):
        captures_on_demand([], 1, Split.TRAIN)

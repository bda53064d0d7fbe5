"""Faults of a sensor on synthetic frames."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.synthetic.sensor_faults import SensorFault, with_fault

SENSORS = [(fault, modality) for fault in SensorFault for modality in fault.modalities]


def capture(seed: int = 0) -> Capture:
    """Return smooth frames of 64 by 48 pixels in all three modalities."""
    rng = np.random.default_rng(seed)
    field = rng.uniform(0.2, 0.8, (6, 8)).repeat(8, axis=0).repeat(8, axis=1)
    rgb = (255 * field[..., None] * [1.0, 0.8, 0.6]).astype(np.uint8)
    depth, ir = (400 + 300 * field).astype(np.uint16), (200 * field[::-1]).astype(np.uint8)
    return Capture(rgb=rgb, depth=depth, ir=ir, face=FaceBox(10, 10, 30, 30))


@pytest.mark.parametrize(("fault", "modality"), SENSORS)
def test_a_fault_changes_its_own_sensor_alone(fault, modality):
    good, earlier = capture(), capture(1)
    found = with_fault(good, modality, fault, np.random.default_rng(0), earlier=earlier)
    for other in Modality:
        same = np.array_equal(found.frame(other), good.frame(other))
        assert same is (other is not modality)
    changed, was = found.frame(modality), good.frame(modality)
    assert (changed.dtype, changed.shape) == (was.dtype, was.shape)
    assert found.face == good.face


def test_the_same_seed_gives_the_same_fault():
    first, second = (
        with_fault(capture(), "ir", "noise", np.random.default_rng(3)).ir for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_what_a_sensor_cannot_have_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DatasetError, match="rgb cannot be holes: choose depth"):
        with_fault(capture(), "rgb", "holes", rng)
    with pytest.raises(DatasetError, match="frozen shows an earlier frame: give `earlier`"):
        with_fault(capture(), "ir", "frozen", rng)
    with pytest.raises(DatasetError, match="needs a capture of rgb, depth and ir"):
        with_fault(Capture(rgb=capture().rgb), "rgb", "noise", rng)

"""Sensor faults that a trained model's reliability finds, on people never seen."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk_calibration.synthetic.sensor_faults import SensorFault

from support.sensor_fault_figures import figures


@pytest.mark.slow
def test_most_faults_are_found_in_float_and_in_int8():
    found = figures("mmdg", train=96, development=240, held_out=48, epochs=1)
    shares = found["found"]
    assert set(shares) == {fault.value for fault in SensorFault}
    # Fewer captures than `make verify-methods` takes, so that its limits are not asked for.
    assert np.mean(list(shares.values())) >= 0.7
    assert min(shares.values()) >= 0.2
    assert np.mean(list(found["false_alarms"].values())) <= 0.11
    assert found["int8_difference"] <= 0.02
    assert shares["frozen"] == 1.0
    assert found["frozen_false_alarms"] == 0.0

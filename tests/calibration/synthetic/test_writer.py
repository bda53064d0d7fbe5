"""Captures made side by side: in threads and in processes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many, worker_processes


def test_processes_make_the_very_captures_of_threads():
    small = SceneSettings(width=96, height=72)
    with worker_processes(2) as workers:
        made = list(generate_many(3, 6, Split.HELD_OUT, settings=small, workers=workers))
    expected_ones = generate_many(3, 6, Split.HELD_OUT, settings=small)
    for found, expected in zip(made, expected_ones, strict=True):
        assert found.id == expected.id
        for modality in expected.capture.present:
            assert np.array_equal(found.capture.frame(modality), expected.capture.frame(modality))


def test_a_killed_process_is_named_in_one_line():
    small = SceneSettings(width=96, height=72)
    with worker_processes(1) as workers:
        victim = workers.submit(os.getpid).result()
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(DatasetError, match="ended from outside: look whether memory ran out"):
            list(generate_many(3, 50, Split.HELD_OUT, settings=small, workers=workers))

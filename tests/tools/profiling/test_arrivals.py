"""Arrival times of open loads, and files of recorded ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fasdk.errors import UsageError
from fasdk_tools.profiling.arrivals import due_times_ms, read_arrivals
from fasdk_tools.profiling.load import Load, LoadRequest


def test_a_constant_load_is_even():
    due = due_times_ms(LoadRequest(Load.CONSTANT, rate_per_s=20.0, seconds=2.0))
    np.testing.assert_allclose(due, 50.0 * np.arange(40))


def test_a_short_run_still_has_the_fewest_calls():
    assert len(due_times_ms(LoadRequest(Load.CONSTANT, rate_per_s=1.0, seconds=0.1))) == 10


def test_poisson_arrivals_are_exponential_and_come_from_the_seed():
    request = LoadRequest(Load.POISSON, rate_per_s=100.0, seconds=200.0, seed=3)
    gaps = np.diff(due_times_ms(request))
    # Of 20,000 gaps, mean and standard deviation are known to about 1 %.
    assert gaps.mean() == pytest.approx(10.0, rel=0.03)
    assert gaps.std() == pytest.approx(10.0, rel=0.03)
    np.testing.assert_array_equal(due_times_ms(request), due_times_ms(request))
    other = LoadRequest(Load.POISSON, rate_per_s=100.0, seconds=200.0, seed=4)
    assert (due_times_ms(request) != due_times_ms(other)).all()


def test_cameras_keep_their_rate_and_have_phases_of_their_own():
    request = LoadRequest(Load.CONSTANT, cameras=3, fps=10.0, seconds=4.0)
    due = due_times_ms(request)
    assert request.rate_per_s == 30.0
    assert len(due) == 120
    assert (np.diff(due) >= 0).all()
    for camera in range(3):  # arrivals are dealt out in turn
        np.testing.assert_allclose(np.diff(due[camera::3]), 100.0)
    assert len(set(np.round(np.diff(due[:4]), 6))) == 3


def test_everything_of_an_offline_load_is_due_at_once():
    assert due_times_ms(LoadRequest(Load.OFFLINE, calls=7)).tolist() == [0.0] * 7


def test_a_replay_begins_at_its_first_arrival(tmp_path):
    path = tmp_path / "times.txt"
    path.write_text("1000.5\n\n1010.5\n1010.5\n1100\n")
    request = LoadRequest(Load.REPLAY, arrivals_ms=read_arrivals(path))
    assert due_times_ms(request).tolist() == [0.0, 10.0, 10.0, 99.5]


def test_decisions_of_run_are_arrivals_at_the_exposure(tmp_path):
    path = tmp_path / "run.jsonl"
    lines = [(100.0, 20.0), (100.5, None), (100.1, 30.0)]
    path.write_text("".join(json.dumps({"unix_s": t, "latency_ms": ms}) + "\n" for t, ms in lines))
    np.testing.assert_allclose(read_arrivals(path), [99_980.0, 100_070.0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no arrival time"),
        ("\n\n", "holds no arrival time"),
        ("1\n5\n\n3\n", ":4: goes back in time, from 5.000 to 3.000 ms"),
        ("1\nsoon\n", ":2: 'soon' is no arrival time"),
        ("nan\n", ":1: 'nan' is no arrival time"),
        ('{"unix_s": 1}\n', ":1: .* is no arrival time"),
        ("{\n", ":1: .* is no arrival time"),
    ],
)
def test_a_file_that_holds_no_arrivals_says_which_line(tmp_path, content, said):
    path = tmp_path / "times.txt"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_arrivals(path)


def test_bytes_and_absent_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_arrivals(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x01")
    with pytest.raises(UsageError, match="cannot be read as arrival times"):
        read_arrivals(tmp_path / "bytes")


def test_cameras_are_measured_again_with_another_seed_and_length():
    request = LoadRequest(load=Load.CONSTANT, cameras=2, fps=10.0)
    again = replace(request, seed=1, seconds=10.0)
    assert (again.rate_per_s, again.due_calls) == (20.0, 200)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"load": Load.CONSTANT}, "needs a rate"),
        ({"load": Load.CONSTANT, "rate_per_s": 0.0}, "the rate is 0"),
        ({"load": Load.POISSON, "rate_per_s": float("nan")}, "the rate is nan"),
        ({"load": Load.CONSTANT, "rate_per_s": 5.0, "fps": 6.0}, "exclude each other"),
        ({"load": Load.POISSON, "fps": 5.0}, "--fps is a constant rate"),
        ({"load": Load.CONSTANT, "fps": 0.0}, "the rate is 0"),
        ({"load": Load.CONSTANT, "fps": float("inf")}, "--fps is inf"),
        ({"load": Load.CLOSED, "rate_per_s": 5.0}, "has no rate"),
        ({"load": Load.REPLAY}, "needs arrival times"),
        ({"seconds": 0.0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"lanes": 0}, "lanes is 0"),
        ({"cameras": 0}, "cameras is 0"),
        ({"lanes": 99_999}, "lanes is 99999, expected at most 1,000"),
        ({"seconds": 1e300}, "seconds is 1e\\+300, expected more than 0 and at most 604800"),
        ({"load": Load.CLOSED, "fps": 5.0}, "has no rate: leave --fps out"),
        ({"load": Load.CONSTANT, "rate_per_s": 1e300}, "lower --seconds or the rate"),
        ({"load": Load.POISSON, "rate_per_s": 1e6}, "3,000,000 captures, expected at most"),
        ({"load": Load.CONSTANT, "rate_per_s": 1e-9}, "10 captures, the fewest that are measured"),
        ({"load": Load.OFFLINE, "calls": 10**9}, "1,000,000,000 captures, expected at most"),
        ({"load": Load.REPLAY, "arrivals_ms": np.array([0.0, 1e12])}, "span 277,778 h"),
        ({"warmup": -1}, "warm-up calls are -1"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        LoadRequest(**settings)

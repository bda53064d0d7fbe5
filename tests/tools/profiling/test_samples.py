"""Samples on disk."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.errors import FasdkError, UsageError
from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.samples import Outcome, Samples


def three_calls():
    return Samples(
        load=Load.CONSTANT,
        batch=1,
        lanes=2,
        rate_per_s=20.0,
        due_ms=np.array([0.0, 50.0, 100.0]),
        submitted_ms=np.array([0.1, 50.1, 100.1]),
        answered_ms=np.array([5.0, np.nan, 104.0]),
        outcome=np.uint8([Outcome.DECIDED, Outcome.REFUSED, Outcome.DECIDED]),
        stages_ms={"queue": np.array([1.0, 0.0, 1.0]), "engine": np.array([4.0, 0.0, 3.0])},
        warmup=1,
    )


def test_a_file_gives_back_what_was_saved(tmp_path):
    before = three_calls()
    before.save(tmp_path / "run.npz")
    after = Samples.read(tmp_path / "run.npz")
    for name in ("load", "batch", "lanes", "rate_per_s", "warmup"):
        assert getattr(after, name) == getattr(before, name)
    for name in ("due_ms", "submitted_ms", "answered_ms", "outcome", "latency_ms"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert list(after.stages_ms) == ["queue", "engine"]
    np.testing.assert_array_equal(after.stages_ms["engine"], before.stages_ms["engine"])


def test_a_load_without_a_rate_keeps_none(tmp_path):
    before = three_calls()
    closed = Samples(**{**vars(before), "rate_per_s": None})
    closed.save(tmp_path / "run.npz")
    assert Samples.read(tmp_path / "run.npz").rate_per_s is None


def test_counted_calls_leave_out_the_warm_up():
    counted = three_calls().counted
    assert len(counted) == 2
    assert counted.due_ms[0] == 50.0
    assert counted.stages_ms["engine"].tolist() == [0.0, 3.0]


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.npz is no file of samples"):
        Samples.read(path)


def test_arrays_of_another_program_are_refused(tmp_path):
    np.savez(tmp_path / "run.npz", due_ms=np.zeros(3))
    with pytest.raises(UsageError, match="no file of samples of this version"):
        Samples.read(tmp_path / "run.npz")


def test_an_unwritable_folder_is_named(tmp_path):
    with pytest.raises(FasdkError, match="cannot write"):
        three_calls().save(tmp_path / "absent" / "run.npz")


def test_a_later_run_follows_without_its_warm_up():
    joined = three_calls().followed_by(three_calls())
    assert len(joined) == 5
    assert joined.warmup == 1
    assert (np.diff(joined.due_ms) >= 0).all()
    np.testing.assert_allclose(joined.latency_ms[[0, 2, 4]], [5.0, 4.0, 4.0])
    assert joined.stages_ms["engine"].tolist() == [4.0, 0.0, 3.0, 0.0, 3.0]

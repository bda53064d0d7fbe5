"""A bundle whose engine does not do what was measured, opened where nobody runs `verify`.

The attacker has a bundle signed whose graph no longer gives the logits of its golden captures, or
plants a record that says it was proven, or copies one from elsewhere. Answer: on every backend the
bundle does not open before it has reproduced its golden captures on this machine for this account,
and no data set is scored with it.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import fasdk
from fasdk import machine
from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.members import GRAPH
from fasdk.errors import HomeError, PlanError
from fasdk.home import home_path
from fasdk.scorer import Scorer
from fasdk.session import proof
from fasdk_calibration.datasets import open_dataset
from fasdk_tools.evaluation.scoring import score_dataset

from support import hostile_bundle, tiny_bundle
from support.bright_captures import mixed, write_list

BACKENDS = ["onnxruntime", "openvino"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home that knows the run's keys and has proven nothing."""
    folder = tmp_path / "home"
    run = home_path()
    if run.is_dir():
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("proven"))
    monkeypatch.setenv("FASDK_HOME", str(folder))
    return folder


@pytest.fixture
def replays(monkeypatch):
    """Names of the bundles whose golden captures were replayed."""
    seen = []
    replay = Scorer.replay_golden

    def counted(self, run):
        seen.append(self.bundle.path.name)
        return replay(self, run)

    monkeypatch.setattr(Scorer, "replay_golden", counted)
    return seen


def opened(path, backend="onnxruntime"):
    pytest.importorskip(backend)
    fasdk.open(path, backend=backend, threads=1).close()


def altered(path):
    """A bundle whose graph scores everybody live, with thresholds of that very graph."""
    model = hostile_bundle.model()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((9, 2), [-9.0, 9.0], np.float32), "weight")
    )
    return hostile_bundle.with_graph(path, model)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bundle_that_fails_its_golden_captures_does_not_open(tmp_path, home, backend):
    path = altered(tmp_path / "a.fasb")
    for _ in range(2):  # the second time no record makes up for it
        with pytest.raises(PlanError, match=r"golden capture .*drift"):
            opened(path, backend)
    assert not [*home.glob("proven/*")]


def test_no_data_set_is_scored_with_a_bundle_that_fails_its_golden_captures(tmp_path):
    dataset = open_dataset(write_list(tmp_path, mixed()))
    with pytest.raises(PlanError, match=r"golden capture .*drift"):
        score_dataset(open_bundle(altered(tmp_path / "a.fasb")), dataset, threads=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_captures_are_replayed_once_on_each_backend(tmp_path, replays, backend):
    path = tiny_bundle.write(tmp_path / "a.fasb")
    for _ in range(3):
        opened(path, backend)
    assert replays == ["a.fasb"]
    other = "openvino" if backend == "onnxruntime" else "onnxruntime"
    opened(path, other)
    assert len(replays) == 2


def test_a_bundle_without_golden_captures_does_not_open(tmp_path):
    described = tiny_bundle.manifest()
    write_bundle(tmp_path / "a.fasb", described, {GRAPH: tiny_bundle.graph_bytes()})
    with pytest.raises(PlanError, match="holds no golden capture to prove an engine with"):
        opened(tmp_path / "a.fasb")


def record_of(home):
    (record,) = home.glob("proven/*.json")
    return record


def writable_record(record):
    record.chmod(0o666)


def group_writable_record(record):
    record.chmod(0o620)


def linked_record(record):
    record.rename(record.with_name("elsewhere"))
    record.symlink_to("elsewhere")


def other_record(record):
    content = json.loads(record.read_text()) | {"version": "0"}
    record.write_text(json.dumps(content))


def longer_record(record):
    record.write_bytes(record.read_bytes() + b" ")


def empty_record(record):
    record.write_bytes(b"")


def folder_as_record(record):
    record.unlink()
    record.mkdir()


def writable_folder(record):
    record.parent.chmod(0o777)


@pytest.mark.parametrize(
    "change",
    [
        writable_record,
        group_writable_record,
        linked_record,
        other_record,
        longer_record,
        empty_record,
        folder_as_record,
        writable_folder,
    ],
)
def test_a_record_that_another_could_have_written_does_not_count(tmp_path, home, replays, change):
    path = tiny_bundle.write(tmp_path / "a.fasb")
    opened(path)
    change(record_of(home))
    opened(path)
    assert len(replays) == 2


def test_a_record_of_another_account_does_not_count(tmp_path, replays, monkeypatch):
    path = tiny_bundle.write(tmp_path / "a.fasb")
    opened(path)
    monkeypatch.setattr(proof.os, "geteuid", lambda: 4321)
    opened(path)
    assert len(replays) == 2


def test_a_record_of_another_machine_cpu_or_release_does_not_count(tmp_path, replays, monkeypatch):
    path = tiny_bundle.write(tmp_path / "a.fasb")
    opened(path)
    own = machine.machine_tag("proof")
    for name, value in (
        ("machine_tag", lambda _: own[::-1]),
        ("_cpu", lambda: "another cpu"),
        ("_release", lambda: "another release"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(proof, name, value)
            opened(path)
    assert len(replays) == 4


def test_another_bundle_of_the_same_name_is_replayed(tmp_path, replays):
    path = tiny_bundle.write(tmp_path / "a.fasb")
    opened(path)
    tiny_bundle.write(path, revision=2)
    opened(path)
    assert len(replays) == 2


def test_without_a_home_to_write_captures_are_replayed_each_time(tmp_path, replays, monkeypatch):
    path = tiny_bundle.write(tmp_path / "a.fasb")

    def unwritable(*_: str):
        raise HomeError("no home here")

    monkeypatch.setattr(proof, "home_folder", unwritable)
    opened(path)
    opened(path)
    assert len(replays) == 2


def test_the_graph_is_what_the_record_is_of(tmp_path):
    """The altered graph is sound by itself: nothing but its golden captures gives it away."""
    onnx.checker.check_model(hostile_bundle.model())
    path = altered(tmp_path / "a.fasb")
    assert open_bundle(path).manifest.operating_points

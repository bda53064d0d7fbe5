"""Folder of one training: it counts for the inputs it was made from and no others."""

from __future__ import annotations

import pytest

from fasdk.errors import UsageError
from fasdk_tools.protocols.cell_folder import CellFolder
from fasdk_tools.protocols.forecast import Forecast, Work, duration

INPUTS = {"model": "mmdg", "W-train": "a1", "W-val": "b2"}


def test_a_folder_of_the_same_inputs_is_kept(tmp_path):
    folder = CellFolder(tmp_path / "out" / "CPS.0")
    assert folder.claim(INPUTS) is None
    folder.checkpoint.write_bytes(b"weights")
    assert folder.claim(dict(reversed(INPUTS.items()))) is None
    assert folder.checkpoint.read_bytes() == b"weights"


def test_a_changed_input_is_named_and_what_there_was_is_set_aside(tmp_path):
    folder = CellFolder(tmp_path / "CPS.0")
    folder.claim(INPUTS)
    folder.checkpoint.write_bytes(b"old")
    said = folder.claim(INPUTS | {"W-val": "c3"})
    before = tmp_path / "CPS.0.before"
    assert said == f"W-val changed: trained again; what there was is in {before}"
    assert (before / "checkpoint.safetensors").read_bytes() == b"old"
    assert not folder.checkpoint.exists()
    folder.checkpoint.write_bytes(b"newer")
    assert "frozen changed" in str(folder.claim(INPUTS | {"W-val": "c3", "frozen": "x"}))
    assert (before / "checkpoint.safetensors").read_bytes() == b"newer"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("photo.jpg", "x", "holds files and no inputs.json"),
        ("inputs.json", "{", r"inputs\.json cannot be read .*: delete it"),
        ("inputs.json", "[]", r"inputs\.json holds no JSON object: delete it"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        CellFolder(tmp_path).claim(INPUTS)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, content)]


def test_the_forecast_scales_the_first_steps_to_all_the_work(monkeypatch):
    times = iter([100.0, 104.0, 108.0, 112.0, 116.0])
    monkeypatch.setattr("fasdk_tools.protocols.forecast.time.monotonic", lambda: next(times))
    said: list[str] = []
    forecast = Forecast([Work(captures=600, scored=300), Work(captures=300, scored=0)], said.append)
    for done in (10, 20, 30, 10, 20):  # a new epoch after the third
        forecast.step(done)
    # 30 captures took 12 s after the first step; 900 and a third of 300 are still to come.
    assert said == [
        "2 trainings and their tests will take about 7 min, by the first steps; "
        "trainings that stop early take less"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (700, "12 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_said_in_words(seconds, text):
    assert duration(seconds) == text

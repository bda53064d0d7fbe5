"""Resumed training: weights equal to those of an uninterrupted one, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fasdk.errors import TrainingError
from fasdk_calibration.datasets import LabeledCapture, load_list, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import (
    Augmentation,
    Optimizer,
    Schedule,
    Step,
    TrainingResult,
    TrainingSettings,
    train,
)

FAMILY = get_family("mmdg")
SMALL = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 1, "mlp_width": 64}
CONFIG = FAMILY.configs["tiny"].model_copy(update=SMALL)
SETTINGS = TrainingSettings(epochs=3, batch=8, save_every=2)
# 24 captures are 3 steps an epoch.

KILLED = """
import os, signal, sys
from pathlib import Path
from fasdk_calibration.datasets import load_list
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import TrainingSettings, train

folder, steps = Path(sys.argv[1]), int(sys.argv[2])
family = get_family("mmdg")
done = 0

def on_step(step):
    global done
    done += 1
    if done == steps:
        os.kill(os.getpid(), signal.SIGKILL)

train(
    family,
    family.configs["tiny"].model_copy(update={small}),
    "mmdg",
    load_list(folder / "train.jsonl"),
    load_list(folder / "development.jsonl"),
    TrainingSettings(epochs=3, batch=8, save_every=2),
    state=folder / "state",
    on_step=on_step,
)
""".replace("{small}", repr(SMALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    small = SceneSettings(width=96, height=72)
    for split, count in ((Split.TRAIN, 24), (Split.DEVELOPMENT, 12)):
        captures = generate_many(2, count, split, settings=small)
        write_captures(captures, folder, split.value)
    return folder


@pytest.fixture(scope="module")
def captures(folder) -> tuple[list[LabeledCapture], list[LabeledCapture]]:
    return load_list(folder / "train.jsonl"), load_list(folder / "development.jsonl")


def run(captures, method="mmdg", settings=SETTINGS, family=FAMILY, config=CONFIG, **options):
    return train(family, config, method, *captures, settings, **options)


@pytest.fixture(scope="module")
def unbroken(captures) -> TrainingResult:
    return run(captures)


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("steps", [3, 5])  # at an epoch's last step; inside the second epoch
def test_a_killed_and_resumed_training_ends_in_the_same_weights(
    steps, folder, captures, unbroken, tmp_path
):
    for name in ("train", "development"):
        (tmp_path / f"{name}.jsonl").write_bytes((folder / f"{name}.jsonl").read_bytes())
        (tmp_path / name).symlink_to(folder / name)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(steps)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    seen: list[Step] = []
    resumed = run(captures, state=tmp_path / "state", resume=True, on_step=seen.append)
    assert len(seen) == 9 - 2 * (steps // 2), "it did not go on where the state was written"
    assert_equal(unbroken.module.state_dict(), resumed.module.state_dict())
    assert resumed.history == unbroken.history


@pytest.mark.parametrize("name", ["mmdgpp", "mmda", "bigmoe"])
def test_every_method_resumes_to_the_same_bits(name, captures, tmp_path):
    family = get_family(name)
    config = family.configs["tiny"]
    settings = SETTINGS.model_copy(update={"epochs": 2, "save_every": 1})

    def kill(step: Step) -> None:
        if step.epoch == 2 and step.done == 8:
            raise KeyboardInterrupt

    whole = run(captures, name, settings, family, config)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        run(captures, name, settings, family, config, state=state, on_step=kill)
    resumed = run(captures, name, settings, family, config, state=state, resume=True)
    assert_equal(whole.module.state_dict(), resumed.module.state_dict())
    assert_equal(dict(whole.research), dict(resumed.research))


def test_settings_as_published_resume_to_the_same_bits(captures, tmp_path):
    changes = {
        "epochs": 2,
        "save_every": 1,
        "accumulate": 3,
        "optimizer": Optimizer.ADAM,
        "schedule": Schedule.CONSTANT,
        "decay_vectors": True,
        "clip_norm": None,
        "patience": None,
        "augmentation": Augmentation.NOISY_LOADERS,
    }
    settings = SETTINGS.model_copy(update=changes)

    def kill(step: Step) -> None:
        if step.epoch == 2 and step.done == 8:
            raise KeyboardInterrupt

    options = {"settings": settings, "freeze": "always"}
    whole = run(captures, **options)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        run(captures, state=state, on_step=kill, **options)
    resumed = run(captures, state=state, resume=True, **options)
    assert_equal(whole.module.state_dict(), resumed.module.state_dict())
    assert whole.frozen == resumed.frozen > 0


def test_a_finished_training_resumes_to_itself(captures, unbroken, tmp_path):
    run(captures, state=tmp_path / "state")
    again = run(captures, state=tmp_path / "state", resume=True)
    assert_equal(unbroken.module.state_dict(), again.module.state_dict())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"settings": SETTINGS.model_copy(update={"epochs": 1, "seed": 1})},
            r"another settings \(seed 0, not 1\): give what",
        ),
        (
            {"settings": SETTINGS.model_copy(update={"epochs": 1, "batch": 4, "accumulate": 2})},
            r"another settings \(batch 8, not 4; accumulate 1, not 2\)",
        ),
        (
            {
                "settings": SETTINGS.model_copy(
                    update={"epochs": 1, "augmentation": Augmentation.LOADERS}
                )
            },
            r'another settings \(augmentation "fasdk", not "loaders"\)',
        ),
        ({"method": "plain"}, "another method"),
        ({"config": CONFIG.model_copy(update={"depth": 2})}, "another configuration"),
        ({"frozen": [r"adapter_.*"]}, r"another frozen parameters \(none, not adapter_\.\*\)"),
        ({"freeze": "always"}, r"another frozen parameters \(none, not published\)"),
    ],
)
def test_a_state_of_another_training_is_refused(change, named, captures, tmp_path):
    short = SETTINGS.model_copy(update={"epochs": 1})
    run(captures, settings=short, state=tmp_path / "state")
    options = {"settings": short} | change
    with pytest.raises(TrainingError, match=named):
        run(captures, state=tmp_path / "state", resume=True, **options)
    fewer = (captures[0][:-1], captures[1])
    with pytest.raises(TrainingError, match="another training captures"):
        run(fewer, settings=short, state=tmp_path / "state", resume=True)


def test_a_damaged_or_absent_state_is_refused(captures, tmp_path):
    state = tmp_path / "state"
    with pytest.raises(TrainingError, match="does not exist; leave out --resume"):
        run(captures, state=state, resume=True)
    run(captures, settings=SETTINGS.model_copy(update={"epochs": 1}), state=state)
    whole = state.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a state"):
        state.write_bytes(damaged)
        with pytest.raises(TrainingError, match="damaged or no training state"):
            run(captures, state=state, resume=True)
    torch.save({"version": 99}, state)
    with pytest.raises(TrainingError, match="no training state of version 1"):
        run(captures, state=state, resume=True)

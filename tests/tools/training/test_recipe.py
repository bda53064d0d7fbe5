"""Recipe of the packaged checkpoint: the same seeds give the same bytes, with a true record."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from fasdk_tools.training import recipe as recipes
from fasdk_tools.training.packaged import CHECKPOINT, copy_checkpoint
from fasdk_tools.training.recipe import Recipe, command_of, sized, train_checkpoint


def test_the_usual_recipe_is_the_make_target():
    assert command_of(Recipe()) == "make demo-checkpoint"
    assert sized(Recipe().train, Recipe().settings.epochs) == Recipe()


def test_another_size_names_its_options():
    assert command_of(sized(100, 3)).endswith("--out FOLDER --captures 100 --epochs 3")


def test_no_demo_seed_is_a_training_population():
    assert Recipe().first_seed > 100_000


@pytest.mark.parametrize("option", ["--captures", "--epochs"])
def test_a_count_below_one_is_refused(option, capsys, tmp_path):
    with pytest.raises(SystemExit):
        recipes.main(["--out", str(tmp_path), option, "0"])
    assert f"{option}: 0 is less than 1" in capsys.readouterr().err


@pytest.mark.slow
def test_two_trainings_from_the_same_seeds_give_the_same_bytes(tmp_path):
    small = replace(sized(36, 1), development=18, populations=2)
    records = [train_checkpoint(small, tmp_path / name) for name in ("first", "second")]
    data = [(tmp_path / name / CHECKPOINT).read_bytes() for name in ("first", "second")]
    assert data[0] == data[1]
    assert records[0].sha256 == records[1].sha256 == sha256(data[0]).hexdigest()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [
        "demo.csv",
        "demo.json",
        CHECKPOINT,
    ]
    assert copy_checkpoint(tmp_path / "copy", tmp_path / "first") == records[0]

"""Packaged checkpoint: it is the recorded one, opens, and tells synthetic attacks from people."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256

import numpy as np
import pytest

from fasdk.errors import CheckpointError
from fasdk_calibration.metrics import auc
from fasdk_calibration.synthetic import Split, generate_many
from fasdk_engines.models.checkpoint import load_checkpoint, load_into, resolve_config
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import score_captures
from fasdk_tools.training.packaged import (
    CHECKPOINT,
    FOLDER,
    RECORD,
    SCENE,
    copy_checkpoint,
    read_record,
)
from fasdk_tools.training.recipe import command_of, sized

MOST_BYTES = 2_000_000


@pytest.fixture
def folder(tmp_path):
    """A copy of the packaged folder, to spoil."""
    return shutil.copytree(FOLDER, tmp_path / "checkpoint")


def test_the_packaged_checkpoint_is_the_one_its_record_states(tmp_path):
    record = copy_checkpoint(tmp_path / "copy.safetensors")
    data = (FOLDER / CHECKPOINT).read_bytes()
    assert sha256(data).hexdigest() == record.sha256
    assert len(data) == record.size_bytes <= MOST_BYTES
    assert (tmp_path / "copy.safetensors").read_bytes() == data
    assert record.license == "Apache-2.0"
    assert "synthetic captures alone" in record.data


def test_the_record_states_todays_recipe():
    record = read_record()
    recipe = sized(record.recipe["train"], record.recipe["settings"]["epochs"])
    assert record.recipe == json.loads(json.dumps(recipe.described()))
    assert record.command == command_of(recipe)


def test_the_packaged_checkpoint_parts_people_from_attacks_it_never_saw():
    checkpoint = load_checkpoint(FOLDER / CHECKPOINT)
    family = get_family(read_record().model)
    config = resolve_config(family, checkpoint)
    module = family.build(config)
    load_into(module, checkpoint, family)
    captures = list(generate_many(17, 36, Split.HELD_OUT, settings=SCENE))
    scores = score_captures(module, family, config, captures)
    live = np.array([capture.is_bona_fide for capture in captures])
    assert auc(scores, live) >= 0.9


def test_an_altered_checkpoint_is_refused(folder, tmp_path):
    data = bytearray((folder / CHECKPOINT).read_bytes())
    data[-1] ^= 1
    (folder / CHECKPOINT).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"its record states [0-9a-f]{64}: install fasdk"):
        copy_checkpoint(tmp_path / "copy.safetensors", folder)
    assert not (tmp_path / "copy.safetensors").exists()


@pytest.mark.parametrize("name", [CHECKPOINT, RECORD])
def test_a_missing_file_is_named(name, folder, tmp_path):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}.*install fasdk again"):
        copy_checkpoint(tmp_path / "copy.safetensors", folder)


def test_a_record_that_is_no_json_is_refused(folder):
    (folder / RECORD).write_text("{")
    with pytest.raises(CheckpointError, match="is no record of a checkpoint"):
        read_record(folder)

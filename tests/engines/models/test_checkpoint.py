"""Reading, writing and loading of checkpoints."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fasdk.errors import CheckpointError, FasdkError, ModelError
from fasdk_engines.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_into,
    resolve_config,
    save_checkpoint,
)
from fasdk_engines.models.mmdg.published import Mmdg
from fasdk_engines.models.registry import get_family

MMDG = get_family("mmdg")
TINY = MMDG.configs["tiny"]
WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


class Attack:
    """Content of a hostile checkpoint: unpickling it would run a command."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def saved(folder: Path, content: object, name: str = "weights.pth", **settings: bool) -> Path:
    path = folder / name
    torch.save(content, path, **settings)
    return path


def held(tensors: dict[str, torch.Tensor]) -> Checkpoint:
    return Checkpoint(Path("weights.pth"), "0" * 64, tensors)


@pytest.fixture
def tiny() -> Mmdg:
    torch.manual_seed(0)
    return Mmdg(TINY)


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {f"module.{name}": value for name, value in WEIGHTS.items()},
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        {"model_state_dict": {f"module.{n}": v for n, v in WEIGHTS.items()}, "best": 0.5},
    ],
    ids=["bare", "data parallel", "state_dict", "model and optimizer", "both"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_where_trainers_put_it(content, zipped, tmp_path):
    path = saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    checkpoint = load_checkpoint(path)
    module = torch.nn.Sequential(OrderedDict(layer=torch.nn.Linear(3, 2)))
    load_into(module, checkpoint, MMDG)
    assert all(torch.equal(module.state_dict()[n], v) for n, v in WEIGHTS.items())
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"state_dict": WEIGHTS, "extra": a}])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(wrap, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, wrap(Attack()), _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"contains code \(\w+\.system\)") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_a_whole_module_is_code(tmp_path):
    with pytest.raises(CheckpointError, match=r"contains code \(torch.nn.modules.linear.Linear\)"):
        load_checkpoint(saved(tmp_path, torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(suffix, keep, zipped, tmp_path, tiny):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(tiny.state_dict(), path, _use_new_zipfile_serialization=zipped)
    else:
        save_checkpoint(path, tiny, MMDG, TINY)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="truncated") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
        ([1, 2], "holds no tensors by name but a list"),
        (torch.ones(3), "holds no tensors by name but a Tensor"),
        ({"epoch": 3}, "holds no tensors"),
        ([torch.ones(3), torch.zeros(3)], "holds no tensors by name but a list"),
        ({"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}, r"holds a\.b twice"),
    ],
)
def test_a_file_without_weights_is_refused(content, complaint, tmp_path):
    with pytest.raises(CheckpointError, match=complaint):
        load_checkpoint(saved(tmp_path, content))


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        load_checkpoint(tmp_path / "absent.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.pth is a folder: give a checkpoint file"):
        load_checkpoint(tmp_path / "folder.pth")


def test_an_archive_that_inflates_is_refused(tmp_path):
    path, bomb = saved(tmp_path, {"a": torch.zeros(100_000)}), tmp_path / "bomb.pth"
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as small:
        for member in plain.namelist():
            small.writestr(member, plain.read(member))
    with pytest.raises(CheckpointError, match="compressed members"):
        load_checkpoint(bomb)


def test_saved_checkpoint_loads_with_its_settings(tmp_path, tiny):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny, MMDG, TINY)
    checkpoint = load_checkpoint(path)
    config = resolve_config(MMDG, checkpoint)
    assert config == TINY
    other = MMDG.build(config)
    load_into(other, checkpoint, MMDG)
    assert all(torch.equal(v, tiny.state_dict()[n]) for n, v in other.state_dict().items())
    with pytest.raises(CheckpointError, match="use --model mmdg"):
        resolve_config(get_family("minifasnet-v2"), checkpoint)


def test_a_failed_save_leaves_the_old_file(tmp_path, tiny):
    with pytest.raises(FasdkError, match="cannot write"):
        save_checkpoint(tmp_path / "absent" / "tiny.safetensors", tiny, MMDG, TINY)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("fc_all.0.bias"), "1 missing: fc_all.0.bias"),
        (lambda t: t.update(head=torch.ones(1)), "1 unknown: head"),
        (
            lambda t: t.update({"fc_all.0.bias": torch.ones(3)}),
            r"1 misshapen: fc_all.0.bias is \[3\], expected \[2\]",
        ),
        (lambda t: t["fc_all.0.bias"].fill_(float("nan")), "fc_all.0.bias holds NaN or infinity"),
        (
            lambda t: t.update({"fc_all.0.bias": torch.tensor([1e300, 0.0], dtype=torch.float64)}),
            "fc_all.0.bias holds NaN or infinity",
        ),
        (
            lambda t: t.update({"fc_all.0.bias": torch.ones(2, dtype=torch.int64)}),
            r"fc_all.0.bias is torch.int64, expected torch.float32",
        ),
        (
            lambda t: t.update({"fc_all.0.weight": t["fc_all.0.weight"].to_sparse()}),
            "fc_all.0.weight is sparse",
        ),
        (
            lambda t: t.update({"fc_all.0.bias": torch.ones(2, dtype=torch.complex64)}),
            "fc_all.0.bias is torch.complex64",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(change, complaint, tiny):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    torch.manual_seed(1)
    tensors = dict(Mmdg(TINY).state_dict())
    change(tensors)
    with pytest.raises(CheckpointError, match=complaint):
        load_into(tiny, held(tensors), MMDG)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_many_names_are_counted_not_listed(tiny):
    with pytest.raises(CheckpointError, match=r"\d+ missing: \S+, \S+, \S+ and \d+ more") as caught:
        load_into(tiny, held({"only": torch.ones(1)}), MMDG)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["minifasnet-v2", "minifasnet-v1se"])
def test_the_weights_of_another_model_are_recognized(name, tiny):
    family = get_family(name)
    weights = family.build(family.default_config).state_dict()
    with pytest.raises(CheckpointError, match=f"looks like --model {name}"):
        load_into(tiny, held(weights), MMDG)


def test_the_weights_of_another_config_are_recognized(tiny):
    with torch.device("meta"):
        full = Mmdg(MMDG.default_config)
    with pytest.raises(CheckpointError, match="looks like --model mmdg --config tiny"):
        load_into(full, held(tiny.state_dict()), MMDG)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_converted(dtype, tiny):
    load_into(tiny, held({n: v.to(dtype) for n, v in tiny.state_dict().items()}), MMDG)
    assert {value.dtype for value in tiny.state_dict().values()} == {torch.float32}


def test_the_older_spelling_of_the_perceptron_is_understood(tiny):
    older = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for name, value in tiny.state_dict().items()
    }
    assert "ViT_Encoder.1.mlp.linear_1.weight" in older
    load_into(Mmdg(TINY), held(older), MMDG)
    with pytest.raises(CheckpointError, match="twice, under two spellings"):
        load_into(Mmdg(TINY), held({**older, **tiny.state_dict()}), MMDG)


def test_research_only_weights_are_dropped_with_a_log_line(tiny, caplog):
    family = replace(MMDG, research_only=(r"prototype\..*",))
    tensors = {**tiny.state_dict(), "prototype.live": torch.ones(2)}
    with caplog.at_level(logging.INFO):
        load_into(Mmdg(TINY), held(tensors), family)
    assert "dropped prototype.live" in caplog.text


@pytest.mark.parametrize(
    ("requested", "complaint"),
    [
        ("huge", "mmdg has no config 'huge': choose full, tiny or a JSON file"),
        ('{"depths": 3}', "field 'depths': Extra inputs are not permitted .known fields: normal"),
        ('{"depth": "deep"}', "field 'depth'"),
        ("{", "Invalid JSON"),
        ('{"patch_size": 15}', "is not a multiple of patch_size 15"),
    ],
)
def test_a_config_that_is_unknown_or_does_not_fit_is_named(requested, complaint, tmp_path):
    if requested.startswith("{"):
        (tmp_path / "config.json").write_text(requested)
        requested = str(tmp_path / "config.json")
    with pytest.raises(ModelError, match=complaint) as caught:
        resolve_config(MMDG, held(WEIGHTS), requested)
    assert "\n" not in str(caught.value)


def test_settings_come_from_the_request_then_the_file_then_the_publication(tmp_path):
    noted = replace(held(WEIGHTS), metadata={"fasdk.config": json.dumps({"depth": 2})})
    (tmp_path / "config.json").write_text('{"depth": 5}')
    assert resolve_config(MMDG, noted, "tiny") == TINY
    assert resolve_config(MMDG, noted, tmp_path / "config.json").depth == 5
    assert resolve_config(MMDG, noted).depth == 2
    assert resolve_config(MMDG, held(WEIGHTS)) == MMDG.default_config

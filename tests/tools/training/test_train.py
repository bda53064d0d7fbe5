"""Verb train: a checkpoint for build-engine, and errors in one line."""

from __future__ import annotations

import csv
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fasdk.errors import TrainingError
from fasdk_calibration.datasets import DatasetSource, write_captures
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.models.checkpoint import load_checkpoint, save_checkpoint
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import Epoch, TrainingSettings, train
from fasdk_engines.training.log import TensorBoardLog
from fasdk_tools.training.train import TrainRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    small = SceneSettings(width=96, height=72)
    for split, count in ((Split.TRAIN, 24), (Split.DEVELOPMENT, 12)):
        write_captures(generate_many(2, count, split, settings=small), folder, split.value)
    return folder


def command(folder: Path, out: Path, *more: object, model: str = "mmdg") -> list[object]:
    return [
        *("train", folder / "train.jsonl", "-o", out, "--model", model, "--config", "tiny"),
        *("--development", folder / "development.jsonl", "--epochs", 1, "--batch", 12, *more),
    ]


@pytest.mark.parametrize(
    ("model", "method", "research"),
    [
        ("mmdg", "mmdg", r"(?!)"),
        (
            "mmdgpp",
            "mmdgpp",
            r"prompts_[123]|model\.(transformer|token_embedding|ln_final)\..*"
            r"|model\.(positional_embedding|text_projection|logit_scale)",
        ),
        (
            "mmda",
            "mmda",
            r"adapter\.u_align\.(refine|remapping)\.1\..*"
            r"|model\.(transformer|token_embedding|ln_final)\..*"
            r"|model\.(positional_embedding|text_projection|logit_scale)",
        ),
        ("bigmoe", "bigmoe", r"(?!)"),
    ],
)
def test_a_trained_checkpoint_holds_the_published_keys_and_builds(
    model, method, research, fasdk, folder, tmp_path
):
    out = tmp_path / "trained.safetensors"
    ran = fasdk(*command(folder, out, "--json", model=model))
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["method"], report["captures"], report["epochs"]) == (method, 24, 1)
    assert report["domains"] == ["synthetic"]
    assert "loss" not in ran.stdout.replace("development_loss", ""), "progress goes to stderr"
    assert "development" in ran.stderr and "classification" in ran.stderr
    found = set(load_checkpoint(out).tensors)
    family = get_family(model)
    own = set(family.build(family.configs["tiny"]).state_dict())
    extra = found - own
    assert own <= found
    assert all(re.fullmatch(research, name) for name in extra)
    assert all(any(re.fullmatch(p, name) for p in family.research_only) for name in extra)
    assert {n.split(".")[0] for n in extra} == {
        "mmdgpp": {"prompts_1", "prompts_2", "prompts_3", "model"},
        "mmda": {"adapter", "model"},
    }.get(model, set())
    bundle = tmp_path / "trained.fasb"
    built = fasdk(
        *("build-engine", out, "-o", bundle, "--model", model, "--backend", "onnxruntime")
    )
    assert built.status == 0, built.stderr
    assert list(tmp_path.glob("*.training")) == []


def test_the_log_has_a_line_an_epoch_with_every_part_of_the_loss(fasdk, folder, tmp_path):
    out, logs = tmp_path / "a.safetensors", tmp_path / "logs"
    ran = fasdk(*command(folder, out, "--epochs", 2, "--log", logs))
    assert ran.status == 0, ran.stderr
    rows = list(csv.DictReader((logs / "a.csv").open()))
    assert [row["number"] for row in rows] == ["1", "2"]
    for row in rows:
        parts = [float(row[f"loss {name}"]) for name in ("classification", "rgb", "depth", "ir")]
        assert float(row["loss"]) == pytest.approx(sum(parts))


def test_a_training_cut_short_is_continued_when_asked_and_never_overwritten(
    fasdk, folder, tmp_path
):
    whole = tmp_path / "whole.safetensors"
    options = ("--epochs", 2, "--save-every", 1)
    assert fasdk(*command(folder, whole, *options)).status == 0
    out = tmp_path / "cut.safetensors"
    lists = (DatasetSource.of(folder / f"{name}.jsonl") for name in ("train", "development"))
    request = TrainRequest(*lists, out, "mmdg")

    def interrupt(step):
        if step.epoch == 2:
            raise KeyboardInterrupt

    _cut(folder, request.state, interrupt)
    ran = fasdk(*command(folder, out, *options))
    assert ran.status == 2 and "continue it with --resume" in ran.error_lines[0]
    assert not out.exists()
    resumed = fasdk(*command(folder, out, *options, "--resume"))
    assert resumed.status == 0, resumed.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def _cut(folder: Path, state: Path, on_step) -> None:
    from fasdk_calibration.datasets import load_list

    family = get_family("mmdg")
    with pytest.raises(KeyboardInterrupt):
        train(
            family,
            family.configs["tiny"],
            "mmdg",
            load_list(folder / "train.jsonl"),
            load_list(folder / "development.jsonl"),
            TrainingSettings(epochs=2, batch=12, save_every=1),
            state=state,
            on_step=on_step,
        )


def test_pretrained_weights_are_taken_and_the_unused_named(fasdk, folder, tmp_path):
    family = get_family("mmdg")
    module = family.build(family.configs["tiny"]).state_dict()
    source = {
        "conv_proj.weight": module["conv_proj1.weight"],
        "conv_proj.bias": module["conv_proj1.bias"],
        "class_token": module["class_token1"],
        "encoder.pos_embedding": module["pos_embedding1"],
        "heads.head.bias": torch.zeros(1000),
    }
    for name, value in module.items():
        if name.startswith("ViT_Encoder."):
            _, position, rest = name.split(".", 2)
            head = "ln" if position == "3" else f"layers.encoder_layer_{int(position) - 1}"
            source[f"encoder.{head}.{rest}"] = value
    torch.save(source, tmp_path / "vit.pth")
    out = tmp_path / "a.safetensors"
    ran = fasdk(*command(folder, out, "--init-from", tmp_path / "vit.pth", "--json"))
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert set(report["unused_initial"]) == {"encoder.pos_embedding", "heads.head.bias"}
    kept = load_checkpoint(out).tensors
    assert torch.equal(kept["conv_proj3.weight"], source["conv_proj.weight"])
    assert torch.equal(kept["ViT_Encoder.1.mlp.0.weight"], module["ViT_Encoder.1.mlp.0.weight"])
    assert not torch.equal(kept["ViT_Encoder.2.mlp.0.weight"], module["ViT_Encoder.2.mlp.0.weight"])
    frozen = [n for n in module if re.fullmatch(r"conv_proj\d\..*|ViT_Encoder\.1\..*", n)]
    assert report["frozen_parameters"] == sum(module[n].numel() for n in frozen)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        (["--amp"], "mixed precision needs a GPU, not cpu: leave out --amp"),
        (["--device", "cuda"], "no CUDA device here: train on --device cpu"),
        (["--device", "abacus"], "'abacus' is no device: choose cpu or cuda"),
        (["--method", "wishes"], "unknown training method 'wishes': choose published or one of"),
        (["--method", "mmda"], "method 'mmda' trains mmda, not 'mmdg': choose published or plain"),
        (["--batch", "0"], "--batch 0: Input should be greater than or equal to 1"),
        (["--learning-rate", "-1"], "--learning-rate -1.0: Input should be greater than 0"),
        (["--learning-rate", "1e30"], "training diverged"),
        (["--resume"], "nothing to resume"),
        (["--config", "grand"], "mmdg has no config 'grand': choose full, tiny or a JSON file"),
        (["--clip-vocabulary", "v.gz"], "--clip-vocabulary goes with --init-from"),
        (["--weights", "ema"], "--weights goes with --init-from"),
        (["--init-from", "absent.pth"], "absent.pth: no such file"),
        (["--model", "minifasnet-v2"], "no published training method here: choose --method plain"),
        (["-o", "model.pth"], "-o model.pth is not called like a checkpoint: end it .safetensors"),
        (["-o", "absent/model.safetensors"], "its folder does not exist"),
        (["--development", "absent.jsonl"], "cannot read list absent.jsonl"),
        (["--texts", "absent.toml"], "cannot read absent.toml: No such file"),
        (["--augment", "glitter"], "--augment glitter: Input should be 'fasdk', 'loaders', 'noisy"),
        (["--optimizer", "sgd"], "--optimizer sgd: Input should be 'adamw' or 'adam'"),
        (["--accumulate", "0"], "--accumulate 0: Input should be greater than or equal to 1"),
        (["--freeze", "winter"], "--freeze is 'winter', expected pretrained, always or never"),
        (["--frozen", "nothing_here"], "no parameter is called like 'nothing_here'"),
        (["--choose-epoch-by", "luck"], "--choose-epoch-by luck: Input should be 'auc' or 'loss'"),
    ],
)
def test_invalid_training_option_is_one_line_with_the_fix(options, fix, fasdk, folder, tmp_path):
    if options == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    ran = fasdk(*command(folder, tmp_path / "a.safetensors", *options))
    assert ran.status == 2
    assert len(ran.error_lines) == 1 and fix in ran.stderr.replace("\n", " ")
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "a.safetensors").exists()


def test_sentences_of_ones_own_are_read_and_a_missing_class_is_one_line(fasdk, folder, tmp_path):
    texts, out = tmp_path / "texts.toml", tmp_path / "a.safetensors"
    texts.write_text('live = ["a face"]\n')
    ran = fasdk(*command(folder, out, "--texts", texts, model="mmda"))
    assert ran.status == 2 and len(ran.error_lines) == 1
    assert f"{texts}: attack is missing: add a list of sentences" in ran.error_lines[0]
    texts.write_text('live = ["a face"]\nattack = ["a mask", "a print"]\n')
    ran = fasdk(*command(folder, out, "--texts", texts, model="mmdg"))
    assert ran.status == 2 and "'mmdg' reads no sentences: leave out --texts" in ran.stderr
    assert not out.exists()
    ran = fasdk(*command(folder, out, "--texts", texts, model="mmda"))
    assert ran.status == 0, ran.stderr
    # Start, end, and the words a, face, mask and print.
    assert len(load_checkpoint(out).tensors["model.token_embedding.weight"]) == 2 + 4


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_tensorboard_is_asked_for_by_name_where_it_is_absent(fasdk, folder, tmp_path):
    ran = fasdk(*command(folder, tmp_path / "a.safetensors", "--tensorboard"))
    assert ran.status == 2 and "pip install tensorboard" in ran.error_lines[0]


def test_tensorboard_is_told_every_part_of_every_epoch(monkeypatch, tmp_path):
    told: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def flush(self) -> None: ...

        def close(self) -> None: ...

    stand_in = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    monkeypatch.setattr("fasdk_engines.training.log.find_spec", lambda name: name)
    log = TensorBoardLog(tmp_path)
    log.write(Epoch(3, 9, 1.5, 0.5, 0.75, 0.875, {"classification": 1.0, "rgb": 0.5}))
    log.close()
    assert told == [
        ("loss", 1.5, 3),
        ("development_loss", 0.5, 3),
        ("development_accuracy", 0.75, 3),
        ("development_auc", 0.875, 3),
        ("loss/classification", 1.0, 3),
        ("loss/rgb", 0.5, 3),
    ]


def test_saving_a_module_twice_gives_the_same_bytes(tmp_path):
    family = get_family("mmdg")
    config = family.configs["tiny"]
    module = family.build(config)
    prompts = {"prompts_1": torch.ones(2, 5, 8)}
    for index in range(12):  # safetensors writes its notes in one of two orders
        save_checkpoint(tmp_path / f"{index}.safetensors", module, family, config, prompts)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    loaded = load_checkpoint(tmp_path / "0.safetensors")
    assert torch.equal(loaded.tensors["prompts_1"], prompts["prompts_1"])
    assert all(torch.equal(loaded.tensors[n], v) for n, v in module.state_dict().items())
    assert loaded.metadata["fasdk.model"] == "mmdg"


def test_a_subject_in_both_lists_is_refused(fasdk, folder, tmp_path):
    ran = fasdk(
        *command(folder, tmp_path / "a.safetensors", "--development", folder / "train.jsonl")
    )
    assert ran.status == 2 and "split by subject" in ran.error_lines[0]


def test_settings_are_shown_with_their_sources_and_no_list_is_read(fasdk, tmp_path):
    absent = ("train", "absent.jsonl", "-o", tmp_path / "a.safetensors", "--development", "no.txt")
    ran = fasdk(*absent, "--model", "mmda", "--batch", 12, "--show-settings")
    assert ran.status == 0, ran.stderr
    text = " ".join(ran.stdout.split())
    assert "but fasdk's own: texts; without --init-from: initial values; by option: batch" in text
    assert "texts as many, in fasdk's" in text
    assert "accumulate 8 published 8" in text and "MMDA@547f9b2 train.py" in text
    ran = fasdk(*absent, "--model", "bigmoe", "--config", "tiny", "--show-settings", "--json")
    shown = json.loads(ran.stdout)
    rows = {row["name"]: row for row in shown["rows"]}
    assert rows["learning_rate"]["published"] == 5e-6 and rows["learning_rate"]["value"] == 2e-3
    assert rows["augmentation"] | {"source": ""} == {
        "name": "augmentation",
        "value": "fasdk",
        "set_by": "fasdk, for another size",
        "published": "noisy-loaders",
        "source": "",
    }
    assert "not published: loop and loader are those of MMDA" in shown["note"]
    assert not list(tmp_path.iterdir())


def test_options_reach_the_training_and_are_said_in_one_line(fasdk, folder, tmp_path):
    out = tmp_path / "a.safetensors"
    options = (
        *("--accumulate", 3, "--augment", "noisy-loaders", "--optimizer", "adam"),
        *("--schedule", "constant", "--clip-norm", 0, "--patience", 0, "--decay-vectors"),
        *("--frozen", r"adapter_.*", "--freeze", "always"),
    )
    ran = fasdk(*command(folder, out, *options, "--json"))
    assert ran.status == 0, ran.stderr
    report = json.loads(ran.stdout)
    values = {row["name"]: row["value"] for row in report["settings"]}
    assert (values["accumulate"], values["augmentation"]) == (3, "noisy-loaders")
    assert values["clip_norm"] is None and values["patience"] is None
    assert values["frozen"] == "adapter_.* and what is published"
    assert report["summary"] in ran.stderr.splitlines()
    family = get_family("mmdg")
    module = family.build(family.configs["tiny"]).state_dict()
    kept = [n for n in module if re.fullmatch(r"conv_proj\d\..*|ViT_Encoder\.1\..*|adapter_.*", n)]
    assert report["frozen_parameters"] == sum(module[n].numel() for n in kept)


def test_a_resume_with_other_settings_is_one_line_that_names_them(fasdk, folder, tmp_path):
    out = tmp_path / "cut.safetensors"
    lists = (DatasetSource.of(folder / f"{name}.jsonl") for name in ("train", "development"))
    request = TrainRequest(*lists, out, "mmdg")

    def interrupt(step):
        raise KeyboardInterrupt

    _cut(folder, request.state, interrupt)
    options = ("--epochs", 2, "--save-every", 1, "--accumulate", 2, "--resume")
    ran = fasdk(*command(folder, out, *options))
    assert ran.status == 2 and len(ran.error_lines) == 1
    assert "another settings (accumulate 1, not 2)" in ran.error_lines[0]


def test_resuming_without_a_file_is_refused():
    family = get_family("mmdg")
    with pytest.raises(TrainingError, match="name the file"):
        train(family, family.configs["tiny"], "plain", [], [], resume=True)

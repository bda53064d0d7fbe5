"""Training methods of the model families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fasdk.capture import Capture
from fasdk.errors import DatasetError, TrainingError
from fasdk_calibration.datasets import DatasetSource, LabeledCapture, write_captures
from fasdk_calibration.synthetic import SceneSettings, Species, Split, generate_many, taking_turns
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.models.registry import family_names, get_family
from fasdk_engines.training import (
    TrainingResult,
    TrainingSettings,
    captures_of,
    get_method,
    method_names,
    train,
)
from fasdk_engines.training import data as training_data
from fasdk_engines.training.data import CaptureTensors, domain_names
from fasdk_engines.training.method import Task
from fasdk_engines.training.prototypes import Prototypes

Sets = dict[Split, list[LabeledCapture]]
FAMILY_OF = {"plain": "mmdg", "mmdg-ssp": "mmdg"}
PUBLISHED = ("mmdg-ssp", "mmdg", "mmdgpp", "mmda", "bigmoe")
PARTS = {
    "plain": {"classification"},
    "mmdg-ssp": {"classification", "rgb", "depth", "ir"},
    "mmdg": {"classification", "rgb", "depth", "ir"},
    "mmdgpp": {"classification", "rgb", "depth", "ir"},
    "mmda": {"classification", "alignment", "text", "routing"},
    "bigmoe": {"classification"},
}


@pytest.fixture(scope="module")
def sets() -> Sets:
    """Screens and faces of two domains; a fifth of the captures lack depth or infrared."""
    turns = taking_turns(Species.REPLAY)
    frames = SceneSettings(width=96, height=72, turns=turns)
    found: Sets = {}
    for split, count in ((Split.TRAIN, 64), (Split.DEVELOPMENT, 24)):
        captures = [
            replace(capture, domain=("north", "south")[index // 12 % 2])
            for index, capture in enumerate(generate_many(2, count, split, settings=frames))
        ]
        found[split] = [incomplete(c) if i % 5 == 0 else c for i, c in enumerate(captures)]
    return found


def incomplete(labeled: LabeledCapture) -> LabeledCapture:
    whole = labeled.capture
    less = Capture(rgb=whole.rgb, ir=whole.ir, face=whole.face)
    return replace(labeled, capture=less)


def small(family: Family) -> ModelConfig:
    depth = 2 if family.name == "bigmoe" else 1
    update = {"image_size": 32, "patch_size": 8, "depth": depth}
    return family.configs["tiny"].model_copy(update=update)


def run(sets: Sets, method: str, settings: TrainingSettings, **options) -> TrainingResult:
    family = get_family(FAMILY_OF.get(method, method))
    learned, held = sets[Split.TRAIN], sets[Split.DEVELOPMENT]
    return train(family, small(family), method, learned, held, settings, **options)


@pytest.mark.parametrize("method", PUBLISHED)
def test_every_published_method_learns_screens_from_faces(method, sets):
    settings = TrainingSettings(epochs=5, batch=12, shift=0.0, modality_dropout=0.2)
    result = run(sets, method, settings)
    first, last = result.history[0], result.history[-1]
    assert set(first.losses) == PARTS[method]
    # SSP may rise: its prototypes are an epoch old, and features move fast at the start.
    assert last.losses["classification"] < first.losses["classification"]
    assert first.loss == pytest.approx(sum(first.losses.values()))
    assert result.best.development_auc > 0.75
    assert not result.module.training


@pytest.mark.parametrize("family", family_names())
def test_every_family_of_ours_can_be_trained_plainly_or_as_published(family):
    assert get_method("plain", get_family(family)).name == "plain"
    if family in method_names():
        assert get_method("published", get_family(family)).name == family
    else:
        with pytest.raises(TrainingError, match="choose --method plain"):
            get_method("published", get_family(family))


@pytest.mark.parametrize("name", method_names())
def test_half_precision_where_it_is_safe_leaves_float32_gradients(name, sets):
    """As --amp on a GPU, in bfloat16 on the CPU, where torch has the same casts."""
    family = get_family(FAMILY_OF.get(name, name))
    torch.manual_seed(0)
    module = family.build(small(family))
    captures, specs = sets[Split.TRAIN][:12], family.preprocess(small(family))
    names = domain_names(captures)
    task = Task(family, module, specs, TrainingSettings(), names, torch.Generator().manual_seed(0))
    method = get_method(name, family)(task)
    tensors = CaptureTensors(family, specs, captures, names)
    method.begin_epoch(1, tensors)
    module.train()
    whole = {}
    for enabled in (False, True):
        torch.manual_seed(0)
        module.zero_grad()
        task.generator.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = method.losses(tensors.batch(torch.arange(12)))
        method.backward(losses, lambda loss: 1024.0 * loss)
        method.end_step()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        assert gradients and all(g.dtype is torch.float32 for g in gradients)
        assert all(bool(g.isfinite().all()) for g in gradients)
        whole[enabled] = float(torch.stack(list(losses.values())).sum())
    assert whole[True] == pytest.approx(whole[False], rel=0.05)


def test_prototypes_follow_the_domains_of_the_captures(sets):
    family = get_family("mmdg")
    module = family.build(small(family))
    specs = family.preprocess(small(family))
    settings = TrainingSettings()
    for count in (1, 2):
        captures = [
            replace(c, domain=f"d{i // 6 % count}") for i, c in enumerate(sets[Split.TRAIN])
        ]
        names = domain_names(captures)
        task = Task(family, module, specs, settings, names, torch.Generator().manual_seed(0))
        method = Prototypes(task)
        method.begin_epoch(1, CaptureTensors(family, specs, captures, names))
        assert method.prototypes is not None
        assert method.prototypes.shape == (3, 1 + count, 64)
        batch = CaptureTensors(family, specs, captures, names).batch(torch.arange(len(captures)))
        with torch.no_grad():
            features = module.features(*batch.arguments)[0]
        for modality in range(3):
            for kind in range(1 + count):
                chosen = [
                    features[index, modality]
                    for index, capture in enumerate(captures)
                    if batch.present[index, modality] > 0
                    and (
                        capture.is_bona_fide
                        if kind == 0
                        else not capture.is_bona_fide and capture.domain == f"d{kind - 1}"
                    )
                ]
                torch.testing.assert_close(
                    method.prototypes[modality, kind], torch.stack(chosen).mean(0)
                )


def test_frozen_adapters_add_exactly_nothing(sets):
    settings = TrainingSettings(epochs=1, batch=12)
    baseline = run(sets, "mmdg", settings, frozen=[r"adapter_.*"])
    adapted = run(sets, "mmdg", settings)
    weights = baseline.module.state_dict()
    up = [name for name in weights if ".adapter_up." in name]
    assert up and all(float(weights[name].abs().max()) == 0.0 for name in up)
    adapters = [n for n in weights if n.startswith("adapter_")]
    assert baseline.frozen == sum(weights[name].numel() for name in adapters)
    assert adapted.frozen == 0
    assert all(float(adapted.module.state_dict()[name].abs().max()) > 0.0 for name in up[::2])
    moved = torch.randn(2, 3, 3, 32, 32)
    with torch.no_grad():
        before = baseline.module(*moved.unbind(2))[0]
        for name in up:
            assert name.endswith(("weight", "bias"))
        for pair in ("1_2", "1_3", "2_1", "3_1"):
            for adapter in baseline.module.get_submodule(f"adapter_{pair}_2"):
                adapter.adapter_down_1.weight.add_(1.0)
        after = baseline.module(*moved.unbind(2))[0]
    assert torch.equal(before, after)


def test_prompts_are_trained_and_a_class_of_its_own_stands_for_each_domains_attacks(sets):
    result = run(sets, "mmdgpp", TrainingSettings(epochs=1, batch=12))
    assert result.research["prompts_1"].shape == (1 + 2, 5, 64)
    again = run(sets, "mmdgpp", TrainingSettings(epochs=1, batch=12, learning_rate=1e-12))
    for name in ("prompts_1", "prompts_2", "prompts_3", "model.token_embedding.weight"):
        assert not torch.equal(result.research[name], again.research[name]), name


def test_a_set_too_large_for_memory_is_read_batch_by_batch_to_the_same_weights(
    sets, tmp_path, monkeypatch
):
    paths = [
        write_captures(sets[split], tmp_path, split.value)
        for split in (Split.TRAIN, Split.DEVELOPMENT)
    ]
    family = get_family("mmdg")
    specs = family.preprocess(small(family))
    read: list[tuple[int, int]] = []

    def trained() -> TrainingResult:
        return train(
            family,
            small(family),
            "mmdg",
            captures_of(DatasetSource.of(paths[0]), specs),
            captures_of(DatasetSource.of(paths[1]), specs),
            TrainingSettings(epochs=1, batch=12),
            on_read=lambda done, of: read.append((done, of)),
        )

    whole = trained()
    counts = [len(sets[split]) for split in (Split.TRAIN, Split.DEVELOPMENT)]
    assert [entry for entry in read if entry[0] == entry[1]] == [(n, n) for n in counts]
    monkeypatch.setattr(training_data, "_PRELOADED_BYTES", 0)
    read.clear()
    lazy = trained()
    assert read == []
    first, second = whole.module.state_dict(), lazy.module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_frame_that_cannot_be_read_names_its_capture(sets, tmp_path):
    path = write_captures(sets[Split.TRAIN], tmp_path, "train")
    next(Path(tmp_path / "train").glob("*.rgb.png")).write_bytes(b"no image")
    family = get_family("mmdg")
    with pytest.raises(DatasetError, match=r"capture train-\d+: rgb frame"):
        train(
            family,
            small(family),
            "plain",
            captures_of(DatasetSource.of(path), family.preprocess(small(family))),
            sets[Split.DEVELOPMENT],
            TrainingSettings(epochs=1),
        )

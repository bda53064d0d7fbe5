"""Initialization from pretrained weights."""

from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fasdk.errors import CheckpointError, TrainingError
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import InitialWeights, TrainingSettings, train
from fasdk_engines.training.initial import initialize
from fasdk_engines.training.method import Task
from fasdk_engines.training.methods import get_method
from fasdk_engines.training.trainer import _freeze

from support.pretrained_weights import openai_clip, source_of, torchvision_vit


def written(folder: Path, tensors: dict[str, Tensor]) -> InitialWeights:
    path = folder / "weights.pth"
    torch.save(tensors, path)
    return InitialWeights.load(path)


def fresh(name: str) -> nn.Module:
    family = get_family(name)
    torch.manual_seed(0)
    return family.build(family.configs["tiny"])


@pytest.mark.parametrize(
    ("name", "pairs", "own"),
    [
        (
            "mmdg",
            {
                "conv_proj3.bias": "conv_proj.bias",
                "class_token2": "class_token",
                "ViT_Encoder.1.ln_1.weight": "encoder.layers.encoder_layer_0.ln_1.weight",
                "ViT_Encoder.2.mlp.3.bias": "encoder.layers.encoder_layer_1.mlp.3.bias",
                "ViT_Encoder.3.weight": "encoder.ln.weight",
            },
            {"pos_embedding1", "fc_all.0.weight", "adapter_1_2_2.0.ln_before.weight"},
        ),
        (
            "bigmoe",
            {
                "conv_proj.weight": "conv_proj.weight",
                "ViT_Encoder.1.ln_2.bias": "encoder.layers.encoder_layer_1.ln_2.bias",
            },
            {"pos_embedding", "class_token", "fc.0.weight", "VP_learner.P_s"},
        ),
        (
            "mmdgpp",
            {
                "model.visual.conv1.weight": "visual.conv1.weight",
                "model.visual.class_embedding": "visual.class_embedding",
                "class_token_3": "visual.class_embedding",
                "pos_1": "visual.positional_embedding",
                "visual_proj_2": "visual.proj",
                "model.visual.transformer.resblocks.1.attn.in_proj_bias": (
                    "visual.transformer.resblocks.1.attn.in_proj_bias"
                ),
            },
            {"fc_all.0.weight", "conv_pass_1.0.adapter_mlp.weight"},
        ),
        (
            "mmda",
            {
                "model.visual.positional_embedding": "visual.positional_embedding",
                "model.visual.proj": "visual.proj",
            },
            {"adapter.classifier.proj.weight", "adapter.fusion.ln1.weight"},
        ),
    ],
)
def test_pretrained_tensors_go_where_each_paper_puts_them(name, pairs, own, tmp_path, caplog):
    source = source_of(name)
    module = fresh(name)
    before = {n: v.clone() for n, v in module.state_dict().items()}
    with caplog.at_level(logging.INFO, logger="fasdk_engines.training.initial"):
        found = initialize(module, get_family(name), written(tmp_path, source))
    after = module.state_dict()
    for target, origin in pairs.items():
        assert torch.equal(after[target], source[origin].float())
        assert target in found.loaded
    assert own <= set(found.fresh)
    assert all(torch.equal(after[n], before[n]) for n in found.fresh)
    assert set(found.loaded) | set(found.fresh) == set(after)
    unused = {
        "mmdg": {"encoder.pos_embedding", "heads.head.weight", "heads.head.bias"},
        "bigmoe": {
            "class_token",
            "encoder.pos_embedding",
            "encoder.ln.weight",
            "encoder.ln.bias",
            "heads.head.weight",
            "heads.head.bias",
        },
    }.get(name, {"input_resolution", "context_length"})
    assert set(found.unused) == unused
    assert all(word in caplog.text for word in unused)
    assert ("token_embedding.weight" in found.text) == (name in ("mmdgpp", "mmda"))


def test_older_torchvision_names_mean_the_same(tmp_path):
    source = source_of("mmdg")
    older = {
        n.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v
        for n, v in source.items()
    }
    assert older.keys() != source.keys()
    modules = []
    for folder, tensors in (("new", source), ("old", older)):
        (tmp_path / folder).mkdir()
        module = fresh("mmdg")
        initialize(module, get_family("mmdg"), written(tmp_path / folder, tensors))
        modules.append(module.state_dict())
    assert all(torch.equal(modules[0][n], modules[1][n]) for n in modules[0])


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("mmdg", {"a": torch.zeros(1)}, "neither torchvision nor CLIP weights: mmdg starts from"),
        ("mmdg", openai_clip(32), "holds OpenAI's CLIP: mmdg starts from torchvision's ViT"),
        ("mmda", torchvision_vit(128), "holds torchvision's ViT: mmda starts from OpenAI's CLIP"),
        ("mmda", openai_clip(48), r"visual\.proj is \[64, 48\], but model\.visual\.proj is"),
        (
            "mmdg",
            {n: v for n, v in torchvision_vit(128).items() if "encoder_layer_1." not in n},
            r"lacks what \d+ of this mmdg's pretrained weights are set from, first ViT_Encoder\.2",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(name, source, complaint, tmp_path):
    module = fresh(name)
    before = {n: v.clone() for n, v in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=complaint):
        initialize(module, get_family(name), written(tmp_path, source))
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())


def test_a_family_without_a_pretrained_start_says_so(tmp_path):
    family = get_family("minifasnet-v2")
    module = family.build(family.default_config)
    with pytest.raises(TrainingError, match="leave out --init-from"):
        initialize(module, family, written(tmp_path, {"a": torch.zeros(1)}))


def merges(folder: Path) -> Path:
    path = folder / "merges.gz"
    path.write_bytes(gzip.compress(b"#\na b\n"))
    return path


@pytest.mark.parametrize(
    ("name", "frozen", "trained"),
    [
        (
            "mmdg",
            r"conv_proj\d\..*|ViT_Encoder\.1\..*",
            r"ViT_Encoder\.[23]\..*|adapter_.*|class_token\d|pos_embedding\d|fc_all\..*",
        ),
        (
            "bigmoe",
            r"conv_proj\..*|ViT_Encoder\.[01]\..*",
            r"ViT_Encoder\.2\..*|adaptors\..*|class_token|pos_embedding|fc\..*|VP_learner\..*",
        ),
        (
            "mmdgpp",
            r"model\.visual\.(?!class_embedding).*",
            r"model\.visual\.class_embedding|(class_token|pos|visual_proj)_\d|conv_pass_.*|fc_all.*",
        ),
        ("mmda", r"(?!)", r".*"),
    ],
)
def test_a_published_method_freezes_what_its_paper_does(name, frozen, trained, tmp_path):
    family = get_family(name)
    module = fresh(name)
    started = initialize(module, family, written(tmp_path, source_of(name)))
    task = Task(
        family,
        module,
        family.preprocess(family.configs["tiny"]),
        TrainingSettings(),
        ("somewhere",),
        torch.Generator(),
        text_weights=started.text,
        vocabulary=merges(tmp_path) if started.text else None,
    )
    method = get_method("published", family)(task)
    count = _freeze(module, method.frozen())
    for parameter_name, parameter in module.named_parameters():
        expected = trained if parameter.requires_grad else frozen
        assert re.fullmatch(expected, parameter_name), parameter_name
    assert count == sum(p.numel() for p in module.parameters() if not p.requires_grad)
    towers = [p for n, p in method.extra.named_parameters() if n.startswith("model.")]
    if name == "mmdgpp":
        assert towers and not any(p.requires_grad for p in towers)
    if name == "mmda":
        assert towers and all(p.requires_grad for p in towers)


def test_a_pattern_that_freezes_nothing_is_refused():
    with pytest.raises(TrainingError, match=r"no parameter is called like 'adaptor_\.\*'"):
        _freeze(fresh("mmdg"), [r"adaptor_.*"])


@pytest.mark.parametrize("name", ["mmdgpp", "mmda"])
def test_training_goes_on_from_clip_and_keeps_what_is_frozen(name, tmp_path):
    family = get_family(name)
    source = openai_clip(family.configs["tiny"].feature_width)
    torch.save(source, tmp_path / "clip.pth")
    frames = SceneSettings(width=96, height=72)
    sets = [
        list(generate_many(2, 12, split, settings=frames))
        for split in (Split.TRAIN, Split.DEVELOPMENT)
    ]
    result = train(
        family,
        family.configs["tiny"],
        "published",
        *sets,
        TrainingSettings(epochs=1, batch=6),
        initial=InitialWeights.load(tmp_path / "clip.pth", merges(tmp_path)),
    )
    assert result.initialized is not None
    assert set(result.initialized.unused) == {"input_resolution", "context_length"}
    weights = result.module.state_dict()

    def kept(target: dict[str, Tensor], prefix: str, origin: str) -> bool:
        return torch.equal(target[f"{prefix}{origin}"], source[origin].float())

    tower = "transformer.resblocks.1.mlp.c_fc.weight"
    frozen = name == "mmdgpp"
    assert kept(weights, "model.", f"visual.{tower}") == frozen
    assert kept(dict(result.research), "model.", tower) == frozen
    assert (result.frozen > 0) == frozen
    if frozen:
        assert not torch.equal(weights["pos_1"], source["visual.positional_embedding"].float())
        assert not torch.equal(weights["class_token_2"], weights["class_token_3"])


def test_clip_without_its_vocabulary_is_refused_before_training(tmp_path):
    family = get_family("mmdgpp")
    module = fresh("mmdgpp")
    started = initialize(module, family, written(tmp_path, source_of("mmdgpp")))
    specs = family.preprocess(family.configs["tiny"])
    task = Task(family, module, specs, TrainingSettings(), ("a",), torch.Generator(), started.text)
    with pytest.raises(TrainingError, match="give --clip-vocabulary"):
        get_method("published", family)(task)
    assert get_method("plain", family)(task).extra.state_dict() == {}, "plain reads no text"

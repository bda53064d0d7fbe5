"""Identification of the model that a state dict fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fasdk.errors import CheckpointError
from fasdk_engines.models.checkpoint import Checkpoint, load_into
from fasdk_engines.models.matching import nearest_model
from fasdk_engines.models.registry import family_names, get_family

MMDG = get_family("mmdg")
TINY = MMDG.configs["tiny"]


def built(name: str, config: str | None = None, **changes: object) -> torch.nn.Module:
    family = get_family(name)
    settings = family.configs[config] if config else family.default_config
    with torch.device("meta"):
        return family.build(settings.model_copy(update=changes))


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", family_names())
def test_every_registered_model_is_recognized(name):
    other = built("minifasnet-v2" if name == "mmdg" else "mmdg")
    for label in get_family(name).configs:
        found = nearest_model(shapes(built(name, label)), other)
        assert found is not None
        assert str(found) == f"it looks like --model {name} --config {label}"


def test_unknown_settings_of_a_known_model_are_called_near():
    found = nearest_model(shapes(built("mmdg", width=384, heads=6)), built("mmdg"))
    assert found is None  # the nearest is the very model that was asked for
    found = nearest_model(shapes(built("mmdg", width=384, heads=6)), built("minifasnet-v2"))
    assert found is not None
    assert found.names == found.tensors > found.shapes
    assert str(found).startswith("nearest is --model mmdg --config full: 832 of 832 names, ")


def test_a_deeper_model_is_near_and_not_the_same():
    found = nearest_model(shapes(built("mmdg", "tiny", depth=3)), built("mmdg"))
    assert found is not None
    assert (found.model, found.config) == ("mmdg", "tiny")
    assert not found.is_same
    assert found.tensors - 2 <= found.names <= found.tensors  # the last norm's name counts blocks


def test_the_older_spelling_and_research_only_names_do_not_hide_a_model():
    older = {
        name.replace(".mlp.0.", ".mlp.linear_1."): shape
        for name, shape in shapes(built("mmdg")).items()
    }
    found = nearest_model(older, built("minifasnet-v2"))
    assert found is not None
    assert found.is_same
    assert found.names == found.tensors


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"weight": (2, 3), "bias": (2,)},
        {f"layer{i}.{p}": (64, 64) for i in range(200) for p in ("weight", "bias")},
        # A quarter of a model's names among many others: a shared backbone is not the model.
        {
            **dict(list(shapes(built("mmdg")).items())[:200]),
            **{f"decoder.{i}.weight": (8, 8) for i in range(400)},
        },
    ],
    ids=["nothing", "two names", "another network", "a shared backbone"],
)
def test_garbage_is_never_called_a_model(garbage):
    assert nearest_model(garbage, built("mmdg")) is None


def test_a_broken_family_does_not_hide_what_is_wrong(monkeypatch):

    from fasdk_engines.models import matching

    monkeypatch.setattr(matching, "family_names", lambda: ("no-such-model", "mmdg"))
    found = nearest_model(shapes(built("mmdg", "tiny")), built("mmdg"))
    assert found is not None
    assert found.config == "tiny"


def test_loading_says_what_is_nearest():
    weights = {n: torch.zeros(s) for n, s in shapes(built("mmdg", "tiny", width=96)).items()}
    checkpoint = Checkpoint(Path("weights.pth"), "0" * 64, weights)
    with pytest.raises(CheckpointError, match=r"; nearest is --model mmdg --config tiny: .* equal"):
        load_into(built("mmdg"), checkpoint, MMDG)

"""MMDG, published and deployed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk_engines.graph.export import count_nodes, export_graph
from fasdk_engines.models.mmdg.config import MmdgConfig
from fasdk_engines.models.mmdg.published import Mmdg
from fasdk_engines.models.registry import get_family
from fasdk_engines.models.seeded import seeded_inputs

from support.golden import PublishedReference

FAMILY = get_family("mmdg")
TINY = FAMILY.configs["tiny"]
CASES = ("none", "depth", "ir")  # which modality is zeroed in the golden outputs
NAMES = ("rgb", "depth", "ir")


def trained(config: MmdgConfig, seed: int = 0) -> Mmdg:
    """Return a model whose adapters do something; fresh ones add exactly nothing."""
    torch.manual_seed(seed)
    model = Mmdg(config).eval()
    for name, parameter in model.named_parameters():
        if ".adapter_" in name or "ln_" in name or name.endswith("bias"):
            nn.init.normal_(parameter, mean=1.0 if "ln_" in name else 0.0, std=0.3)
    return model


@pytest.fixture(scope="module")
def published() -> PublishedReference:
    return PublishedReference("mmdg")


@pytest.fixture(scope="module")
def golden(published: PublishedReference) -> dict[str, np.ndarray]:
    return published.outputs


@pytest.fixture(scope="module")
def full(published: PublishedReference) -> Mmdg:
    with torch.device("meta"):
        model = Mmdg(MmdgConfig()).eval()
    model.load_state_dict(published.state_dict, assign=True)
    return model


def assert_golden(logits: np.ndarray, golden: dict[str, np.ndarray], missing: str) -> None:
    count = len(logits)  # the first captures of the golden batch
    tolerance = 4.0 * golden[f"logits_std_missing_{missing}"][:count] + 1e-4
    assert (np.abs(logits - golden[f"logits_missing_{missing}"][:count]) <= tolerance).all()


def test_the_state_dict_is_the_published_one(published):
    with torch.device("meta"):
        own = {n: list(v.shape) for n, v in Mmdg(MmdgConfig()).state_dict().items()}
    assert own == published.shapes


@pytest.mark.parametrize("missing", CASES)
def test_the_published_form_reproduces_the_golden_logits(missing, full, published, golden):
    count = 2 if missing == "none" else 1  # a capture costs seconds
    inputs = [torch.from_numpy(x[:count]) for x in published.inputs(missing).values()]
    with torch.no_grad():
        features, certainty = full.encode(*inputs)
        logits = full.fc_all(features.flatten(1))
    assert_golden(logits.numpy(), golden, missing)
    if missing == "none":
        for index, name in enumerate(NAMES):
            # Six runs of dropout scatter class features by about 3e-4.
            np.testing.assert_allclose(features[:, index], golden[f"feature_{name}"], atol=1e-3)
            expected = golden[f"uncertainty_mean_{name}"]
            np.testing.assert_allclose(certainty[:, index].mean(1), expected, atol=2e-4)


def test_the_plug_in_would_miss_the_golden_certainty(full, published, golden, monkeypatch):
    def plug_in(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-2.25 * (0.3 / 0.7) ** 0.5 * x.abs())

    monkeypatch.setattr(full, "_certainty", plug_in)
    inputs = [torch.from_numpy(x[:1]) for x in published.inputs("none").values()]
    with torch.no_grad():
        _, certainty = full(*inputs)
    expected = np.stack([golden[f"uncertainty_mean_{n}"][:1] for n in NAMES], axis=1)
    assert (np.abs(certainty.numpy() - expected) > 1e-3).all()


@pytest.mark.slow
def test_the_full_graph_reproduces_the_golden_logits_and_stays_small(full, published, golden):
    graph = export_graph(full.deployed(), FAMILY, full.config)
    assert count_nodes(graph) <= 2500
    engine = OnnxRuntimeEngine(graph, threads=2)
    for missing in CASES:
        inputs = published.inputs(missing)
        logits = engine.run(inputs).logits
        assert_golden(logits, golden, missing)
        np.testing.assert_array_equal(engine.run(inputs).logits, logits)
    eight = seeded_inputs(8, 224, 3)
    whole = engine.run(eight).logits
    for size in (1, 3):
        part = engine.run({n: np.ascontiguousarray(x[:size]) for n, x in eight.items()}).logits
        np.testing.assert_allclose(part, whole[:size], atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patch_size": 16, "depth": 1},
        {"width": 96, "heads": 3, "mlp_width": 40, "depth": 2},
        {"adapter_dim": 16},
        {"adapter_dim": 6, "adapter_heads": 2},
        {"adapter_theta": 0.0},
        {"dropout_ratio": 0.0},
        {"num_sample": 2, "exp_rate": 10.0},
    ],
)
def test_the_deployed_form_is_the_same_function(changes):
    model = trained(MmdgConfig.model_validate({**TINY.model_dump(), **changes}))
    inputs = FAMILY.example_inputs(model.config, batch=3)
    with torch.no_grad():
        for expected, found in zip(model(*inputs), model.deployed()(*inputs), strict=True):
            assert expected.shape == found.shape
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("asked", range(3))
def test_adapters_join_rgb_with_the_others_both_ways(asked):
    model = trained(TINY.model_copy(update={"depth": 1}))
    inputs = list(FAMILY.example_inputs(model.config, batch=1))
    with torch.no_grad():
        before, _ = model.features(*inputs)
        inputs[asked] = inputs[asked].flip(-1)
        after, _ = model.features(*inputs)
    changed = ((after - before).abs().amax(-1) > 1e-6)[0].tolist()
    # There is no path between depth and infrared within one block.
    assert changed == [[True, True, True], [True, True, False], [True, False, True]][asked]


def test_training_drops_out_and_reaches_every_parameter():
    model = trained(TINY).train()
    inputs = FAMILY.example_inputs(TINY, batch=2)
    first, certainty = model(*inputs)
    second, _ = model(*inputs)
    assert not torch.equal(first, second)
    assert not certainty.requires_grad
    first.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_evaluation_is_a_function_of_the_capture_alone():
    model = trained(TINY)
    inputs = FAMILY.example_inputs(TINY, batch=2)
    with torch.no_grad():
        logits, certainty = model(*inputs)
        torch.testing.assert_close(model(*inputs)[0], logits, rtol=0.0, atol=0.0)
    assert ((certainty > 0.0) & (certainty < 1.0)).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patch_size": 9}, "image_size 64 is not a multiple of patch_size 9"),
        ({"heads": 5}, "width 64 is not a multiple of heads 5"),
        ({"adapter_dim": 9}, "adapter_dim 9 is not a multiple of adapter_heads 8"),
        ({"depth_near_mm": 1500}, "depth_near_mm 1500 must be less than depth_far_mm"),
        ({"dropout_ratio": 1.0}, "dropout_ratio"),
        ({"num_sample": 1}, "num_sample"),
        ({"layers": 3}, "layers"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        MmdgConfig.model_validate({**TINY.model_dump(), **changes})

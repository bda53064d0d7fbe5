"""Whole training steps and losses against implementations written from the descriptions alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fasdk_engines.models.mmdg.config import MmdgConfig
from fasdk_engines.models.registry import get_family

from support.mmdg_step import Case, Sketch, described_step, project_step, published_case
from support.numpy_losses import relative_errors

SMALL = MmdgConfig(image_size=32, patch_size=8, width=32, depth=3, heads=2, mlp_width=48)


@pytest.fixture(scope="module")
def case() -> Case:
    module = get_family("mmdg").build(SMALL)
    return Case.seeded(SMALL, {n: list(v.shape) for n, v in module.state_dict().items()}, 3)


def test_mmdgs_step_is_the_published_one(case):
    expected, found = described_step(case), project_step(case, torch.float64)
    assert found.losses == pytest.approx(expected.losses, rel=1e-9)
    assert found.certainty == pytest.approx(expected.certainty, rel=1e-9)
    assert found.gradients.keys() == expected.gradients.keys()
    assert not any(n.startswith(("conv_proj", "ViT_Encoder.2.")) for n in found.gradients)
    for name, gradient in expected.gradients.items():
        distance = float((found.gradients[name] - gradient).norm() / gradient.norm())
        assert distance < 1e-9, name


def test_certainty_of_all_tokens_instead_of_the_class_tokens_is_another_step(case, monkeypatch):
    def of_all_tokens(self, *inputs):
        features, certainty = self.encode(*inputs)
        return features, certainty.mean(dim=2)

    expected = Sketch.of(described_step(case))
    monkeypatch.setattr(type(get_family("mmdg").build(SMALL)), "features", of_all_tokens)
    errors = expected.errors(Sketch.of(project_step(case, torch.float64)))
    assert errors["losses"] < 1e-9
    assert errors["gradients"] > 1e-4


def test_a_sketch_tells_how_far_a_gradient_is_off(case):
    step = described_step(case)
    sketch = Sketch.of(step)
    name = "adapter_1_2_2.0.adapter_up.weight"
    moved = step.gradients[name] + 1e-3 * step.gradients[name].norm() * torch.eye(32, 8) / 8**0.5
    other = Sketch.of(replace(step, gradients=step.gradients | {name: moved}))
    errors = sketch.errors(other)
    assert errors["worst"] == name
    assert 2e-4 < errors["gradients"] < 5e-3
    with pytest.raises(ValueError, match="fc_all"):
        sketch.errors(Sketch.of(replace(step, gradients={name: moved})))


@pytest.mark.slow
def test_mmdgs_step_at_the_published_size_is_the_kept_one_to_float32s_rounding():
    errors = Sketch.load().errors(Sketch.of(project_step(published_case(), torch.float32)))
    assert errors["parameters"] == 694
    assert errors["losses"] < 2e-5
    assert errors["gradients"] < 2e-4
    assert errors["certainty"] < 1e-5


def test_losses_of_whole_models_are_those_of_numpy():
    errors = relative_errors()
    parts = {"classification", "alignment", "text", "routing"}
    assert {n.partition(" ")[2] for n in errors if n.startswith("MMDA")} == parts
    assert len(errors) == 3 + 3 + len(parts)
    assert max(errors.values()) < 1e-6, errors

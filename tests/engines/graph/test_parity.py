"""Parity of published form, deployed form and graph."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fasdk.errors import ParityError
from fasdk_engines.graph.export import export_graph
from fasdk_engines.graph.parity import graph_parity, torch_parity
from fasdk_engines.models.base import Family, PublishedModule
from fasdk_engines.models.registry import family_names, get_family


def trained(name: str) -> tuple[Family, PublishedModule, tuple[Tensor, ...]]:
    family = get_family(name)
    config = list(family.configs.values())[-1]
    torch.manual_seed(0)
    model = family.build(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for buffer in model.buffers():  # statistics a fresh batch norm does not have
        if buffer.is_floating_point():
            buffer.add_(0.1 * torch.rand_like(buffer))
    return family, model, family.example_inputs(config, batch=3)


@pytest.fixture(scope="module")
def tiny() -> tuple[PublishedModule, nn.Module, bytes, tuple[Tensor, ...]]:
    family, model, inputs = trained("mmdg")
    deployed = model.deployed()
    return model, deployed, export_graph(deployed, family, family.configs["tiny"]), inputs


@pytest.mark.parametrize("name", family_names())
def test_every_form_of_every_model_agrees(name):
    family, model, inputs = trained(name)
    deployed = model.deployed()
    assert torch_parity(model, deployed, inputs, budget=1e-5).logits >= 0.0
    graph = export_graph(deployed, family, list(family.configs.values())[-1])
    assert graph_parity(graph, deployed, inputs, budget=1e-5).logits >= 0.0


class Scaled(nn.Module):
    """Logits of a form times a factor, with an error beside."""

    def __init__(self, factor: float, error: float = 0.0) -> None:
        super().__init__()
        self.factor, self.error = factor, error

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        left = self.factor * torch.sin(rgb.mean((2, 3))[:, :2])
        return (torch.cat([left + self.error, -left], 1),)


def test_the_budget_grows_with_the_spread_of_the_logits_and_says_the_softmax():
    inputs = (torch.rand(2, 3, 8, 8),)
    with pytest.raises(ParityError, match=r"differs by 0\.0003\d*, more than 0\.0001.*softmax by"):
        torch_parity(Scaled(0.1), Scaled(0.1, 3.66e-4), inputs)
    parity = torch_parity(Scaled(400.0), Scaled(400.0, 3.66e-4), inputs)
    assert parity.logits == pytest.approx(3.66e-4, rel=0.1)
    assert parity.spread > 100
    assert parity.scores < 1e-4
    with pytest.raises(ParityError, match=r"more than 0\.0001 of the logits spread"):
        torch_parity(Scaled(400.0), Scaled(400.0, 0.2), inputs)


def test_two_near_equal_logits_are_held_to_the_softmax_whatever_the_spread():
    class Tied(nn.Module):
        def __init__(self, error: float) -> None:
            super().__init__()
            self.error = error

        def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
            row = torch.tensor([0.0, self.error, -400.0])
            return (row.expand(len(rgb), 3),)

    with pytest.raises(ParityError, match=r"differs by 0\.\d+ in softmax, more than 0\.001"):
        torch_parity(Tied(0.0), Tied(0.02), (torch.rand(2, 3, 8, 8),))


@pytest.mark.parametrize("name", ["fc_all.0.weight", "adapter_2_1_2.0.adapter_up.weight"])
def test_a_weight_that_differs_is_refused(name, tiny):
    model, deployed, graph, inputs = tiny
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.get_parameter(name)[0, 0] += 0.5
    with pytest.raises(ParityError, match="deployed form in torch differs by"):
        torch_parity(changed, deployed, inputs)
    with pytest.raises(ParityError, match="graph at batch 1 differs by"):
        graph_parity(graph, changed, inputs)


def test_outputs_that_are_not_finite_are_refused(tiny):
    model, deployed, graph, inputs = tiny
    with pytest.raises(ParityError, match="logits is not finite"):
        torch_parity(model, deployed, [x * float("inf") for x in inputs])
    with pytest.raises(ParityError, match="logits is not finite"):
        graph_parity(graph, deployed, [x * float("nan") for x in inputs])


def test_a_score_that_depends_on_the_batch_is_refused():
    class Coupled(nn.Module):
        def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
            return (rgb.mean((2, 3)) - rgb.mean((0, 2, 3)),)

    family = get_family("minifasnet-v2")
    inputs = family.example_inputs(family.default_config, batch=3)
    graph = export_graph(Coupled(), family, family.default_config)
    with pytest.raises(ParityError, match="a capture among others differs by"):
        graph_parity(graph, Coupled(), inputs)


def test_too_few_captures_to_tell_are_refused(tiny):
    _, deployed, graph, inputs = tiny
    with pytest.raises(ParityError, match="needs 3 captures, got 2"):
        graph_parity(graph, deployed, [x[:2] for x in inputs])


def test_outputs_of_another_shape_are_refused(tiny):
    class Wider(nn.Module):
        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            logits, certainty = tiny[1](*inputs)
            return torch.cat([logits, logits], 1), certainty

    with pytest.raises(ParityError, match=r"logits is \[3, 4\], expected \[3, 2\]"):
        torch_parity(tiny[0], Wider(), tiny[3])

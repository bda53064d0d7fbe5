"""One step: gradients in parts, optimizers, learning rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fasdk.capture import Modality
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import Optimizer, Schedule, TrainingSettings, get_method, method_names
from fasdk_engines.training.data import Batch
from fasdk_engines.training.method import Method, Task
from fasdk_engines.training.prototypes import Prototypes
from fasdk_engines.training.steps import accumulate, learning_rate, make_optimizer

COUNT = 7
FAMILY_OF = {"plain": "mmdg", "mmdg-ssp": "mmdg"}
# Random draws of a model differ between one run and several.
STILL = {
    "mmdg": {"adapter_dropout": 0.0},
    "mmda": {"attention_dropout": 0.0},
}


def method_of(name: str) -> tuple[Method, Batch]:
    """Return a method on a tiny float64 model, and captures of which some lack a modality."""
    family = get_family(FAMILY_OF.get(name, name))
    update = {"image_size": 16, "patch_size": 8, "depth": 2, **STILL.get(family.name, {})}
    config = family.configs["tiny"].model_copy(update=update)
    torch.manual_seed(0)
    module = family.build(config).double()
    for parameter in module.parameters():  # adapters would add zero
        parameter.data += 0.02 * torch.randn_like(parameter)
    settings = TrainingSettings(batch=COUNT)
    draws = torch.Generator().manual_seed(0)
    task = Task(family, module, family.preprocess(config), settings, ("a", "b"), draws)
    method = get_method(name, family)(task)
    method.extra.double()
    for part in (*module.modules(), *method.extra.modules()):
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    images = family.example_inputs(config, COUNT)[: len(family.modalities)]
    present = torch.ones(COUNT, len(images))
    present[[0, 3, 4], [1, 2, 1]] = 0.0
    is_live = torch.arange(COUNT) % 2 == 0
    targets = torch.where(is_live, family.live_index, 1 - family.live_index)
    inputs = dict(zip(family.modalities, (image.double() for image in images), strict=True))
    domains = torch.arange(COUNT) % 2
    batch = Batch(inputs, present.double(), targets, is_live, domains, family.takes_presence)
    if isinstance(method, Prototypes):
        width = int(method.run(batch)[1].shape[2])
        method.prototypes = torch.randn(3, 3, width, dtype=torch.float64)
    return method, batch


def gradients(method: Method, batch: Batch, parts: int) -> tuple[dict, dict]:
    settings = TrainingSettings(batch=len(batch), accumulate=parts)
    named = [*method.task.module.named_parameters(), *method.extra.named_parameters("extra")]
    for _, parameter in named:
        parameter.grad = None
    losses = accumulate(method, batch, settings, torch.device("cpu"), lambda loss: loss)
    return losses, {name: p.grad for name, p in named if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        *(
            # MMDG++ encodes all its sentences anew for every part.
            pytest.param(name, 3, marks=pytest.mark.slow if name == "mmdgpp" else ())
            for name in method_names()
            if name != "mmda"
        ),
        pytest.param("mmdg", COUNT, marks=pytest.mark.slow),
    ],
)
def test_a_step_in_parts_equals_the_large_step(name, parts, monkeypatch):
    method, batch = method_of(name)
    assert not method.coupled
    if name == "bigmoe":  # what it leaves out itself is drawn anew in every run
        monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(*shape))
    losses, whole = gradients(method, batch, 1)
    in_parts, summed = gradients(method, batch, parts)
    assert in_parts == pytest.approx(losses, rel=1e-6)
    assert whole.keys() == summed.keys()
    assert any(bool((gradient != 0).any()) for gradient in whole.values())
    for parameter, gradient in whole.items():
        largest = float(gradient.abs().max())
        difference = float((summed[parameter] - gradient).abs().max())
        assert difference <= 1e-6 * largest + 1e-15, parameter


@pytest.mark.slow
def test_what_couples_captures_of_one_run_is_named():
    method, batch = method_of("mmda")
    assert method.coupled
    losses, _ = gradients(method, batch, 1)
    in_parts, _ = gradients(method, batch, COUNT)
    assert in_parts["routing"] != pytest.approx(losses["routing"], rel=1e-6)
    assert in_parts["text"] == pytest.approx(losses["text"], rel=0.2)


def test_the_parts_of_a_step_cover_it_once():
    _, batch = method_of("plain")
    parts = batch.parts(3)
    assert [len(part) for part in parts] == [3, 3, 1]
    again = torch.cat([part.inputs[Modality.DEPTH] for part in parts])
    assert torch.equal(again, batch.inputs[Modality.DEPTH])
    assert torch.equal(torch.cat([part.present for part in parts]), batch.present)
    assert torch.equal(torch.cat([part.classes for part in parts]), batch.classes)
    assert TrainingSettings(batch=24, accumulate=8).part == 3
    assert TrainingSettings(batch=2, accumulate=8).part == 1


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        (Schedule.CONSTANT, 0.0, [2.0, 2.0, 2.0, 2.0]),
        (Schedule.CONSTANT, 0.5, [1.0, 2.0, 2.0, 2.0]),
        (Schedule.COSINE, 0.5, [1.0, 2.0, 2.0, 1.0]),
    ],
)
def test_the_learning_rate_rises_and_then_stays_or_falls(schedule, warmup, rates):
    settings = TrainingSettings(learning_rate=2.0, schedule=schedule, warmup=warmup)
    assert [learning_rate(settings, step, 4) for step in range(4)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("changes", "matrix", "vector"),
    [
        # AdamW: weights shrink by rate * decay, apart from the gradient's step of rate.
        ({"decay_vectors": True}, 1 - 0.1 * 0.5 - 0.1, 1 - 0.1 * 0.5 - 0.1),
        ({"decay_vectors": False}, 1 - 0.1 * 0.5 - 0.1, 1 - 0.1),
        # Adam: the decay joins the gradient, and the first step is of length rate whatever it is.
        ({"optimizer": Optimizer.ADAM, "decay_vectors": True}, 1 - 0.1, 1 - 0.1),
    ],
)
def test_weight_decay_is_of_the_optimizers_kind_and_of_the_chosen_parameters(
    changes, matrix, vector
):
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    settings = TrainingSettings(learning_rate=0.1, weight_decay=0.5, **changes)
    optimizer = make_optimizer([layer], settings)
    (3.0 * layer.weight.sum() + 3.0 * layer.bias.sum()).backward()
    optimizer.step()
    assert float(layer.weight.detach()) == pytest.approx(matrix, abs=1e-6)
    assert float(layer.bias.detach()) == pytest.approx(vector, abs=1e-6)


def test_a_modality_no_capture_of_a_part_holds_adds_nothing():
    method, batch = method_of("mmdg-ssp")
    present = batch.present.clone()
    present[:, 1] = 0.0
    losses, _ = gradients(method, replace(batch, present=present), COUNT)
    assert losses["depth"] == 0.0 and losses["rgb"] > 0.0

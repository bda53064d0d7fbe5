"""ReGrad: rebalancing of the modalities' gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fasdk_engines.training.method import CLASSIFICATION
from fasdk_engines.training.regrad import ReGrad, agreeing, branch_of, rebalanced

CERTAINTY = (0.5, 0.25, 0.125)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("base", "gradient", "kept"),
    [
        ((2.0, 0.0), (3.0, 4.0), (3.0, 0.0)),  # agreement: the projection on the base
        ((2.0, 0.0), (-3.0, 4.0), (0.0, 4.0)),  # conflict: what is at right angles to it
        ((1.0, 1.0), (0.0, -2.0), (1.0, -1.0)),
        ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0)),
        ((2.0, 1.0), (2.0, 1.0), (2.0, 1.0)),  # equal: whole
        ((2.0, 1.0), (-2.0, -1.0), (0.0, 0.0)),  # opposite: nothing
        ((1.0, 0.0), (0.0, 5.0), (0.0, 5.0)),  # right angles: whole
        ((0.0, 0.0), (3.0, 4.0), (3.0, 4.0)),  # nothing to agree with: whole
        ((3.0, 4.0), (0.0, 0.0), (0.0, 0.0)),
        ((2e-6, 0.0), (-3e-6, 4e-6), (0.0, 4e-6)),  # the published 1e-8 would hide this conflict
    ],
)
def test_a_gradient_keeps_what_goes_along_with_another(base, gradient, kept):
    torch.testing.assert_close(agreeing(vector(*base), vector(*gradient)), vector(*kept))


@pytest.mark.parametrize(
    ("own", "gradients", "fast", "expected"),
    [
        # Slow: own whole; 2 agrees, (2, 0) * 0.25; 3 conflicts, (0, 8) * 0.125.
        (0, ((4.0, 0.0), (2.0, 6.0), (-2.0, 8.0)), 1, (4.5, 1.0)),
        # Fast: the others together are (2, 2), whole; own (4, 0) agrees, (2, 2) * 0.5.
        (0, ((4.0, 0.0), (2.0, -3.0), (0.0, 5.0)), 0, (3.0, 3.0)),
        # Fast: the others together are (0, 2), whole; own (4, -6) conflicts, (4, 0) * 0.5.
        (0, ((4.0, -6.0), (1.0, 1.0), (-1.0, 1.0)), 0, (2.0, 2.0)),
        # The same parameter of modality 2, slow: (4, 0) agrees with (2, 6): 8 / 40 of it * 0.5.
        (1, ((4.0, 0.0), (2.0, 6.0), (0.0, 0.0)), 0, (2.2, 6.6)),
        # Nobody is fast: everyone is slow. 0.25 * (1, 1) and 0.125 * (1, 1).
        (0, ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), None, (1.375, 1.375)),
        # Equal and fast: the others' sum (2, 2), own projected on it (1, 1) * 0.5.
        (0, ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), 0, (2.5, 2.5)),
        # Own is zero: the others at right angles to nothing are whole, 0.25 * (4, 0) + 0.125 * 8.
        (0, ((0.0, 0.0), (4.0, 0.0), (0.0, 8.0)), 1, (1.0, 1.0)),
        # Fast, and the others are zero: own whole, 0.125 of it.
        (2, ((0.0, 0.0), (0.0, 0.0), (8.0, 16.0)), 2, (1.0, 2.0)),
    ],
)
def test_a_branch_takes_from_the_others_by_speed_agreement_and_certainty(
    own, gradients, fast, expected
):
    found = rebalanced(own, torch.tensor(gradients, dtype=torch.float64), fast, CERTAINTY)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "branch"),
    [
        ("adapter_1_2_2.0.adapter_up.weight", 0),  # receives in 1, asks 2
        ("adapter_3_1_2.11.ln_before.bias", 2),
        ("pos_embedding2", 1),
        ("conv_pass_3.0.adapter_conv.conv.weight", 2),
        ("prompts_1", 0),
        ("fc_all.0.weight", None),
        ("ViT_Encoder.12.ln_1.weight", None),
        ("model.visual.transformer.resblocks.1.ln_1.weight", None),
    ],
)
def test_a_parameter_belongs_to_the_modality_its_name_starts_with(name, branch):
    assert branch_of(name) == branch


@pytest.mark.parametrize(
    ("momentum", "steps", "fast"),
    [
        (0.0, [(1.0, 2.0, 3.0)], 0),
        (0.0, [(1.0, 2.0, 3.0), (3.0, 2.0, 1.0)], 2),
        # Running losses: (2.0, 2.0, 2.5) after (1, 2, 3) and (3, 2, 2) at 0.5: a tie, nobody.
        (0.5, [(1.0, 2.0, 3.0), (3.0, 2.0, 2.0)], None),
        # An average, not a growing sum: 1 -> 0.5 * 1 + 0.5 * 9 = 5 > 4.
        (0.5, [(1.0, 4.0, 8.0), (9.0, 4.0, 8.0)], 1),
        # No capture held modality 1 in the second step: it keeps its 1.
        (0.5, [(1.0, 2.0, 3.0), (0.0, 2.0, 3.0)], 0),
        # It was never held: it cannot be the fast one.
        (0.5, [(0.0, 2.0, 3.0)], 1),
        (0.0, [(2.0, 2.0, 2.0)], None),
    ],
)
def test_the_fast_modality_has_the_lowest_running_loss(momentum, steps, fast):
    rule = ReGrad(momentum)
    found = None
    for losses in steps:
        found = rule.fast(vector(*losses))
    assert found == fast


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token1 = nn.Parameter(vector(1.0, 0.0))
        self.token2 = nn.Parameter(vector(0.0, 1.0))
        self.token3 = nn.Parameter(vector(1.0, 1.0))
        self.unused2 = nn.Parameter(vector(7.0))
        self.shared = nn.Parameter(vector(1.0, 2.0))


def losses_of(model: Branches, tower: Tensor) -> dict[str, Tensor]:
    return {
        CLASSIFICATION: 5.0 * model.token1[1] + model.shared.sum(),
        "rgb": model.token1[0] + model.shared[0] + tower[0],  # 3: the lowest
        "depth": (2 * model.token1 + model.token2).sum() + model.shared[1] + tower[1],
        "ir": 9.0 - model.token1[1] + model.token3.sum(),
    }


def test_shared_parameters_keep_the_classifiers_gradient_and_branches_are_rebalanced():
    model, extra = Branches(), nn.Module()
    extra.register_parameter("tower", nn.Parameter(vector(1.0, 1.0)))
    rule = ReGrad(0.0)
    rule.observe(torch.tensor([CERTAINTY]), torch.ones(1, 3))
    # As in mixed precision; the gradients are scaled, no more.
    rule.collect(model, extra, losses_of(model, extra.tower), lambda loss: 4.0 * loss)
    rule.apply()
    assert model.shared.grad is not None and model.unused2.grad is None
    assert model.shared.grad.tolist() == [4.0, 4.0]
    # token1: rgb (1, 0) is fast; depth (2, 2) and ir (0, -1) together are (2, 1), agreement:
    # 0.5 * (2, 1) * 2 / 5 + (2, 1), and (0, 5) of the classifier.
    torch.testing.assert_close(model.token1.grad, 4.0 * vector(2.4, 6.2))
    # token2 and token3 are slow, and nobody else has a gradient there.
    torch.testing.assert_close(model.token2.grad, 4.0 * vector(1.0, 1.0))
    torch.testing.assert_close(model.token3.grad, 4.0 * vector(1.0, 1.0))
    # A text tower the classifier does not reach takes the plain sum.
    torch.testing.assert_close(extra.tower.grad, 4.0 * vector(1.0, 1.0))


def test_frozen_parameters_and_losses_without_gradient_are_passed_over():
    model, extra = Branches(), nn.Module()
    model.token2.requires_grad_(False)
    losses = losses_of(model, torch.zeros(2)) | {"ir": torch.tensor(0.0)}
    rule = ReGrad(0.5)
    rule.observe(torch.tensor([CERTAINTY]), torch.ones(1, 3))
    rule.collect(model, extra, losses, lambda loss: loss)
    rule.apply()
    assert model.token2.grad is None and model.token3.grad is None
    # rgb is fast (ir was held by no capture): 0.5 * projection of (1, 0) on (2, 2), plus (2, 2).
    torch.testing.assert_close(model.token1.grad, vector(2.25, 7.25))

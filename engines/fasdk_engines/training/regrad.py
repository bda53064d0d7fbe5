"""ReGrad: rebalancing of the modalities' gradients (MMDG, MMDG++).

A parameter belongs to the modality whose number its name's first part holds (`adapter_1_2_2`,
`pos_embedding3`, `conv_pass_2`, `prompts_1`). The modality with the lowest loss is the fast one.
A fast branch follows its own gradient only as far as the other two go along; a slow branch follows
its own whole and takes from the others what goes along. What is taken on trust is scaled by the
certainty of the modality it came from: the last block's about the class token, mean over the batch.
Projections are per parameter tensor.

Corrected: the published script reads an undefined `version` (here its last rule, 4, which MMDG++
made the default), does not advance its index past a parameter without gradients, adds None to a
shared parameter (here it keeps the classifier's gradient alone; a text tower that is trained along,
which the classifier does not reach, takes the plain sum), adds 1e-8 to squared norms that
are often smaller, fails where one of the three gradients is missing (here it is zero), and lets its
moving average of losses grow without bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fasdk_engines.training.method import CLASSIFICATION, Scale


def agreeing(base: Tensor, gradient: Tensor) -> Tensor:
    """Return what of `gradient` goes along with `base`; both are [N].

    In agreement (positive dot product) that is its projection on `base`; in conflict, what is left
    of it at right angles to `base`; with a base of zero, all of it.
    """
    agreement, squared = base @ gradient, base @ base
    if squared == 0:
        return gradient
    projection = (agreement / squared) * base
    return projection if agreement > 0 else gradient - projection


def rebalanced(own: int, gradients: Tensor, fast: int | None, certainty: Sequence[float]) -> Tensor:
    """Return the gradient [N] of a parameter of modality `own`.

    Args:
        own: Index of the modality whose parameter it is.
        gradients: [modalities, N], of each modality's loss with respect to it; float64, since
            squares of small gradients vanish in float32.
        fast: The fast modality, or None where no loss is below all others.
        certainty: Certainty of each modality, in [0, 1].
    """
    if fast == own:
        together = gradients.sum(0) - gradients[own]
        return certainty[own] * agreeing(together, gradients[own]) + together
    result = gradients[own].clone()
    for index, gradient in enumerate(gradients):
        if index != own:
            result += certainty[index] * agreeing(gradients[own], gradient)
    return result


def branch_of(name: str) -> int | None:
    """Return the modality, from 0, a parameter belongs to by its name; None for a shared one."""
    number = re.match(r"[^.\d]*(\d+)", name)
    return int(number[1]) - 1 if number else None


class ReGrad:
    """The rule with its running losses.

    Args:
        momentum: Share of the running loss that stays at each step: 0 for MMDG, 0.5 for MMDG++.
    """

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._running: Tensor | None = None

    def backward(
        self,
        module: nn.Module,
        extra: nn.Module,
        losses: Mapping[str, Tensor],
        certainty: Tensor,
        scale: Scale,
    ) -> None:
        """Leave the classifier's and the rebalanced gradients in `.grad`.

        Args:
            module: Model in training.
            extra: Further module that is trained along with the model.
            losses: `classification` and one a modality, in model order.
            certainty: [modalities], in [0, 1].
            scale: Loss scaling of mixed precision; projections are independent of it.
        """
        own_losses = [loss for name, loss in losses.items() if name != CLASSIFICATION]
        fast = self.fast(torch.stack(own_losses).detach())
        factors = certainty.tolist()
        branches = [
            (parameter, branch_of(name))
            for name, parameter in [*module.named_parameters(), *extra.named_parameters()]
            if parameter.requires_grad
        ]
        mine = [(parameter, branch) for parameter, branch in branches if branch is not None]
        steering = [
            parameter
            for name, parameter in extra.named_parameters()
            if parameter.requires_grad and branch_of(name) is None
        ]
        found = [_gradients(scale(loss), [p for p, _ in mine]) for loss in own_losses]
        together = _gradients(scale(torch.stack(own_losses).sum()), steering)
        torch.autograd.backward(scale(losses[CLASSIFICATION]))
        for parameter, gradient in zip(steering, together, strict=True):
            parameter.grad = gradient
        for (parameter, branch), *gradients in zip(mine, *found, strict=True):
            if all(gradient is None for gradient in gradients):
                continue
            whole = [torch.zeros_like(parameter) if g is None else g for g in gradients]
            stacked = torch.stack(whole).flatten(1).double()
            added = rebalanced(branch, stacked, fast, factors).to(parameter.dtype)
            added = added.reshape(parameter.shape)
            parameter.grad = added if parameter.grad is None else parameter.grad + added

    def fast(self, losses: Tensor) -> int | None:
        """Return which modality's running loss is below all others; None for a tie.

        Args:
            losses: [modalities] of this step; 0 for a modality no capture held, whose running
                loss stays.
        """
        held = losses > 0
        if self._running is None:
            self._running = torch.full_like(losses, float("inf"))
        moved = self._momentum * self._running + (1.0 - self._momentum) * losses
        moved = torch.where(self._running.isinf(), losses, moved)
        self._running = torch.where(held, moved, self._running)
        order = self._running.sort()
        return int(order.indices[0]) if order.values[0] < order.values[1] else None

    def state(self) -> dict[str, Tensor]:
        """Return the running losses."""
        return {} if self._running is None else {"running_losses": self._running}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up the running losses."""
        self._running = state.get("running_losses")


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not loss.requires_grad or not parameters:
        return [None] * len(parameters)
    return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)

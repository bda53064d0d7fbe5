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
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class _Collected:
    """Losses and gradients of some of a step's captures.

    Attributes:
        mine: Parameters of one modality each, with its index.
        steering: Parameters that the classifier does not reach.
        losses: Loss of each modality, [modalities].
        found: Gradients of each modality's loss with respect to `mine`; None for zero.
        together: Gradients of all these losses with respect to `steering`.
    """

    mine: Sequence[tuple[nn.Parameter, int]]
    steering: Sequence[nn.Parameter]
    losses: Tensor
    found: Sequence[Sequence[Tensor | None]]
    together: Sequence[Tensor | None]

    def plus(self, other: _Collected) -> _Collected:
        """Return both together; they are of the same parameters."""
        found = [list(map(_sum, a, b)) for a, b in zip(self.found, other.found, strict=True)]
        together = list(map(_sum, self.together, other.together))
        return replace(self, losses=self.losses + other.losses, found=found, together=together)


class ReGrad:
    """The rule with its running losses.

    Args:
        momentum: Share of the running loss that stays at each step: 0 for MMDG, 0.5 for MMDG++.
    """

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._running: Tensor | None = None
        self._collected: _Collected | None = None
        self._certainty: tuple[Tensor, Tensor] | None = None  # sums and counts, [modalities]

    def observe(self, certainty: Tensor, present: Tensor) -> None:
        """Add the certainty of a part of a step's captures.

        Args:
            certainty: Certainty of each modality, in [0, 1], [B, modalities].
            present: 1 where the capture holds the modality, [B, modalities].
        """
        held = present > 0
        found = torch.where(held, certainty.detach(), 0.0).sum(0), held.sum(0)
        if self._certainty is not None:
            found = self._certainty[0] + found[0], self._certainty[1] + found[1]
        self._certainty = found

    def collect(
        self, module: nn.Module, extra: nn.Module, losses: Mapping[str, Tensor], scale: Scale
    ) -> None:
        """Add the gradients of a part of a step's captures; `apply` follows the last part.

        Args:
            module: Model in training.
            extra: Further module that is trained along with the model.
            losses: `classification` and one a modality, in model order, each weighted by the
                part's share of the step's mean.
            scale: Loss scaling of mixed precision; projections are independent of it.
        """
        own_losses = [loss for name, loss in losses.items() if name != CLASSIFICATION]
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
        part = _Collected(mine, steering, torch.stack(own_losses).detach(), found, together)
        self._collected = part if self._collected is None else self._collected.plus(part)

    def apply(self) -> None:
        """Leave the classifier's and the rebalanced gradients of the step in `.grad`."""
        step, certainty = self._collected, self._certainty
        self._collected = self._certainty = None
        if step is None or certainty is None:
            raise RuntimeError("observe and collect were not called")
        fast = self.fast(step.losses)
        factors = (certainty[0] / certainty[1].clamp(min=1)).tolist()
        for parameter, gradient in zip(step.steering, step.together, strict=True):
            parameter.grad = gradient
        for (parameter, branch), *gradients in zip(step.mine, *step.found, strict=True):
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


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return first if second is None else second
    return first + second


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not loss.requires_grad or not parameters:
        return [None] * len(parameters)
    return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)

"""Gradients, optimizer and learning rate of one step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from fasdk_engines.training.data import Batch
from fasdk_engines.training.method import Method, Scale
from fasdk_engines.training.settings import Optimizer, Schedule, TrainingSettings


def accumulate(
    method: Method, batch: Batch, settings: TrainingSettings, device: torch.device, scale: Scale
) -> dict[str, float]:
    """Leave the gradients of a step's captures in `.grad`, and return their losses by name.

    The captures are run in `settings.accumulate` parts; each part's losses are weighted by its
    share of the captures that the loss is a mean over. So losses and gradients are those of all
    captures run at once, but for what `Method.coupled` names and for random draws of the model.

    Args:
        method: Training method; its gradients are cleared already.
        batch: Captures of the step.
        settings: Settings of the training.
        device: Device that the parts are run on.
        scale: Loss scaling of mixed precision.
    """
    wholes = method.counts(batch)
    losses: dict[str, float] = {}
    for part in batch.parts(settings.part):
        counts = method.counts(part)
        with torch.autocast(device.type, enabled=settings.mixed_precision):
            found = method.losses(part.to(device))
        weighted = {}
        for name, loss in found.items():
            count, whole = counts.get(name, len(part)), wholes.get(name, len(batch))
            weighted[name] = loss * (count / max(whole, 1))
            losses[name] = losses.get(name, 0.0) + float(weighted[name].detach())
        method.backward(weighted, scale)
    method.end_step()
    return losses


def make_optimizer(
    modules: Sequence[nn.Module], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """Return the optimizer of what is trained in the modules."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if settings.decay_vectors or p.ndim > 1]
    others = [p for p in parameters if not settings.decay_vectors and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer is Optimizer.ADAM:
        return torch.optim.Adam(groups, lr=settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """Return the learning rate of `step`, from 0, of so many."""
    rise = max(1, round(settings.warmup * steps))
    if step < rise:
        share = (step + 1) / rise
    elif settings.schedule is Schedule.CONSTANT:
        share = 1.0
    else:
        share = 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
    return settings.learning_rate * share

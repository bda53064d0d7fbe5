"""Batches and tasks of a training, made of seeded arrays rather than of captures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fasdk.capture import Modality
from fasdk_engines.models.base import Family, ModelConfig, PublishedModule
from fasdk_engines.training import TrainingSettings
from fasdk_engines.training.data import Batch
from fasdk_engines.training.method import Task

DOMAINS = ("C", "P", "S", "W")


def batch_of(
    images: Sequence[NDArray[np.float32]],
    live: NDArray[np.bool_],
    domains: NDArray[np.int64],
    dtype: torch.dtype,
    present: NDArray[np.float32] | None = None,
) -> Batch:
    """Return a batch.

    Args:
        images: float32 [B, 3, H, W] for RGB, depth and IR.
        live: bool [B], whether a capture is bona fide.
        domains: int64 [B], index of each capture's domain in `DOMAINS`.
        dtype: Type of the tensors.
        present: float32 [B, 3] of ones and zeros, for a model that takes it.
    """
    tensors = (torch.from_numpy(image).to(dtype) for image in images)
    given = np.ones((len(live), 3), np.float32) if present is None else present
    targets = torch.from_numpy(live)
    return Batch(
        inputs=dict(zip((Modality.RGB, Modality.DEPTH, Modality.IR), tensors, strict=True)),
        present=torch.from_numpy(given).to(dtype),
        targets=targets.long(),
        is_live=targets,
        domains=torch.from_numpy(domains),
        takes_presence=present is not None,
    )


def task_of(family: Family, config: ModelConfig, module: PublishedModule, seed: int = 0) -> Task:
    """Return the task of a training over `DOMAINS`."""
    specs, generator = family.preprocess(config), torch.Generator().manual_seed(seed)
    return Task(family, module, specs, TrainingSettings(), DOMAINS, generator)

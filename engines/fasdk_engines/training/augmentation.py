"""Random changes of training captures, and modality dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.training.data import Batch
from fasdk_engines.training.loader_augmentation import as_loaders
from fasdk_engines.training.settings import Augmentation, TrainingSettings

Specs = Mapping[Modality, PreprocessSpec]


def augment(
    batch: Batch, specs: Specs, settings: TrainingSettings, generator: torch.Generator
) -> Batch:
    """Return a batch with random changes of its images, and random modality dropout.

    Args:
        batch: Captures, on the CPU.
        specs: Preprocessing by modality; changes are made and clipped in 8-bit levels.
        settings: Kind and strength of each change.
        generator: Random number generator.
    """
    count = len(batch)

    def draw() -> Tensor:
        return torch.rand(count, generator=generator)

    kind = settings.augmentation
    mirrored = torch.ones(count) if kind is Augmentation.NONE else draw()
    moved = [draw(), draw(), draw()] if kind is Augmentation.FASDK else []
    # At most one modality is dropped, so that every capture keeps one.
    dropped = draw() < settings.modality_dropout
    which = torch.randint(len(batch.inputs), (count,), generator=generator)
    inputs: dict[Modality, Tensor] = {}
    for column, (modality, tensor) in enumerate(batch.inputs.items()):
        present = _each(batch.present[:, column] > 0)
        changed = torch.where(_each(mirrored < 0.5), tensor.flip(3), tensor)
        if kind is Augmentation.FASDK:
            changed = _own_changes(changed, present, modality, specs[modality], settings, moved)
        elif kind is not Augmentation.NONE:
            noisy = kind is Augmentation.NOISY_LOADERS
            altered = as_loaders(changed, specs[modality], generator, noisy=noisy)
            changed = torch.where(present, altered, changed)
        inputs[modality] = changed
    columns = torch.arange(len(inputs))
    absent = dropped[:, None] & (which[:, None] == columns)
    return leave_out(replace(batch, inputs=inputs), specs, absent)


def _own_changes(
    images: Tensor,
    present: Tensor,
    modality: Modality,
    spec: PreprocessSpec,
    settings: TrainingSettings,
    drawn: Sequence[Tensor],
) -> Tensor:
    """Return images [B, 3, H, W] moved, and where RGB is present, brightened."""
    across, down, gain = (2 * values - 1 for values in drawn)
    moved = _shifted(images, settings.shift * across, settings.shift * down)
    if modality is not Modality.RGB or settings.brightness == 0:
        return moved
    brightened = _brightened(moved, spec, 1.0 + settings.brightness * gain)
    return torch.where(present, brightened, moved)


def leave_out(batch: Batch, specs: Specs, absent: Tensor) -> Batch:
    """Return a batch with modalities removed; a capture keeps its last one.

    Args:
        batch: Captures, on the CPU.
        specs: Preprocessing by modality; `missing_value` fills an absent one.
        absent: Modalities to remove, bool [B, modalities].
    """
    if absent.shape[1] < 2:
        return batch
    present = batch.present * (~absent)
    # What would leave nothing changes nothing.
    present = torch.where(present.any(dim=1, keepdim=True), present, batch.present)
    inputs = {}
    for column, (modality, tensor) in enumerate(batch.inputs.items()):
        gone = (batch.present[:, column] > 0) & (present[:, column] == 0)
        missing = torch.full_like(tensor, specs[modality].missing_value)
        inputs[modality] = torch.where(_each(gone), missing, tensor)
    return replace(batch, inputs=inputs, present=present)


def _brightened(images: Tensor, spec: PreprocessSpec, factor: Tensor) -> Tensor:
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (spec.mean, spec.std))
    levels = ((images * std + mean) * _each(factor)).clamp(0.0, 255.0)
    return (levels - mean) / std


def _each(values: Tensor) -> Tensor:
    """Shape one value a capture so that it meets [B, 3, H, W]."""
    return values[:, None, None, None]


def _shifted(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Move each image by shares of its size, in whole pixels; the edge is repeated."""
    count, _, height, width = images.shape
    rows = torch.arange(height) + torch.round(down * height).long()[:, None]
    columns = torch.arange(width) + torch.round(across * width).long()[:, None]
    captures = torch.arange(count)[:, None, None]
    found = images.permute(0, 2, 3, 1)[
        captures, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return found.permute(0, 3, 1, 2).contiguous()

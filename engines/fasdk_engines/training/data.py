"""Labelled captures as the tensors a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk.preprocess import PRESENCE, PreprocessSpec, to_batch
from fasdk_calibration.datasets import LabelledCapture
from fasdk_engines.models.base import Family

_PRELOADED_BYTES = 2**31  # a larger set is preprocessed batch by batch


@dataclass(frozen=True)
class Batch:
    """Some captures, ready for a model.

    Attributes:
        inputs: float32 [B, 3, H, W] by modality, in model order, normalised.
        present: float32 [B, modalities] of ones and zeros, in model order.
        targets: int64 [B], index of the right logit.
        is_live: bool [B].
        domains: int64 [B], index of each capture's domain; -1 where training never saw it.
        takes_presence: Whether the model is told what is present.
    """

    inputs: Mapping[Modality, Tensor]
    present: Tensor
    targets: Tensor
    is_live: Tensor
    domains: Tensor
    takes_presence: bool

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """What the model's `forward` takes."""
        images = tuple(self.inputs.values())
        return (*images, self.present) if self.takes_presence else images

    @property
    def classes(self) -> Tensor:
        """int64 [B]: 0 live, whatever the domain; 1 + d an attack of domain d."""
        return torch.where(self.is_live, torch.zeros_like(self.domains), 1 + self.domains)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        if device == self.targets.device:
            return self
        return replace(
            self,
            inputs={m: x.to(device) for m, x in self.inputs.items()},
            present=self.present.to(device),
            targets=self.targets.to(device),
            is_live=self.is_live.to(device),
            domains=self.domains.to(device),
        )


class CaptureTensors:
    """Captures that give batches; a set too large for memory is preprocessed batch by batch.

    Args:
        family: The model.
        specs: Its preprocessing.
        captures: Which.
        domains: Names of the domains, in index order.
    """

    def __init__(
        self,
        family: Family,
        specs: Mapping[Modality, PreprocessSpec],
        captures: Sequence[LabelledCapture],
        domains: Sequence[str],
    ) -> None:
        self.domains = tuple(domains)
        self._family, self._specs, self._captures = family, specs, captures
        attack = next(i for i in range(len(family.labels)) if i != family.live_index)
        index = {name: number for number, name in enumerate(domains)}
        self.is_live = torch.tensor([item.is_bona_fide for item in captures])
        self.targets = torch.where(self.is_live, family.live_index, attack)
        self._domain_of = torch.tensor([index.get(item.domain, -1) for item in captures])
        size = sum(3 * s.height * s.width for s in specs.values()) * 4 * len(captures)
        whole = torch.arange(len(captures))
        self._loaded = self._tensors(whole) if size <= _PRELOADED_BYTES else None

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Tensor) -> Batch:
        """Return the captures at `rows`, int64 [B]."""
        if self._loaded is None:
            tensors = self._tensors(rows)
        else:
            tensors = {name: value[rows] for name, value in self._loaded.items()}
        return Batch(
            inputs={m: tensors[m.value] for m in self._family.modalities},
            present=tensors[PRESENCE],
            targets=self.targets[rows],
            is_live=self.is_live[rows],
            domains=self._domain_of[rows],
            takes_presence=self._family.takes_presence,
        )

    def _tensors(self, rows: Tensor) -> dict[str, Tensor]:
        chosen = [self._captures[row].capture for row in rows.tolist()]
        arrays = to_batch(chosen, self._specs, self._family.modalities)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def domain_names(captures: Sequence[LabelledCapture]) -> tuple[str, ...]:
    """Return the names of the domains captures come from, sorted."""
    return tuple(sorted({item.domain for item in captures}))


def require_usable(
    captures: Sequence[LabelledCapture], development: Sequence[LabelledCapture]
) -> None:
    """Refuse captures that teach nothing, or whose result would prove nothing.

    Raises:
        DatasetError: A class is absent from either set, or a subject is in both.
    """
    for name, part in (("training", captures), ("development", development)):
        kinds = {item.label for item in part}
        if len(kinds) < 2:
            found = ", ".join(kind.value for kind in kinds) or "no capture"
            raise DatasetError(f"the {name} captures hold {found} alone: both classes are needed")
    shared = {(c.domain, c.subject) for c in captures} & {
        (d.domain, d.subject) for d in development
    }
    if shared:
        domain, subject = min(shared)
        raise DatasetError(
            f"subject {subject!r} of {domain!r} is in training and development captures "
            f"({len(shared)} such): split by subject"
        )

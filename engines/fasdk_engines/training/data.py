"""Training data: labeled captures, and batches of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk.preprocess import PRESENCE, DepthEncoding, PreprocessSpec, to_batch
from fasdk_calibration.datasets import (
    CaptureRecord,
    Dataset,
    DatasetSource,
    Label,
    announce_dataset,
    depth_encoding,
)
from fasdk_engines.models.base import Family

_PRELOADED_BYTES = 2**31  # tensors of a larger set are made batch by batch
_READ_AT_ONCE = 32


class TrainingCapture(Protocol):
    """A labeled capture for training; `LabeledCapture` is one implementation."""

    @property
    def capture(self) -> Capture:
        """The frames."""
        ...

    @property
    def id(self) -> str:
        """Identifier, unique in its list."""
        ...

    @property
    def label(self) -> Label:
        """Bona fide or attack."""
        ...

    @property
    def subject(self) -> str:
        """Identifier of the person."""
        ...

    @property
    def domain(self) -> str:
        """Name of the capture's domain, such as a data set."""
        ...

    @property
    def presentation(self) -> str:
        """Identifier shared by the captures of one presentation."""
        ...

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        ...


@dataclass(frozen=True, eq=False)
class CaptureOnDisk:
    """A capture of a list, whose frames are read each time they are asked for.

    Attributes:
        record: Entry of the list.
        dataset: Data set that the entry is of.
        depth: Depth encoding of the model, by which 8-bit depth becomes millimeters; None where it
            looks at no depth.
        modalities: Modalities the model looks at; frames of no other are read.
    """

    record: CaptureRecord
    dataset: Dataset
    depth: DepthEncoding | None = None
    modalities: tuple[Modality, ...] = tuple(Modality)

    @property
    def capture(self) -> Capture:
        """The frames; raises DatasetError where one cannot be read."""
        return self.dataset.load(self.record, self.depth, modalities=self.modalities)

    @property
    def id(self) -> str:
        """Identifier, unique in its list."""
        return self.record.id

    @property
    def label(self) -> Label:
        """Bona fide or attack."""
        return self.record.label

    @property
    def subject(self) -> str:
        """Identifier of the person."""
        return self.record.subject

    @property
    def domain(self) -> str:
        """Name of the capture's domain, such as a data set."""
        return self.record.domain

    @property
    def presentation(self) -> str:
        """Identifier shared by the captures of one presentation."""
        return self.record.presentation

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.record.is_bona_fide


def captures_of(
    source: DatasetSource, specs: Mapping[Modality, PreprocessSpec]
) -> list[CaptureOnDisk]:
    """Return the captures of lists and folders, frames left on disk.

    Args:
        source: Lists and folders of the captures.
        specs: Preprocessing of the model by modality.

    Raises:
        DatasetError: A list or one of its frames is missing or malformed.
    """
    dataset, modalities = source.open(), tuple(specs)
    announce_dataset(dataset, modalities)
    depth = depth_encoding(specs)
    return [CaptureOnDisk(record, dataset, depth, modalities) for record in dataset.records]


@dataclass(frozen=True)
class Batch:
    """Tensors of some captures.

    Attributes:
        inputs: float32 [B, 3, H, W] by modality, in model order, normalized.
        present: float32 [B, modalities] of ones and zeros, in model order.
        targets: int64 [B], index of the correct class.
        is_live: bool [B], True for bona fide captures.
        domains: int64 [B], index of each capture's domain; -1 where training never saw it.
        takes_presence: Whether the model takes `present` as an input.
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
        """Arguments of the model's `forward`."""
        images = tuple(self.inputs.values())
        return (*images, self.present) if self.takes_presence else images

    @property
    def classes(self) -> Tensor:
        """int64 [B]: 0 live, whatever the domain; 1 + d an attack of domain d."""
        return torch.where(self.is_live, torch.zeros_like(self.domains), 1 + self.domains)

    def parts(self, size: int) -> list[Batch]:
        """Return the batch in parts of `size` captures, the last perhaps smaller."""
        rows = torch.split(torch.arange(len(self)), size)
        return [
            replace(
                self,
                inputs={m: x[part] for m, x in self.inputs.items()},
                present=self.present[part],
                targets=self.targets[part],
                is_live=self.is_live[part],
                domains=self.domains[part],
            )
            for part in rows
        ]

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
    """Tensors of a set of captures; a set too large for memory is read batch by batch.

    Args:
        family: Model to be trained.
        specs: Preprocessing by modality.
        captures: Captures of the set.
        domains: Names of the domains, in index order.
        on_read: Receives the number of captures read and their total, where all are read at once.
    """

    def __init__(
        self,
        family: Family,
        specs: Mapping[Modality, PreprocessSpec],
        captures: Sequence[TrainingCapture],
        domains: Sequence[str],
        on_read: Callable[[int, int], None] | None = None,
    ) -> None:
        self.domains = tuple(domains)
        self._family, self._specs, self._captures = family, specs, captures
        attack = next(i for i in range(len(family.labels)) if i != family.live_index)
        index = {name: number for number, name in enumerate(domains)}
        self.is_live = torch.tensor([item.is_bona_fide for item in captures])
        self.targets = torch.where(self.is_live, family.live_index, attack)
        self._domain_of = torch.tensor([index.get(item.domain, -1) for item in captures])
        size = sum(3 * s.height * s.width for s in specs.values()) * 4 * len(captures)
        self._loaded = self._read_all(on_read) if size <= _PRELOADED_BYTES else None

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

    def _read_all(self, on_read: Callable[[int, int], None] | None) -> dict[str, Tensor]:
        parts = []
        for rows in torch.split(torch.arange(len(self)), _READ_AT_ONCE):
            parts.append(self._tensors(rows))
            if on_read is not None:
                on_read(int(rows[-1]) + 1, len(self))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _tensors(self, rows: Tensor) -> dict[str, Tensor]:
        chosen = [self._captures[row].capture for row in rows.tolist()]
        arrays = to_batch(chosen, self._specs, self._family.modalities)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def domain_names(captures: Sequence[TrainingCapture]) -> tuple[str, ...]:
    """Return the names of the domains captures come from, sorted."""
    return tuple(sorted({item.domain for item in captures}))


def require_usable(
    captures: Sequence[TrainingCapture], development: Sequence[TrainingCapture]
) -> None:
    """Check that both sets hold both classes and share no subject.

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

"""Synthetic captures whose frames are generated each time they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fasdk.capture import Capture
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import Label
from fasdk_calibration.synthetic.generator import Drawn, Population, Split, generate


@dataclass(frozen=True)
class CaptureOnDemand:
    """A synthetic capture, as a training takes it; a large set of them needs no memory.

    Attributes:
        population: Population the subject belongs to.
        index: Number of the capture in its split.
        split: Split the subject is drawn from.
    """

    population: Population
    index: int
    split: Split

    @cached_property
    def _drawn(self) -> Drawn:
        of = self.population
        return Drawn.of(of.seed, self.index, self.split, None, of.settings)

    @property
    def capture(self) -> Capture:
        """The frames, generated anew."""
        of = self.population
        return generate(of.seed, self.index, self.split, settings=of.settings).capture

    @property
    def id(self) -> str:
        """Identifier, unique in the population."""
        return self._drawn.id

    @property
    def label(self) -> Label:
        """Bona fide or attack."""
        return self._drawn.label

    @property
    def species(self) -> str:
        """Name of the species presented."""
        return self._drawn.species.value

    @property
    def subject(self) -> str:
        """Identifier of the person, unique in the population."""
        return self._drawn.subject

    @property
    def domain(self) -> str:
        """Name of the population's domain."""
        return self.population.settings.domain

    @property
    def presentation(self) -> str:
        """Identifier shared by the captures of one presentation."""
        return self._drawn.presentation

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.label is Label.BONA_FIDE


def captures_on_demand(
    populations: Sequence[Population], count: int, split: Split
) -> list[CaptureOnDemand]:
    """Return the captures that `generate_mixed` yields, their frames not yet generated.

    Raises:
        DatasetError: There is no population.
    """
    if not populations:
        raise DatasetError("no population given: name at least one")
    found = []
    for number in range(count):
        index, turn = divmod(number, len(populations))
        found.append(CaptureOnDemand(populations[turn], index, split))
    return found

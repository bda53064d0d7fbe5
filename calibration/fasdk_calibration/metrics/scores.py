"""Scores of labeled captures, and their fusion into one score a presentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray


_CERTAIN = 1e-15  # a softmax in float64 resolves no less


class LabeledItem(Protocol):
    """Labels of a capture, as records and labeled captures hold them."""

    @property
    def is_bona_fide(self) -> bool:
        """Whether it is a bona fide presentation."""
        ...

    @property
    def species(self) -> str:
        """PAI species."""
        ...

    @property
    def presentation(self) -> str:
        """Name of the presentation."""
        ...

    @property
    def subject(self) -> str:
        """Person presented."""
        ...

    @property
    def domain(self) -> str:
        """Data set or site it was captured in."""
        ...


def _all_responded() -> NDArray[np.bool_]:
    return np.ones(0, bool)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of labeled captures; one entry a frame, or a presentation once fused.

    Arrays are copied and made read-only. A presentation is known by its name and domain.

    Attributes:
        values: float64 [N], greater is more live: P(bona fide) or any other score. Infinities
            rank as such; NaN where there was no response.
        is_bona_fide: bool [N], True for bona fide presentations.
        species: N names of PAI species; those of bona fide captures are not looked at.
        presentation: N names; entries that share one are frames of one presentation.
        subject: N names of persons; presentations of one person are not independent.
        domain: N names of data sets or sites.
        responded: bool [N], False where the system gave no score (ISO/IEC 30107-3, non-response);
            left out, all responded.

    Raises:
        DatasetError: Nothing is given, the lengths differ, or a score is NaN without being marked
            as a non-response.
    """

    values: NDArray[np.float64]
    is_bona_fide: NDArray[np.bool_]
    species: tuple[str, ...]
    presentation: tuple[str, ...]
    subject: tuple[str, ...]
    domain: tuple[str, ...]
    responded: NDArray[np.bool_] = field(default_factory=_all_responded)

    def __post_init__(self) -> None:
        """Check the lengths and that every response is a number."""
        values = np.array(self.values, np.float64)
        count = values.size
        responded = np.array(self.responded, bool)
        if responded.size == 0:
            responded = np.ones(count, bool)
        arrays = {
            "values": values,
            "is_bona_fide": np.array(self.is_bona_fide, bool),
            "responded": responded,
        }
        for name, array in arrays.items():
            if array.shape != (count,):
                raise DatasetError(f"scores: {name} has shape {array.shape}, expected [{count}]")
        if not count:
            raise DatasetError("no scores: at least one labeled capture is needed")
        for name in ("species", "presentation", "subject", "domain"):
            names = tuple(getattr(self, name))
            if len(names) != count:
                raise DatasetError(f"scores: {len(names)} entries of {name}, expected {count}")
            object.__setattr__(self, name, names)
        unmarked = np.flatnonzero(np.isnan(values) & responded)
        if unmarked.size:
            first = int(unmarked[0])
            raise DatasetError(
                f"{unmarked.size} of {count} scores are NaN, the first is entry {first + 1}, "
                f"presentation {self.presentation[first]!r}: mark them as non-responses or "
                "correct them"
            )
        values[~responded] = np.nan
        for name, array in arrays.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def of_captures(
        cls,
        captures: Sequence[LabeledItem],
        values: NDArray[np.float64],
        responded: NDArray[np.bool_] | None = None,
    ) -> Scores:
        """Return the scores of labeled captures.

        Args:
            captures: N capture records or labeled captures.
            values: float64 [N], score of each capture.
            responded: bool [N], False where there was no score; None where all responded.

        Raises:
            DatasetError: See the class.
        """
        return cls(
            values=values,
            is_bona_fide=np.array([capture.is_bona_fide for capture in captures], bool),
            species=tuple(capture.species for capture in captures),
            presentation=tuple(capture.presentation for capture in captures),
            subject=tuple(capture.subject for capture in captures),
            domain=tuple(capture.domain for capture in captures),
            responded=_all_responded() if responded is None else responded,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Scores]) -> Scores:
        """Return the entries of several sets of scores, one set after the other.

        Raises:
            DatasetError: There is no entry.
        """
        if not parts:
            raise DatasetError("no scores: at least one labeled capture is needed")
        return cls(
            values=np.concatenate([part.values for part in parts]),
            is_bona_fide=np.concatenate([part.is_bona_fide for part in parts]),
            species=tuple(name for part in parts for name in part.species),
            presentation=tuple(name for part in parts for name in part.presentation),
            subject=tuple(name for part in parts for name in part.subject),
            domain=tuple(name for part in parts for name in part.domain),
            responded=np.concatenate([part.responded for part in parts]),
        )

    def __len__(self) -> int:
        """Return the number of entries."""
        return int(self.values.size)

    def select(self, chosen: NDArray[np.bool_] | Sequence[int]) -> Scores:
        """Return the chosen entries, by a bool mask [N] or by indices, in that order.

        Raises:
            DatasetError: None is chosen.
        """
        index = np.asarray(chosen)
        if index.size == 0:
            index = index.astype(np.int64)
        rows = np.flatnonzero(index) if index.dtype == bool else index
        return Scores(
            values=self.values[rows],
            is_bona_fide=self.is_bona_fide[rows],
            species=tuple(self.species[i] for i in rows),
            presentation=tuple(self.presentation[i] for i in rows),
            subject=tuple(self.subject[i] for i in rows),
            domain=tuple(self.domain[i] for i in rows),
            responded=self.responded[rows],
        )


def fuse(scores: Scores) -> Scores:
    """Return one entry a presentation: the mean score of its frames, in order of first appearance.

    The presentation is the unit of every rate of ISO/IEC 30107-3. Frames without a response do not
    enter the mean; a presentation none of whose frames got one is a non-response. Fusing what is
    fused changes nothing, to the bit.

    Raises:
        DatasetError: Frames of one presentation disagree on label, subject or an attack's species,
            or their scores have no mean (infinities of both signs); the presentation is named.
    """
    groups: dict[tuple[str, str], int] = {}
    group_of = np.empty(len(scores), np.int64)
    first: list[int] = []
    for row, key in enumerate(zip(scores.domain, scores.presentation, strict=True)):
        group = groups.setdefault(key, len(groups))
        group_of[row] = group
        if group == len(first):
            first.append(row)
    if len(first) == len(scores):
        return scores
    _require_agreement(scores, group_of, first)
    fused = scores.select(first)
    values, responded = _means(scores, group_of, len(first))
    undefined = np.flatnonzero(responded & np.isnan(values))
    if undefined.size:
        name = fused.presentation[int(undefined[0])]
        raise DatasetError(
            f"presentation {name!r} has scores of plus and minus infinity: they have no mean"
        )
    return Scores(
        values=values,
        is_bona_fide=fused.is_bona_fide,
        species=fused.species,
        presentation=fused.presentation,
        subject=fused.subject,
        domain=fused.domain,
        responded=responded,
    )


def _require_agreement(scores: Scores, group_of: NDArray[np.int64], first: list[int]) -> None:
    for row, group in enumerate(group_of):
        model = first[group]
        found = [
            f"{name} {mine} and {theirs}"
            for name, mine, theirs in (
                ("bona fide", bool(scores.is_bona_fide[model]), bool(scores.is_bona_fide[row])),
                ("species", repr(scores.species[model]), repr(scores.species[row])),
                ("subject", repr(scores.subject[model]), repr(scores.subject[row])),
            )
            if mine != theirs and not (name == "species" and scores.is_bona_fide[row])
        ]
        if found:
            raise DatasetError(
                f"presentation {scores.presentation[row]!r}, entries {model + 1} and {row + 1}: "
                f"{', '.join(found)}: frames of one presentation must agree; name presentations "
                "apart"
            )


def _means(
    scores: Scores, group_of: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rows = np.flatnonzero(scores.responded)
    group, values = group_of[rows], scores.values[rows]
    counts = np.bincount(group, minlength=groups)
    low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(low, group, values)
    np.maximum.at(high, group, values)
    responded = counts > 0
    with np.errstate(invalid="ignore", over="ignore"):
        # Dividing first keeps huge scores finite; equal frames give their very score, not a
        # neighboring number that would fall on the other side of a threshold.
        shares = values / np.maximum(counts, 1)[group]
        sums = np.asarray(np.bincount(group, weights=shares, minlength=groups), np.float64)
        means = np.clip(sums, low, high)
    means[~responded] = np.nan
    return means, responded


def logit(probabilities: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return natural log-odds, float64 of the same shape; 0 and 1 count as 1e-15 from the end."""
    clipped = np.clip(probabilities, _CERTAIN, 1.0 - _CERTAIN)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))

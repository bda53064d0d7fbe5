"""Split of captures by subject, alike in label, species and domain."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.capture_list import write_list
from fasdk_calibration.datasets.dataset import Dataset
from fasdk_calibration.datasets.records import CaptureRecord, Label
from fasdk_calibration.datasets.writing import new_folder

Stratum = tuple[str, str, str]  # label, species, domain
_PASSES = 20  # over all people, who are moved while that lowers the distance
_LEAST_GAIN = 1e-9  # of chi-square; what is below it is rounding


@dataclass(frozen=True)
class Part:
    """One part of a split.

    Attributes:
        name: Name of the part, which is its list's without extension.
        share: Share of the presentations it is to hold, in (0, 1).
        records: Its captures, in the order of the data set.
    """

    name: str
    share: float
    records: tuple[CaptureRecord, ...]

    @property
    def subjects(self) -> frozenset[str]:
        """The persons presented."""
        return frozenset(record.subject for record in self.records)

    @property
    def presentations(self) -> frozenset[tuple[str, str]]:
        """Domain and name of every presentation."""
        return frozenset((record.domain, record.presentation) for record in self.records)


def split_dataset(dataset: Dataset, shares: Mapping[str, float], seed: int) -> tuple[Part, ...]:
    """Divide a data set's people among parts, so that no person is in two.

    Presentations of each label, species and domain are shared out near to `shares`, people of the
    rarest first, as in iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the
    stratification of multi-label data", ECML PKDD 2011): each person joins the part that keeps the
    chi-square distance from the shares least, then people are moved while that lowers it.

    Args:
        dataset: Captures to divide.
        shares: Share of each part by its name; together 1.
        seed: Seed of the order of people; the same gives the same parts.

    Raises:
        DatasetError: The data set does not tell who is seen, shares are not between 0 and 1 or do
            not make 1, or there are too few people for a part to have the labels the whole has.
    """
    _require_shares(shares)
    if not dataset.names_subjects:
        raise DatasetError(
            f"{dataset.name} does not say who is seen, so a person could be in two parts: add a "
            "column subject (for PADISI: its ground truth file)"
        )
    part_of = _assign(_presentations_of(dataset.records), shares, seed)
    parts = tuple(
        Part(name, share, tuple(r for r in dataset.records if part_of[r.subject] == name))
        for name, share in shares.items()
    )
    _require_labels(dataset, parts)
    return parts


def write_split(dataset: Dataset, parts: Sequence[Part], folder: Path) -> list[Path]:
    """Write each part as a capture list into a new folder; all of them are there, or none.

    Returns:
        The lists, `folder/NAME.jsonl`.

    Raises:
        DatasetError: The folder exists already.
        FasdkError: The disk is full or the folder not writable.
    """
    with new_folder(folder) as fresh:
        for part in parts:
            write_list(part.records, fresh / f"{part.name}.jsonl", dataset.root)
    return [Path(folder) / f"{part.name}.jsonl" for part in parts]


def absent_strata(parts: Sequence[Part]) -> list[str]:
    """Return what some part holds no presentation of, for a reader of the split."""
    held = {part.name: {_stratum(record) for record in part.records} for part in parts}
    absent = []
    for stratum in sorted(set().union(*held.values())):
        lacking = [name for name, strata in held.items() if stratum not in strata]
        if lacking:
            people = {r.subject for part in parts for r in part.records if _stratum(r) == stratum}
            absent.append(
                f"{stratum[1]} of {stratum[2]} is not in {', '.join(lacking)}: it is shown by "
                f"{len(people)} {'person' if len(people) == 1 else 'people'}"
            )
    return absent


def _require_shares(shares: Mapping[str, float]) -> None:
    for name, share in shares.items():
        if not 0.0 < share <= 1.0:
            raise DatasetError(f"part {name} has a share of {share:g}, expected above 0 up to 1")
    total = math.fsum(shares.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise DatasetError(f"the shares of {', '.join(shares)} make {total:g}, expected 1")


def _stratum(record: CaptureRecord) -> Stratum:
    return record.label.value, record.species, record.domain


def _presentations_of(records: Sequence[CaptureRecord]) -> dict[str, Counter[Stratum]]:
    """Return the number of presentations by stratum of every subject, in the order of names."""
    found = {(r.subject, _stratum(r), r.presentation) for r in records}
    counts: dict[str, Counter[Stratum]] = defaultdict(Counter)
    for subject, stratum, _ in sorted(found):
        counts[subject][stratum] += 1
    return dict(counts)


@dataclass
class _Balance:
    """What each part still lacks, and the chi-square distance of the parts from their shares.

    Attributes:
        counts: Number of presentations by stratum of every subject.
        expected: Number of presentations that each part is to hold, by part and stratum.
        lacking: Those of them that it does not hold yet; negative where it holds more.
    """

    counts: Mapping[str, Counter[Stratum]]
    expected: Mapping[str, Mapping[Stratum, float]]
    lacking: dict[str, dict[Stratum, float]]

    def change(self, part: str, subject: str) -> float:
        """Return how the distance changes when a subject joins a part."""
        expected, lacking = self.expected[part], self.lacking[part]
        return math.fsum(
            (count * count - 2.0 * count * lacking[stratum]) / expected[stratum]
            for stratum, count in self.counts[subject].items()
        )

    def move(self, part: str, subject: str, sign: int) -> None:
        """Let a subject join a part (1) or leave it (-1)."""
        for stratum, count in self.counts[subject].items():
            self.lacking[part][stratum] -= sign * count

    def best_part(self, subject: str) -> str:
        """Return the part that the subject brings nearest to its share."""
        return min(self.expected, key=lambda part: self.change(part, subject))


def _assign(
    counts: Mapping[str, Counter[Stratum]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Return the part of every subject."""
    rng = np.random.default_rng(seed)
    names = list(counts)
    order = [names[k] for k in rng.permutation(len(names))]
    remaining: Counter[Stratum] = Counter()
    for of_subject in counts.values():
        remaining.update(of_subject)
    expected = {
        part: {s: share * n for s, n in remaining.items()} for part, share in shares.items()
    }
    balance = _Balance(counts, expected, {part: dict(of) for part, of in expected.items()})
    part_of: dict[str, str] = {}
    while remaining:
        rarest = min(remaining, key=lambda stratum: (remaining[stratum], stratum))
        having = [s for s in order if rarest in counts[s] and s not in part_of]
        # Those with most presentations first: what is small evens out at the end.
        for subject in sorted(having, key=lambda s: -counts[s][rarest]):
            part_of[subject] = balance.best_part(subject)
            balance.move(part_of[subject], subject, 1)
            remaining -= counts[subject]  # drops what is left of none
    for _ in range(_PASSES):
        if not _improve(balance, part_of, order):
            break
    return part_of


def _improve(balance: _Balance, part_of: dict[str, str], order: Sequence[str]) -> bool:
    """Move every subject to the part that suits best; return whether one moved."""
    moved = False
    for subject in order:
        old = part_of[subject]
        balance.move(old, subject, -1)
        new = balance.best_part(subject)
        if balance.change(old, subject) - balance.change(new, subject) < _LEAST_GAIN:
            new = old
        balance.move(new, subject, 1)
        part_of[subject] = new
        moved |= new != old
    return moved


def _require_labels(dataset: Dataset, parts: Sequence[Part]) -> None:
    kinds = {record.label for record in dataset.records}
    for part in parts:
        lacking = kinds - {record.label for record in part.records}
        if lacking:
            people = {
                label: len({r.subject for r in dataset.records if r.label is label})
                for label in Label
            }
            raise DatasetError(
                f"part {part.name} would have no {lacking.pop().value} capture: "
                f"{dataset.name} has bona fide captures of {people[Label.BONA_FIDE]} and attacks "
                f"of {people[Label.ATTACK]} people for {len(parts)} parts: give fewer parts, a "
                "larger share, or captures of more people"
            )

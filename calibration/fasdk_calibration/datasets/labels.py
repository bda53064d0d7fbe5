"""Labels of a list: which of its words or numbers is bona fide, and what says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fasdk.errors import DatasetError
from fasdk.lists.class_words import means_bona_fide
from fasdk.lists.options import line_to_write
from fasdk.lists.words import is_number, normal_word
from fasdk_calibration.datasets.records import Label

_YES, _NO = frozenset({"1", "true", "yes", "y", "t"}), frozenset({"0", "false", "no", "n", "f"})
_NOTHING = frozenset({"", "none", "n/a", "na", "-", "null", "nan"})


@dataclass(frozen=True)
class Polarity:
    """Meaning of each label of a list.

    Attributes:
        labels: Meaning by the label as `plain_label` gives it.
        note: What was decided, in one line; empty where the words are fasdk's own.
    """

    labels: Mapping[str, Label]
    note: str = ""

    def of(self, raw: Any) -> Label:
        """Return the meaning of a label as a list writes it."""
        return self.labels[plain_label(raw)]


def plain_label(raw: Any) -> str:
    """Return a label in one way of writing: `+1` and `1.0` are `1`, `Bona_Fide` is `bona fide`."""
    text = str(raw).strip()
    if is_number(text):
        number = float(text)
        return str(int(number)) if number.is_integer() else str(number)
    return normal_word(text)


def names_no_attack(species: Any) -> bool:
    """Return whether a row's species is one of a bona fide row, which has none."""
    word = normal_word(str(species))
    return word in _NOTHING or means_bona_fide(word) is True


def odd_label(raw_labels: Sequence[Any]) -> int:
    """Return the index of the first label that is none of the usual, or not of the first's kind."""
    plain = list(map(plain_label, raw_labels))
    coded = [is_number(label) for label in plain]
    odd = (
        i
        for i, label in enumerate(plain)
        if coded[i] != coded[0]
        or not (label in {"0", "1", "-1"} if coded[i] else means_bona_fide(label) is not None)
    )
    return next(odd, 0)


def polarity_of(
    raw_labels: Sequence[Any],
    column: str | None,
    told: str | None,
    species: Sequence[Any] | None = None,
    usual: str | None = None,
) -> Polarity:
    """Return which labels of a list are bona fide.

    What the caller or the list says goes first, then words that say it themselves, a column's name
    such as is_live, the rows' species, and last the convention of a known data set. Numbers that
    nothing explains are refused.

    Args:
        raw_labels: Label of every row, as written.
        column: Name of the label's column, None where it has none.
        told: Label of bona fide rows as the caller or the list says it, or None.
        species: Species of every row where all have one, or None.
        usual: Label of bona fide rows by the convention of a known data set, or None.

    Raises:
        DatasetError: A label is unknown, or the polarity is open; what to write is said.
    """
    kinds = tuple(dict.fromkeys(map(plain_label, raw_labels)))
    if told is not None:
        return _as_told(kinds, told)
    if all(means_bona_fide(kind) is not None for kind in kinds):
        live = [kind for kind in kinds if means_bona_fide(kind)]
        own = set(kinds) <= {label.value for label in Label}
        return _polarity(kinds, live, "", is_said=not own)
    says = None if column is None else means_bona_fide(column)
    if set(kinds) <= _YES | _NO and says is not None:
        wanted = _YES if says else _NO
        return _polarity(kinds, [k for k in kinds if k in wanted], f", by the column {column!r}")
    if "-1" in kinds and set(kinds) <= {"1", "-1"}:
        return _polarity(kinds, ["1"], ", as +1 and -1 are used")
    is_coded = all(is_number(kind) or kind in _YES | _NO for kind in kinds)
    by_species = _by_species(raw_labels, species) if is_coded and species is not None else None
    if by_species is not None:
        return by_species
    if usual is not None and set(kinds) <= {"0", "1"}:
        return _polarity(kinds, [usual], ", as the data set writes it")
    raise _open(kinds)


def _as_told(kinds: Sequence[str], told: str) -> Polarity:
    live = plain_label(told)
    if live not in kinds and any(is_number(kind) for kind in kinds) != is_number(live):
        raise DatasetError(
            f"live_label is {told!r}, and the labels are {', '.join(map(repr, kinds))}: leave it "
            "out, or name the one that is bona fide"
        )
    contrary = means_bona_fide(live) is False or any(
        means_bona_fide(kind) for kind in kinds if kind != live
    )
    if contrary:
        raise DatasetError(
            f"live_label {told!r} contradicts the labels {', '.join(map(repr, kinds))}, which say "
            "themselves what they are: leave it out"
        )
    return _polarity(kinds, [live], ", by live_label")


def _by_species(raw_labels: Sequence[Any], species: Sequence[Any]) -> Polarity | None:
    """Return the polarity that the species show, None where they contradict the labels."""
    shown: dict[str, set[bool]] = {}
    for raw, kind in zip(raw_labels, species, strict=True):
        shown.setdefault(plain_label(raw), set()).add(names_no_attack(kind))
    if any(len(seen) > 1 for seen in shown.values()):
        return None
    live = [kind for kind, seen in shown.items() if True in seen]
    if len(live) > 1 or (len(shown) > 1 and not live):
        return None
    return _polarity(tuple(shown), live, ", by the species")


def _polarity(
    kinds: Sequence[str], live: Sequence[str], why: str, *, is_said: bool = True
) -> Polarity:
    labels = {kind: Label.BONA_FIDE if kind in live else Label.ATTACK for kind in kinds}
    named = {
        label: " and ".join(kind for kind in kinds if labels[kind] is label) for label in Label
    }
    parts = [f"{words} is {label.value}" for label, words in named.items() if words]
    return Polarity(labels, f"labels: {', '.join(parts)}{why}" if is_said else "")


def _open(kinds: Sequence[str]) -> DatasetError:
    found = ", ".join(map(repr, kinds[:5]))
    unknown = [k for k in kinds if means_bona_fide(k) is None and not is_number(k)]
    live = next((kind for kind in kinds if means_bona_fide(kind)), None)
    if unknown and live is not None:
        return DatasetError(
            f"label is {unknown[0]!r}, expected bona fide or attack: where all but {live!r} are "
            f"attacks, write the first line {line_to_write(live_label=live)}"
        )
    if any(map(is_number, kinds)) and any(means_bona_fide(kind) is not None for kind in kinds):
        return DatasetError(
            f"labels are {found}, numbers and words: write bona fide or attack in every row"
        )
    known = [kind for kind in kinds if is_number(kind) or kind in _YES | _NO] or list(kinds)
    lines = " or ".join(line_to_write(live_label=kind) for kind in known[:3])
    return DatasetError(
        f"labels are {found}, and nothing says which is bona fide: write the first line {lines}, "
        "or the words bona fide and attack"
    )

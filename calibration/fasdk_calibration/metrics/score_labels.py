"""Labels of a score file: numerals, flags and words, and which of them is bona fide."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError
from fasdk.lists.class_words import names_only_its_class, near_class_word, says_bona_fide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FLAGS = {"true": "1", "false": "0"}
_ANSWERS = {"yes": "1", "no": "0", "y": "1", "n": "0", "t": "1", "f": "0"}
_PLAIN_WORDS = re.compile(r"[^\W\d]+([ -][^\W\d]+)*")  # neither a path nor a row that did not split
_NUMERAL = re.compile(r"[+-]?\d+(\.\d*|,\d+)?(e[+-]?\d+)?")


class _Kind(Enum):
    NUMERAL = "numeral"
    FLAG = "true or false"
    ANSWER = "yes or no"
    WORD = "word"


@dataclass(frozen=True)
class LabelReading:
    """Labels of N rows.

    Attributes:
        is_bona_fide: N flags.
        species: N kinds of attack where the labels name them, "" where they do not.
        live: Labels taken as bona fide, as messages write them.
        attack: Labels taken as attacks.
        note: Both, with the number of rows of each.
        given: Whether the caller said which label is bona fide.
    """

    is_bona_fide: tuple[bool, ...]
    species: tuple[str, ...]
    live: tuple[str, ...]
    attack: tuple[str, ...]
    note: str
    given: bool


@lru_cache(maxsize=4096)
def is_label(text: str) -> bool:
    """Return whether a text may be a label by itself: 1, 0, -1, true, false or a class word."""
    value = _canonical(text)
    if _kind(value) is _Kind.NUMERAL:
        return value in {"0", "1", "-1"}
    if _kind(value) is _Kind.FLAG:
        return True
    return _PLAIN_WORDS.fullmatch(value) is not None and says_bona_fide(value) is not None


def read_labels(
    texts: Sequence[str],
    places: Sequence[str],
    *,
    column: str = "label",
    live_labels: Sequence[str] = (),
) -> LabelReading:
    """Return which rows are bona fide.

    1 is bona fide and 0 or any number below it an attack, and so are true and false, unless the
    column's name speaks of attacks (`is_spoof`). Words say their class themselves; other words
    beside one for bona fide name kinds of attack.

    Args:
        texts: N labels.
        places: N files and lines, for messages.
        column: Name of the column.
        live_labels: Values that are bona fide, every other one being an attack; empty to read them.

    Raises:
        DatasetError: A label is empty, unknown or of another kind than the first; or none of
            them, or more than one reading, is bona fide. The file, line and option are named.
    """
    values = [_canonical(text) for text in texts]
    for value, place in zip(values, places, strict=True):
        if value in {"", "nan", "none", "null", "na", "n/a"}:
            raise DatasetError(
                f"{place}: label {value!r}: expected 1 for bona fide or 0 for an attack"
            )
    counts = Counter(values)
    if live_labels:
        is_live = _as_told(counts, places, live_labels)
    else:
        _require_one_kind(values, texts, places)
        kinds = {_kind(value) for value in counts}
        if kinds & {_Kind.FLAG, _Kind.ANSWER}:
            is_live = _by_flag(values, places, column)
        elif _Kind.NUMERAL in kinds:
            is_live = _by_numeral(values, places, column)
        else:
            is_live = _by_word(values, places)
    attacks = [value for value in counts if not is_live[value]]
    live = [value for value in counts if is_live[value]]
    named = len(attacks) > 1 or any(not names_only_its_class(value) for value in attacks)
    if attacks and all(_kind(value) is not _Kind.WORD for value in attacks):
        named = len(attacks) > 1
    return LabelReading(
        is_bona_fide=tuple(is_live[value] for value in values),
        species=tuple(
            _species(value, texts[row]) if named and not is_live[value] else ""
            for row, value in enumerate(values)
        ),
        live=tuple(live),
        attack=tuple(attacks),
        note=f"bona fide: {_counted(counts, live)}; attack: {_counted(counts, attacks)}",
        given=bool(live_labels),
    )


def _species(value: str, text: str) -> str:
    if _kind(value) is _Kind.NUMERAL:
        return f"label {value}"
    return "attack" if names_only_its_class(value) else text.strip()


def _counted(counts: Mapping[str, int], values: Sequence[str]) -> str:
    shown = [f"{value} ({counts[value]})" for value in values[:8]]
    more = [f"and {len(values) - 8} more"] if len(values) > 8 else []
    return ("label " + ", ".join([*shown, *more])) if shown else "no row"


def _canonical(text: str) -> str:
    """Return one spelling of labels that mean the same: 1 of 1.0 and +1, live of Live."""
    text = text.strip().strip("\"'").strip().replace("\N{MINUS SIGN}", "-").lower()
    if _NUMERAL.fullmatch(text):
        number = float(text.replace(",", "."))
        return str(int(number)) if number.is_integer() else text
    return " ".join(text.split())


def _kind(value: str) -> _Kind:
    if _NUMERAL.fullmatch(value):
        return _Kind.NUMERAL
    if value in _FLAGS:
        return _Kind.FLAG
    return _Kind.ANSWER if value in _ANSWERS else _Kind.WORD


def _require_one_kind(values: Sequence[str], texts: Sequence[str], places: Sequence[str]) -> None:
    for value, text, place in zip(values, texts, places, strict=True):
        if _kind(value) is not _kind(values[0]):
            raise DatasetError(
                f"{place}: label {text!r} is a {_kind(value).value} and the first, {values[0]!r}, "
                f"a {_kind(values[0]).value}: write all labels in one way, or "
                f"{_fix(values)}"
            )


def _as_told(
    counts: Mapping[str, int], places: Sequence[str], live_labels: Sequence[str]
) -> dict[str, bool]:
    wanted = {_canonical(label) for label in live_labels}
    absent = [label for label in live_labels if _canonical(label) not in counts]
    if absent and counts:
        found = ", ".join(list(counts)[:10])
        file = places[0].rpartition(":")[0]
        raise DatasetError(f"{file}: no row has label {absent[0]!r}: the labels are {found}")
    return {value: value in wanted for value in counts}


def _by_flag(values: Sequence[str], places: Sequence[str], column: str) -> dict[str, bool]:
    about = says_bona_fide(column)
    spoken = next((value for value in values if value in _ANSWERS), None)
    if about is None and spoken is not None:
        raise DatasetError(
            f"{places[values.index(spoken)]}: label {spoken!r} of column {column!r} does not say "
            f"whether it is bona fide: {_fix(values)}"
        )
    one = about is not False
    return {value: ((_FLAGS | _ANSWERS)[value] == "1") is one for value in values}


def _by_numeral(values: Sequence[str], places: Sequence[str], column: str) -> dict[str, bool]:
    below = {value for value in values if float(value.replace(",", ".")) < 0}
    known = {"1", *below} if below else {"0", "1"}
    for value, place in zip(values, places, strict=True):
        if value not in known:
            raise DatasetError(
                f"{place}: label {value!r}: expected 1 for bona fide or {'-1' if below else '0'} "
                f"for an attack; of other numbers, {_fix(values)}"
            )
    one = says_bona_fide(column) is not False
    return {value: (value == "1") is one for value in values}


def _by_word(values: Sequence[str], places: Sequence[str]) -> dict[str, bool]:
    said = {value: says_bona_fide(value) for value in values}
    unknown = [value for value, live in said.items() if live is None]
    live = [value for value, is_live in said.items() if is_live]
    for value in unknown:
        place, near = places[values.index(value)], near_class_word(value)
        if near is not None:
            raise DatasetError(
                f"{place}: label {value!r}: is it {near!r}? Correct it, or {_fix(live or values)}"
            )
        plain = [other for other, is_live in said.items() if is_live is False]
        if not live or any(map(names_only_its_class, plain)):
            raise DatasetError(
                f"{place}: label {value!r} is neither a word for bona fide nor for an attack: "
                f"{_fix(live or values)}"
            )
    return {value: bool(is_live) for value, is_live in said.items()}


def _fix(values: Sequence[str]) -> str:
    """Return the option to write, with values to choose from."""
    choices = [f"--live-label {_quoted(value)}" for value in list(dict.fromkeys(values))[:4]]
    return (
        f"say which value is bona fide, {' or '.join(choices)}: every other value is then an attack"
    )


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value

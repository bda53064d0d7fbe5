"""Numbers of a score column: decimal comma, percent sign, scientific notation."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*|,\d+)?|[.,]\d+)([eE][+-]?\d+)?\s*%?")
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


def is_number(text: str) -> bool:
    """Return whether a text is a finite number, with point or comma, percent sign or not."""
    return _NUMBER.fullmatch(_plain_minus(text)) is not None


def read_numbers(
    texts: Sequence[str], responded: Sequence[bool], places: Sequence[str]
) -> tuple[list[float], str]:
    """Return a column's numbers, NaN where there was no response, and what was taken of it.

    Args:
        texts: N texts.
        responded: N flags; where False the text is not looked at.
        places: N files and lines, for messages.

    Raises:
        DatasetError: A text is no finite number; commas may be decimal signs or group digits; or
            percent signs stand on some rows alone. The file and line are named.
    """
    read = [i for i, flag in enumerate(responded) if flag]
    plain = {i: _plain_minus(texts[i]) for i in read}
    percent = [i for i in read if plain[i].endswith("%")]
    notes = []
    if percent:
        bare = next((i for i in read if not plain[i].endswith("%")), None)
        if bare is not None:
            raise DatasetError(
                f"{places[bare]}: score {texts[bare]!r} has no percent sign and that at "
                f"{places[percent[0]]} has: write all scores in one unit"
            )
        plain = {i: text.removesuffix("%").rstrip() for i, text in plain.items()}
        notes.append("percent signs left out: scores count in percent")
    commas = [i for i in read if _WITH_COMMA.fullmatch(plain[i])]
    if commas and not any("." in plain[i] for i in read):
        if all(_GROUPED.fullmatch(plain[i]) for i in commas):
            raise DatasetError(
                f"{places[commas[0]]}: score {texts[commas[0]]!r}: the comma may be a decimal "
                "sign or group thousands: write decimals with a point and no groups"
            )
        plain = {i: text.replace(",", ".") for i, text in plain.items()}
        notes.append("the comma is the decimal sign")
    values = [math.nan] * len(texts)
    for i in read:
        values[i] = _finite(plain[i], texts[i], places[i])
    return values, ", ".join(notes)


def _plain_minus(text: str) -> str:
    return text.replace("\N{MINUS SIGN}", "-")


def _finite(text: str, shown: str, place: str) -> float:
    try:
        value = float(text) if re.fullmatch(r"[0-9eE.+-]+", text) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(
            f"{place}: score {shown!r} is not a finite number: correct it, or mark the row as a "
            "non-response in a column responded (0)"
        )
    return value

"""Check a policy's settings once, where the mistake was made."""

from __future__ import annotations

import math
from enum import Enum
from typing import TypeVar

from fasdk.errors import UsageError

Choice = TypeVar("Choice", bound=Enum)


def require_whole(name: str, value: object, least: int = 1) -> None:
    """Check that a setting is a whole number.

    Raises:
        UsageError: It is none, or less than `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} is {value!r}, expected a whole number of at least {least}")


def require_ms(
    name: str, value: object, *, least: float | None = None, most: float = math.inf
) -> None:
    """Check that a setting is a finite number of milliseconds, at most `most`.

    Raises:
        UsageError: It is none; or less than `least`; or, without that, not above 0.
    """
    fits = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (value > 0 if least is None else value >= least)
        and value <= most
    )
    if not fits:
        expected = "milliseconds above 0" if least is None else f"milliseconds, {least:g} or more"
        limit = "" if math.isinf(most) else f" and at most {most:,.0f}"
        raise UsageError(f"{name} is {value!r}, expected {expected}{limit}")


def as_choice(name: str, value: object, choices: type[Choice]) -> Choice:
    """Return a setting as a member of an enum, which its value may stand for.

    Raises:
        UsageError: It is none of them.
    """
    try:
        return choices(value)
    except ValueError:
        *others, last = (str(choice.value) for choice in choices)
        known = f"{', '.join(others)} or {last}"
        raise UsageError(f"{name} is {value!r}, expected {known}") from None

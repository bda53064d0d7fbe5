"""Validation of settings."""

from __future__ import annotations

import math
from enum import Enum
from typing import TypeVar

from fasdk.errors import UsageError

Choice = TypeVar("Choice", bound=Enum)


def require_whole(name: str, value: object, least: int = 1) -> None:
    """Check that a setting is a whole number.

    Args:
        name: Name of the setting, for the message.
        value: Value of the setting.
        least: Smallest value allowed.

    Raises:
        UsageError: It is not a whole number, or less than `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} is {value!r}, expected a whole number of at least {least}")


def require_ms(
    name: str, value: object, *, least: float | None = None, most: float = math.inf
) -> None:
    """Check that a setting is a finite number of milliseconds.

    Args:
        name: Name of the setting, for the message.
        value: Value of the setting.
        least: Smallest value allowed; None requires a value above 0.
        most: Largest value allowed.

    Raises:
        UsageError: It is not a finite number, or out of that range.
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
    """Return a setting as a member of an enum.

    Args:
        name: Name of the setting, for the message.
        value: Member or a member's value.
        choices: Enum of the valid values.

    Raises:
        UsageError: The enum has no such member.
    """
    try:
        return choices(value)
    except ValueError:
        *others, last = (str(choice.value) for choice in choices)
        known = f"{', '.join(others)} or {last}"
        raise UsageError(f"{name} is {value!r}, expected {known}") from None

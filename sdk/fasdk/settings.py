"""Validation of settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar

from fasdk.errors import UsageError

Choice = TypeVar("Choice", bound=Enum)
Value = TypeVar("Value")


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


def as_path(name: str, value: object, *, other: str = "") -> Path:
    """Return an argument as a path.

    Args:
        name: Name of the argument, for the message.
        value: The argument: a text or a path.
        other: What it may be instead, for the message, such as " or a Bundle".

    Raises:
        UsageError: It is neither.
    """
    if not isinstance(value, (str, Path)):
        raise UsageError(
            f"{name} is a {type(value).__name__}, expected the path of a file as a text or a "
            f"pathlib.Path{other}"
        )
    return Path(value)


def as_choice(name: str, value: object, choices: type[Choice]) -> Choice:
    """Return a setting as a member of an enum.

    Args:
        name: Name of the setting, for the message.
        value: Member or a member's value.
        choices: Enum of the valid values.

    Raises:
        UsageError: The enum has no such member.
    """
    if isinstance(value, choices):  # no call, on the way of every capture
        return value
    try:
        return choices(value)
    except ValueError:
        *others, last = (str(choice.value) for choice in choices)
        known = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"{name} is {value!r}, expected {known}") from None


def as_choices(name: str, values: Iterable[object], choices: type[Choice]) -> tuple[Choice, ...]:
    """Return a setting's values as members of an enum, in their order.

    Args:
        name: Name of the setting, for the message.
        values: Members or members' values.
        choices: Enum of the valid values.

    Raises:
        UsageError: `values` is one text, or the enum has no such member.
    """
    if isinstance(values, str):
        raise UsageError(f"{name} is {values!r}, expected several: ({values!r},)")
    return tuple(as_choice(name, value, choices) for value in values)


def by_choice(
    name: str, values: Mapping[Choice, Value], choices: type[Choice]
) -> Mapping[Choice, Value]:
    """Return a setting whose keys are members of an enum; `values` itself where they all are.

    Args:
        name: Name of the setting, for the message.
        values: Values by member, or by member's value.
        choices: Enum of the valid keys.

    Raises:
        UsageError: The enum has no such member.
    """
    if all(isinstance(key, choices) for key in values):
        return values
    return {as_choice(name, key, choices): value for key, value in values.items()}


def take_choices(record: object, **choices: type[Enum] | tuple[type[Enum]]) -> None:
    """Replace fields of a frozen dataclass by members of enums, in its `__post_init__`.

    A field may also hold None, or a mapping by members.

    Args:
        record: The dataclass.
        choices: Enum of each field, by the field's name; in a tuple where the field holds several.

    Raises:
        UsageError: The enum has no such member, or one text stands for several.
    """
    for name, of in choices.items():
        value = getattr(record, name)
        taken: object
        if value is None:
            continue
        if isinstance(of, tuple):
            taken = as_choices(name, value, of[0])
        elif isinstance(value, Mapping):
            taken = by_choice(name, value, of)
        else:
            taken = as_choice(name, value, of)
        object.__setattr__(record, name, taken)

"""Refusal of truth values for outcomes that a caller could mistake for a yes."""

from __future__ import annotations

from typing import NoReturn


class NoTruthValue:
    """Base of an outcome that raises where it is used as a condition, such as `if check(...)`.

    Every object is true unless it says otherwise, so a SPOOF would open a door whose program tests
    the outcome itself.
    """

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        """Refuse to be a condition.

        Raises:
            TypeError: Always, with the condition to write instead.
        """
        raise TypeError(
            f"a {type(self).__name__} is neither true nor false: write `if decision.is_live`, "
            "which is True for LIVE alone"
        )

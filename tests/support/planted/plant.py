"""Planted bug: one safeguard taken away from the source of a module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """One safeguard taken away.

    Attributes:
        name: Description of the safeguard that is removed.
        module: Dotted name of the module it is removed from.
        old: The safeguard's source, exactly once in the module.
        new: Source that replaces it.
        scenario: The scenario that fails with it.
    """

    name: str
    module: str
    old: str
    new: str
    scenario: str

    def apply(self, source: str) -> str:
        """Return the module's source with the bug in it."""
        found = source.count(self.old)
        if found != 1:
            raise ValueError(f"plant {self.name!r}: its text is {found} times in {self.module}")
        return source.replace(self.old, self.new)

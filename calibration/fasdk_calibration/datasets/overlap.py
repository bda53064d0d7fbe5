"""Subjects shared between sets of captures that must be of different people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fasdk.errors import DatasetError

NAMED_SUBJECTS = 10  # how many shared subjects an error or a report names


def shared_subjects(subjects: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the subjects that are in both sets, in name order."""
    return tuple(sorted(set(subjects) & set(others)))


def require_none_shared(shared: Sequence[str], *, name: str, other: str, fix: str) -> None:
    """Refuse a list that shares subjects with another one.

    Args:
        shared: Subjects in both, as `shared_subjects` returns them.
        name: The list to refuse.
        other: Name of what the subjects were seen in before.
        fix: Remedy, for the message.

    Raises:
        DatasetError: There are such subjects; the first ten are named.
    """
    if not shared:
        return
    named = ", ".join(shared[:NAMED_SUBJECTS])
    more = len(shared) - NAMED_SUBJECTS
    raise DatasetError(
        f"{name} shares {len(shared)} subject{'s' if len(shared) > 1 else ''} with {other}: "
        f"{named}{f' and {more} more' if more > 0 else ''}: {fix}"
    )

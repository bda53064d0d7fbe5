"""Choice between the native pixel code, where it was built, and NumPy."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


class Implementation(str, Enum):
    """Implementation of preprocessing; both give the same bits."""

    NATIVE = "native"
    NUMPY = "numpy"


@cache
def native_module() -> ModuleType | None:
    """Return `fasdk._native`, or None where no compiler built it."""
    try:
        from fasdk import _native as module
    except ImportError:
        return None
    return module


def implementation() -> Implementation:
    """Return what is used here: the native pass wherever it was built."""
    return Implementation.NUMPY if native_module() is None else Implementation.NATIVE

"""Core dumps of a process that holds frames of people, switched off."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_core_dumps() -> bool:
    """Let this process leave no core dump, and no debugger of the same account attach to it.

    A core dump holds the frames in memory. The flag is of the whole process and is inherited by a
    forked one (prctl(2), PR_SET_DUMPABLE).

    Returns:
        Whether the system took it; other systems than Linux have no such flag.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # a C library without it
        return False

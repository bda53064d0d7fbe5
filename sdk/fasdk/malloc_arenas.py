"""Limit on the memory that the C library keeps for each thread."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h of glibc
_ARENAS = 2


def limit_malloc_arenas() -> bool:
    """Let all threads of this process allocate from few arenas of glibc's.

    It would make eight for each processor core. Threads that come and go leave pieces in all of
    them, so that a session's resident memory grows for hours. For a process that serves a door,
    before its threads start (mallopt(3), M_ARENA_MAX).

    Returns:
        Whether the C library took it; others than glibc have no such limit.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS) == 1)
    except (OSError, AttributeError):  # a C library without it
        return False

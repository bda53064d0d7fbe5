"""Lines typed at the terminal while something else goes on."""

from __future__ import annotations

import select
import sys


def was_entered() -> bool:
    """Return whether a line was typed, without waiting for one; at its end, input is one."""
    if not select.select([sys.stdin], [], [], 0.0)[0]:
        return False
    sys.stdin.readline()
    return True


def discard_typed() -> None:
    """Drop the lines that were typed so far."""
    while select.select([sys.stdin], [], [], 0.0)[0] and sys.stdin.readline():
        pass

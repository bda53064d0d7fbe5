"""Who may have written a file or a folder, by its owner and mode."""

from __future__ import annotations

import os
import stat


def is_own_or_roots(found: os.stat_result) -> bool:
    """Return whether a file belongs to this account or to root."""
    return found.st_uid in (os.geteuid(), 0)


def is_writable_by_others(found: os.stat_result) -> bool:
    """Return whether the mode lets more than the owner write a file."""
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def is_roots_alone(found: os.stat_result) -> bool:
    """Return whether a file belongs to root and root alone may write it."""
    return found.st_uid == 0 and not is_writable_by_others(found)

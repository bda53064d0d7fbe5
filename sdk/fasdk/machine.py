"""Identity of this machine, by which what an account keeps is bound to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_UNKNOWN = "unknown"


def machine_tag(purpose: str) -> str:
    """Return 32 hexadecimal digits that stand for this machine and a purpose.

    The machine id itself is not to be shown to others (machine-id(5)), so it is hashed. A machine
    without one, such as some containers, has the tag of an unknown machine.

    Args:
        purpose: What the tag is for; tags of other purposes cannot be told to be one machine's.
    """
    found = _UNKNOWN
    for path in _ID_FILES:
        try:
            text = path.read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        if text and text != "uninitialized":
            found = text
            break
    return hashlib.sha256(f"fasdk machine\n{purpose}\n{found}".encode()).hexdigest()[:32]

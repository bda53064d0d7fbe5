"""Tell systemd that decisions are flowing, so that it restarts a service where they are not."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from fasdk.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.decision import Decision

# With these no person can pass and a restart may mend it. A lock-out is not among them: a restart
# would lift it.
FAULTS = frozenset(
    {
        Reason.CAMERA,
        Reason.ENGINE_FAULT,
        Reason.NOT_FINITE,
        Reason.DEADLINE,
        Reason.QUEUE_FULL,
        Reason.CLOSED,
        Reason.UNEXPECTED,
    }
)


class Watchdog:
    """The service's end of systemd's notify protocol, over its datagram socket (sd_notify(3)).

    READY=1 goes with the first decision that is no fault, WATCHDOG=1 with those after it, at most
    four times in systemd's interval. Without systemd every call does nothing.

    Args:
        address: What NOTIFY_SOCKET says: a path, or a name after "@" for an abstract socket; None
            without systemd.
        interval_ms: Systemd's WatchdogSec, or None where the unit has none.
    """

    def __init__(self, address: str | None, interval_ms: float | None = None) -> None:
        self._address = address
        self._pause_s = None if interval_ms is None else interval_ms / 4000.0
        self._is_ready = False
        self._sent_s = float("-inf")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Watchdog:
        """Return the watchdog that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID describe."""
        values = os.environ if environment is None else environment
        microseconds = values.get("WATCHDOG_USEC", "")
        is_meant = values.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval_ms = int(microseconds) / 1000.0 if microseconds.isdecimal() and is_meant else None
        return cls(values.get("NOTIFY_SOCKET") or None, interval_ms or None)

    def heard(self, decision: Decision) -> None:
        """Tell systemd of one decision; a fault says nothing, and silence brings the restart."""
        if FAULTS.intersection(decision.codes):
            return
        now_s = time.monotonic()
        if not self._is_ready:
            self._is_ready = self._send("READY=1\nSTATUS=decisions are flowing")
            self._sent_s = now_s
        elif self._pause_s is not None and now_s - self._sent_s >= self._pause_s:
            self._send("WATCHDOG=1")
            self._sent_s = now_s

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`, such as the last fault."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """Say that the service ends because it was asked to."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        """Return whether systemd has it, or there is no systemd; a lost message is no fault."""
        if self._address is None:
            return True
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                # A full socket must not hold up a door.
                end.setblocking(False)
                end.sendto(message.encode(), address)
        except OSError:
            return False
        return True

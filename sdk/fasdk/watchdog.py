"""Watchdog of a systemd service, fed by decisions."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from fasdk.reasons import Remedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.decision import Decision


_FLOWING = "decisions are flowing"


class Watchdog:
    """Client of systemd's notify protocol, over its datagram socket (sd_notify(3)).

    READY=1 is sent with the first decision that needs no restart, WATCHDOG=1 with those after it,
    at most four times in systemd's interval. A fault of the camera or of the installation is shown
    as STATUS, and the service goes on: its loop is alive, and a restart brings no camera back.
    Without systemd every call does nothing.

    Args:
        address: Value of NOTIFY_SOCKET: a path, or a name after "@" for an abstract socket; None
            without systemd.
        interval_ms: WatchdogSec of the unit, in milliseconds, or None where it has none.
    """

    def __init__(self, address: str | None, interval_ms: float | None = None) -> None:
        self._address = address
        self._pause_s = None if interval_ms is None else interval_ms / 4000.0
        self._is_ready = False
        self._sent_s = float("-inf")
        self._shown = _FLOWING

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Watchdog:
        """Return the watchdog that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID describe."""
        values = os.environ if environment is None else environment
        microseconds = values.get("WATCHDOG_USEC", "")
        is_meant = values.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval_ms = int(microseconds) / 1000.0 if microseconds.isdecimal() and is_meant else None
        return cls(values.get("NOTIFY_SOCKET") or None, interval_ms or None)

    def notify_decision(self, decision: Decision) -> None:
        """Notify systemd of one decision, unless it needs a restart, which silence causes.

        With such a reason no person can pass. A lock-out is none of them, as it outlives a restart;
        nor is a fault of the camera, which the loop opens again by itself.
        """
        if any(code.remedy is Remedy.RESTART for code in decision.codes):
            return
        now_s = time.monotonic()
        shown = _status_of(decision)
        if not self._is_ready:
            self._is_ready = self._send(f"READY=1\nSTATUS={shown}")
            self._sent_s = now_s
        else:
            if shown != self._shown:
                self._send(f"STATUS={shown}")
            if self._pause_s is not None and now_s - self._sent_s >= self._pause_s:
                self._send("WATCHDOG=1")
                self._sent_s = now_s
        self._shown = shown

    def status(self, text: str) -> None:
        """Show one line of text in `systemctl status`, such as the last fault."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """Notify systemd that the service ends as requested."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        """Send a message; False where systemd did not get it, which is not an error."""
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


def _status_of(decision: Decision) -> str:
    """Return one line for `systemctl status`: the fault that an operator has to look after."""
    faults = [code.value for code in decision.codes if code.remedy is Remedy.OPERATOR]
    return f"out of order: {', '.join(faults)}" if faults else _FLOWING

"""Systemd watchdog: READY and WATCHDOG notifications while decisions flow."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import pytest

from fasdk.decision import Decision, Verdict
from fasdk.reasons import Reason, Remedy
from fasdk.watchdog import Watchdog

LIVE = Decision(verdict=Verdict.LIVE)
# Reasons with which no person can pass and which a restart may remove.
FAULTS = {
    Reason.ENGINE_FAULT,
    Reason.NOT_FINITE,
    Reason.DEADLINE,
    Reason.QUEUE_FULL,
    Reason.CLOSED,
    Reason.UNEXPECTED,
}


class Systemd:
    """The other end of the notify socket."""

    def __init__(self, address):
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(address)
        self.end.setblocking(False)

    def messages(self):
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.end.recv(4096).decode())
        return found


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    address = str(tmp_path / "s") if request.param == "path" else f"@fasdk-test-{os.getpid()}"
    listening = Systemd(address.replace("@", "\0"))
    listening.address = address
    yield listening
    listening.end.close()


def test_ready_comes_with_the_first_decision_and_watchdog_with_later_ones(systemd):
    watchdog = Watchdog(systemd.address, interval_ms=0.0)
    assert systemd.messages() == []
    watchdog.notify_decision(LIVE)
    watchdog.notify_decision(LIVE)
    watchdog.stopping()
    assert systemd.messages() == [
        "READY=1\nSTATUS=decisions are flowing",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_watchdog_is_sent_four_times_in_an_interval_at_most(systemd, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("fasdk.watchdog.time.monotonic", lambda: now[0])
    watchdog = Watchdog(systemd.address, interval_ms=10_000)
    for _ in range(81):
        watchdog.notify_decision(LIVE)
        now[0] += 0.125
    assert len(systemd.messages()) == 1 + 4


def test_without_an_interval_there_is_no_watchdog(systemd):
    watchdog = Watchdog(systemd.address)
    watchdog.notify_decision(LIVE)
    watchdog.notify_decision(LIVE)
    assert len(systemd.messages()) == 1


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_a_fault_is_silent(systemd, code):
    watchdog = Watchdog(systemd.address, interval_ms=0.0)
    watchdog.notify_decision(Decision(verdict=Verdict.ERROR, reasons=("x",), codes=(code,)))
    assert systemd.messages() == []


@pytest.mark.parametrize("code", sorted(set(Reason) - FAULTS))
def test_a_fault_that_a_restart_does_not_remove_keeps_the_service_running(systemd, code):
    watchdog = Watchdog(systemd.address, interval_ms=0.0)
    for verdict in (Verdict.RETRY, Verdict.ERROR):
        watchdog.notify_decision(Decision(verdict=verdict, reasons=("x",), codes=(code,)))
    assert len(systemd.messages()) == 2


def test_a_restart_never_lifts_a_lock_out():
    assert Reason.LOCKED_OUT.remedy is not Remedy.RESTART
    assert {reason for reason in Reason if reason.remedy is Remedy.RESTART} == FAULTS


def test_without_systemd_nothing_happens():
    watchdog = Watchdog.from_environment({})
    watchdog.notify_decision(LIVE)
    watchdog.stopping()


def test_the_environment_says_where_and_how_often(systemd):
    ours = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1"}
    for environment, expected in [
        (ours, 2),
        (ours | {"WATCHDOG_PID": str(os.getpid())}, 2),
        (ours | {"WATCHDOG_PID": "1"}, 1),  # meant for another process
        (ours | {"WATCHDOG_USEC": "soon"}, 1),
    ]:
        watchdog = Watchdog.from_environment(environment)
        for _ in range(2):
            watchdog.notify_decision(LIVE)
            time.sleep(0.001)
        assert len(systemd.messages()) == expected


def test_a_full_or_absent_socket_never_holds_up_or_raises(tmp_path, systemd):
    absent = Watchdog(str(tmp_path / "nobody"), interval_ms=0.0)
    absent.notify_decision(LIVE)
    full = Watchdog(systemd.address, interval_ms=0.0)
    for _ in range(2000):  # nobody reads; a blocking socket would stop here
        full.notify_decision(LIVE)
    assert systemd.messages()[0].startswith("READY=1")

"""Checks of the machine: power mode, clocks and heat, time of day, core dumps and disk."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import fasdk
from fasdk_tools.doctor.findings import Finding, Group, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk_tools.doctor.place import Place, Request

CONDITION_SECONDS = 10.0
_DAY_S = 86_400.0
_EARLIEST = datetime(2024, 1, 1, tzinfo=timezone.utc)  # before fasdk was written
_CORE_PATTERN = "proc/sys/kernel/core_pattern"


def condition_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield the power mode, and what half a second of the machine shows of clocks and heat."""
    del request
    root = None if place.root is None else str(place.root)
    answer = place.ask("conditions", {"root": root}, CONDITION_SECONDS)
    if answer.document is None:
        yield Finding(
            Group.MACHINE,
            "power mode",
            Level.WARN,
            f"not known, with clocks and heat: looking at them {answer.trouble}",
            "restart the machine where a sensor hangs in its driver (`sudo dmesg | tail`)",
        )
        return
    yield from (Finding.of(each) for each in answer.document["findings"])


def clock_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield whether the time of day can be right, by files that were written before."""
    del request
    yield clock_finding(place, Path(fasdk.__file__))


def bundle_clock_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield whether the bundle was written in this clock's future; nothing without a bundle."""
    if request.bundle is not None and request.bundle.exists():
        yield clock_finding(place, request.bundle, "clock and bundle")


def clock_finding(place: Place, reference: Path, name: str = "clock") -> Finding:
    """Return whether the clock is where it can be, by the time that a file was written."""
    now_s, written_s = place.now_s(), reference.stat().st_mtime
    now = datetime.fromtimestamp(now_s, timezone.utc)
    fix = (
        "`sudo timedatectl set-ntp true`, or set it by hand with `sudo timedatectl set-time`; "
        "where it is wrong after each start, the battery of the real-time clock is empty: an "
        "expired signing key counts as valid meanwhile"
    )
    shown = f"{now:%Y-%m-%d %H:%M} UTC"
    if now < _EARLIEST:
        found = f"{shown}, before fasdk was written"
        return Finding(Group.MACHINE, name, Level.FAIL, found, fix)
    if now_s < written_s - _DAY_S:
        days = (written_s - now_s) / _DAY_S
        found = f"{shown}, {days:.0f} days before {reference.name} was written"
        return Finding(Group.MACHINE, name, Level.FAIL, found, fix)
    if name == "clock" and place.is_synchronized() is False:
        return Finding(
            Group.MACHINE,
            name,
            Level.WARN,
            f"{shown}, kept by no time service",
            "`sudo timedatectl set-ntp true`, or the site's own time server",
        )
    found = shown if name == "clock" else f"later than {reference.name} was written"
    return Finding(Group.MACHINE, name, Level.OK, found)


def core_dump_findings(place: Place, request: Request) -> Iterator[Finding]:
    """Yield whether a program here may leave a core dump, which holds frames of people."""
    del request
    pattern = place.files.text(_CORE_PATTERN)
    limit = place.core_limit()
    if limit == 0 or pattern == "":
        yield Finding(Group.MACHINE, "core dumps", Level.OK, "off")
        return
    yield Finding(
        Group.MACHINE,
        "core dumps",
        Level.WARN,
        f"on (they go to {pattern or 'the working folder'}): a session switches them off in its "
        "own process, and no other program that holds frames does",
        "`LimitCORE=0` in the systemd unit, `ulimit -c 0` in a shell, `--ulimit core=0` of a "
        "container",
    )

"""Answers about power mode, clocks and heat, in the child process: half a second of the machine."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk_tools.doctor.findings import Finding, Group, Level
from fasdk_tools.profiling.machine.conditions import machine_troubles
from fasdk_tools.profiling.machine.files import SystemFiles
from fasdk_tools.profiling.machine.monitor import MachineMonitor
from fasdk_tools.profiling.machine.reasons import Limits, Trouble
from fasdk_tools.profiling.machine.sources import Observed

if TYPE_CHECKING:
    from collections.abc import Iterator

_WATCH_SECONDS = 0.5
_MODELS = "etc/nvpmodel.conf"
_MODEL = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>")
_DEFAULT_MODEL = re.compile(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>")
_WATTS = re.compile(r"(\d+)W")
_LOW_WATTS = 10.0  # a mode of so few is below the usual one of every board
# What is told of the conditions of a measurement, by the name of its line and what it is read from.
_CONDITIONS = (
    (Trouble.GOVERNOR, "clocks", Observed.CPU_CLOCK),
    (Trouble.THROTTLED, "throttling", Observed.THROTTLING),
    (Trouble.HOT, "heat", Observed.TEMPERATURE),
    (Trouble.QUOTA, "processor quota", Observed.QUOTA),
)


def conditions(root: str | None) -> dict[str, Any]:
    """Return the findings on a machine's power mode, clocks and heat.

    Args:
        root: Folder of a recorded machine, or None for this one.
    """
    return {
        "findings": [each.to_json() for each in _findings(None if root is None else Path(root))]
    }


def _findings(root: Path | None) -> Iterator[Finding]:
    monitor = MachineMonitor(root)
    try:
        monitor.take()
        time.sleep(_WATCH_SECONDS)
        monitor.take()
        record = monitor.record()
    finally:
        monitor.close()
    files = SystemFiles(root or Path("/"))
    yield _power_mode(record.power_mode, files, jetson=record.jetson)
    found = {each.trouble: each for each in machine_troubles(record, Limits())}
    unread = {lack.what: lack.why for lack in record.not_read}
    for trouble, name, observed in _CONDITIONS:
        reason = found.get(trouble)
        # Of a desktop, free clocks are no mistake; on a board made for one thing they are.
        if trouble is Trouble.GOVERNOR and not record.jetson:
            yield Finding(Group.MACHINE, name, Level.UNKNOWN, "judged on a Jetson alone")
        elif reason is not None:
            yield Finding(Group.MACHINE, name, Level.WARN, reason.measured, reason.action)
        elif observed in unread:
            yield Finding(Group.MACHINE, name, Level.UNKNOWN, unread[observed])
        else:
            yield Finding(Group.MACHINE, name, Level.OK, "nothing holds the machine back")


def _power_mode(mode: str | None, files: SystemFiles, *, jetson: bool) -> Finding:
    if not jetson:
        return Finding(Group.MACHINE, "power mode", Level.UNKNOWN, "not a Jetson")
    if mode is None:
        found = "`nvpmodel -q` gave no answer to this account"
        return Finding(Group.MACHINE, "power mode", Level.UNKNOWN, found)
    text = files.text(_MODELS) or ""
    modes = {name.removeprefix("MODE_"): number for number, name in _MODEL.findall(text)}
    default = _DEFAULT_MODEL.search(text)
    usual = next((n for n, number in modes.items() if default and number == default[1]), None)
    enough = _watts(usual) if usual is not None else math.nextafter(_LOW_WATTS, math.inf)
    if _watts(mode) >= enough:
        return Finding(Group.MACHINE, "power mode", Level.OK, mode)
    better = f"the board's usual mode is {usual}" if usual is not None else "the board has higher"
    shown = ", ".join(f"{number} {name}" for name, number in modes.items())
    return Finding(
        Group.MACHINE,
        "power mode",
        Level.WARN,
        f"{mode}, a low one: {better}, and every decision is slower",
        f"`sudo nvpmodel -m ID`{f' ({shown})' if shown else ''}, the highest that the housing can "
        "cool, then build the plan again",
    )


def _watts(mode: str) -> float:
    """Return the power that a mode allows, in watts; MAXN and modes without a figure: no limit."""
    found = _WATTS.search(mode)
    return float(found[1]) if found else math.inf

"""Processor time, quota and swap of a Linux machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.readings import CpuTimes, Quota, Reading, Swap

if TYPE_CHECKING:
    from fasdk_tools.profiling.machine.files import SystemFiles

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuSource:
    """Processor times, from /proc/stat and the stat files of our own processes (proc(5)).

    Attributes:
        files: Where they are read.
    """

    files: SystemFiles

    @classmethod
    def find(cls, files: SystemFiles) -> CpuSource | None:
        """Return the source, or None where the times cannot be read."""
        source = cls(files)
        return None if source.read(0.0).cpu is None else source

    def read(self, at_s: float) -> Reading:
        """Return the times now."""
        text = self.files.text("proc/stat")
        own_s = self._own_s()
        if text is None or own_s is None:
            return Reading(at_s)
        lines = text.splitlines()
        # user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user.
        ticks = [int(field) for field in lines[0].split()[1:9]]
        ticks += [0] * (8 - len(ticks))
        busy = sum(ticks) - ticks[3] - ticks[4]
        cores = sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)
        return Reading(at_s, cpu=CpuTimes(max(cores, 1), busy / _TICKS_PER_S, own_s))

    def _own_s(self) -> float | None:
        own = own_process_times(self.files)
        if not own:
            return None
        return sum(times.seconds + times.waited_for_s for times in own.values())


@dataclass(frozen=True)
class ProcessTimes:
    """Processor time of one process.

    Attributes:
        name: Name of its command.
        seconds: Its own time.
        waited_for_s: Time of its children that have ended and that it waited for.
    """

    name: str
    seconds: float
    waited_for_s: float = 0.0


def process_times(files: SystemFiles, pid: str) -> ProcessTimes | None:
    """Return the times of one process, or None where there is none."""
    text = files.text(f"proc/{pid}/stat")
    if text is None or ")" not in text:
        return None
    # The name is in parentheses and may hold spaces and parentheses itself.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    user, system, waited_user, waited_system = (int(field) for field in fields[11:15])
    return ProcessTimes(
        name=head.partition("(")[2],
        seconds=(user + system) / _TICKS_PER_S,
        waited_for_s=(waited_user + waited_system) / _TICKS_PER_S,
    )


def own_process_times(files: SystemFiles) -> dict[str, ProcessTimes]:
    """Return the times of this process and its descendants by number; none if they are unreadable.

    A child that ends is from then on in the times of the process that waited for it.
    """
    found: dict[str, ProcessTimes] = {}
    waiting = [(files.text("proc/self/stat") or "").partition(" ")[0]]
    while waiting:
        pid = waiting.pop()
        times = process_times(files, pid) if pid else None
        if times is not None:
            found[pid] = times
            for task in files.entries(f"proc/{pid}/task"):
                waiting += (files.text(f"proc/{pid}/task/{task}/children") or "").split()
    return found


def all_process_times(files: SystemFiles) -> dict[str, ProcessTimes]:
    """Return the times of every process by its number; too slow to be done while measuring."""
    times = {}
    for pid in filter(str.isdigit, files.entries("proc")):
        found = process_times(files, pid)
        if found is not None:
            times[pid] = found
    return times


@dataclass(frozen=True)
class SwapSource:
    """Swap space, from /proc/meminfo and /proc/vmstat.

    Attributes:
        files: Where they are read.
    """

    files: SystemFiles

    @classmethod
    def find(cls, files: SystemFiles) -> SwapSource | None:
        """Return the source, or None where the use cannot be read."""
        source = cls(files)
        return None if source.read(0.0).swap is None else source

    def read(self, at_s: float) -> Reading:
        """Return the use now."""
        memory = _fields(self.files.text("proc/meminfo"))
        pages = _fields(self.files.text("proc/vmstat"))
        if "SwapTotal:" not in memory or "pswpin" not in pages:
            return Reading(at_s)
        used_kib = memory["SwapTotal:"] - memory.get("SwapFree:", 0)
        return Reading(at_s, swap=Swap(used_mib=used_kib / 1024, pages_in=pages["pswpin"]))


def _fields(text: str | None) -> dict[str, int]:
    """Return the numbers of a file with a name and a number a line."""
    found = {}
    for line in (text or "").splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1].isdigit():
            found[fields[0]] = int(fields[1])
    return found


@dataclass(frozen=True)
class QuotaSource:
    """Processor quotas of this process's control group and those above it (cgroups(7)).

    Attributes:
        files: Where they are read.
        folders: Groups of the second hierarchy with a file cpu.max.
        folders_v1: Groups of the first hierarchy with a file cpu.cfs_quota_us.
    """

    files: SystemFiles
    folders: tuple[str, ...]
    folders_v1: tuple[str, ...]

    @classmethod
    def find(cls, files: SystemFiles) -> QuotaSource | None:
        """Return the groups of this process, or None where none can be read."""
        folders: list[str] = []
        folders_v1: list[str] = []
        seen = False
        for line in (files.text("proc/self/cgroup") or "").splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if controllers == "":
                mounts, name, found = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], "cpu.max", folders
            elif "cpu" in controllers.split(","):
                mounts, name, found = (
                    [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"],
                    "cpu.cfs_quota_us",
                    folders_v1,
                )
            else:
                continue
            for mount in dict.fromkeys(mounts):
                seen |= files.exists(f"{mount}/cgroup.procs")
                for folder in _with_parents(mount, path):
                    if files.exists(f"{folder}/{name}"):
                        found.append(folder)
        return cls(files, tuple(folders), tuple(folders_v1)) if seen else None

    def read(self, at_s: float) -> Reading:
        """Return the groups that have a limit now."""
        quotas = [self._read_v2(folder) for folder in self.folders]
        quotas += [self._read_v1(folder) for folder in self.folders_v1]
        return Reading(at_s, quotas=tuple(quota for quota in quotas if quota is not None))

    def _read_v2(self, folder: str) -> Quota | None:
        limit = (self.files.text(f"{folder}/cpu.max") or "max").split()
        if limit[0] == "max":
            return None
        period_us = float(limit[1]) if len(limit) > 1 else 100_000.0
        stat = _fields(self.files.text(f"{folder}/cpu.stat"))
        return Quota(
            name=folder,
            cores=float(limit[0]) / period_us,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled_s=stat.get("throttled_usec", 0) / 1e6,
        )

    def _read_v1(self, folder: str) -> Quota | None:
        quota_us = self.files.number(f"{folder}/cpu.cfs_quota_us")
        period_us = self.files.number(f"{folder}/cpu.cfs_period_us")
        if quota_us is None or quota_us <= 0 or not period_us:
            return None
        stat = _fields(self.files.text(f"{folder}/cpu.stat"))
        return Quota(
            name=folder,
            cores=quota_us / period_us,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled_s=stat.get("throttled_time", 0) / 1e9,
        )


def _with_parents(mount: str, path: str) -> list[str]:
    """Return a group's folder and those above it, up to the mount."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return ["/".join([mount, *parts[:length]]) for length in range(len(parts), -1, -1)]

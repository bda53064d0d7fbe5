"""Clock frequencies and governors of processors, GPU and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.readings import Clock, ClockKind, Reading

if TYPE_CHECKING:
    from fasdk_tools.profiling.machine.files import SystemFiles


@dataclass(frozen=True)
class CpuClockSource:
    """Clocks of the processors (Linux, admin-guide/pm/cpufreq).

    Attributes:
        files: Where they are read.
        policies: Folders of the cpufreq policies, each one or more processors with one clock.
        sustained_mhz: Frequency of each policy that all cores can hold, or None.
    """

    files: SystemFiles
    policies: tuple[str, ...]
    sustained_mhz: tuple[float | None, ...]

    @classmethod
    def find(cls, files: SystemFiles) -> CpuClockSource | None:
        """Return the policies, or None where there are none, as in most virtual machines."""
        policies = tuple(
            policy
            for policy in files.find("sys/devices/system/cpu/cpufreq/policy*")
            if files.number(f"{policy}/scaling_cur_freq") is not None
        )
        if not policies:
            return None
        return cls(files, policies, tuple(_sustained_mhz(files, policy) for policy in policies))

    def read(self, at_s: float) -> Reading:
        """Return the clocks now."""
        read = self.files.number
        return Reading(
            at_s,
            clocks=tuple(
                Clock(
                    name=policy.rpartition("/")[2],
                    kind=ClockKind.CPU,
                    mhz=_scaled(read(f"{policy}/scaling_cur_freq"), 1e3),
                    min_mhz=_scaled(read(f"{policy}/scaling_min_freq"), 1e3),
                    max_mhz=_scaled(read(f"{policy}/scaling_max_freq"), 1e3),
                    sustained_mhz=sustained,
                    governor=self.files.text(f"{policy}/scaling_governor"),
                )
                for policy, sustained in zip(self.policies, self.sustained_mhz, strict=True)
            ),
        )


def _sustained_mhz(files: SystemFiles, policy: str) -> float | None:
    """Return a policy's frequency without boost where its driver tells it."""
    # intel_pstate tells it in kHz; amd-pstate leaves it to the firmware's table, in MHz.
    base = files.number(f"{policy}/base_frequency")
    if base:
        return base / 1e3
    first = (files.text(f"{policy}/affected_cpus") or "").split()[:1]
    nominal = (
        files.number(f"sys/devices/system/cpu/cpu{first[0]}/acpi_cppc/nominal_freq")
        if first
        else None
    )
    return nominal or None


@dataclass(frozen=True)
class DevfreqSource:
    """Clocks of GPU and memory as the devfreq class has them (Linux, driver-api/devfreq).

    Attributes:
        files: Where they are read.
        devices: Folder and kind of each.
    """

    files: SystemFiles
    devices: tuple[tuple[str, ClockKind], ...]

    @classmethod
    def find(cls, files: SystemFiles) -> DevfreqSource | None:
        """Return the GPU and memory clocks, or None where there are none."""
        devices = []
        for folder in files.find("sys/class/devfreq/*"):
            kind = _devfreq_kind(folder.rpartition("/")[2])
            if kind is not None and files.number(f"{folder}/cur_freq") is not None:
                devices.append((folder, kind))
        return cls(files, tuple(devices)) if devices else None

    def read(self, at_s: float) -> Reading:
        """Return the clocks now."""
        read = self.files.number
        return Reading(
            at_s,
            clocks=tuple(
                Clock(
                    name=folder.rpartition("/")[2],
                    kind=kind,
                    mhz=_scaled(read(f"{folder}/cur_freq"), 1e6),
                    min_mhz=_scaled(read(f"{folder}/min_freq"), 1e6),
                    max_mhz=_scaled(read(f"{folder}/max_freq"), 1e6),
                    governor=self.files.text(f"{folder}/governor"),
                )
                for folder, kind in self.devices
            ),
        )


def _devfreq_kind(name: str) -> ClockKind | None:
    # 17000000.gpu or .ga10b on Orin, gpu-gpc-0 on Thor, whose gpu-nvd-0 drives the video engines.
    if name.endswith((".gpu", ".ga10b", ".gv11b")) or name.startswith("gpu-gpc"):
        return ClockKind.GPU
    # The memory's bandwidth manager of Jetson Linux.
    return ClockKind.MEMORY if name in ("bwmgr", "emc") else None


def _scaled(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor

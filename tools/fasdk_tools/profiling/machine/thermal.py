"""Temperatures, trip points and throttling of a Linux machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.readings import Reading, Temperature, Throttle

if TYPE_CHECKING:
    from fasdk_tools.profiling.machine.files import SystemFiles

# Trip points at which a fan starts are "active" ones.
_LIMITING_TRIPS = ("passive", "hot", "critical")
# Zones that measure a processor. Others measure a radio, a battery or a case, have trip points that
# no processor is slowed at, or report constants.
_PROCESSOR_ZONES = ("cpu", "gpu", "soc", "tj", "cv", "x86_pkg")
_COLDEST_C = -100.0  # a sensor that is switched off reads -256 degrees on Jetson


@dataclass(frozen=True)
class TemperatureSource:
    """Thermal zones of the processors (Linux, driver-api/thermal/sysfs-api).

    Attributes:
        files: Where they are read.
        zones: Folder, type and limiting trip point in degrees Celsius, or None, of each.
    """

    files: SystemFiles
    zones: tuple[tuple[str, str, float | None], ...]

    @classmethod
    def find(cls, files: SystemFiles) -> TemperatureSource | None:
        """Return the zones, or None where there are none."""
        zones = []
        for folder in files.find("sys/class/thermal/thermal_zone*"):
            name = files.text(f"{folder}/type") or ""
            if name.lower().startswith(_PROCESSOR_ZONES):
                zones.append((folder, name, _limit_c(files, folder)))
        return cls(files, tuple(zones)) if zones else None

    def read(self, at_s: float) -> Reading:
        """Return the temperatures now, without those of parts that are switched off."""
        found = []
        for folder, name, limit_c in self.zones:
            millidegrees = self.files.number(f"{folder}/temp")
            if millidegrees is not None and millidegrees / 1e3 > _COLDEST_C:
                found.append(Temperature(name, millidegrees / 1e3, limit_c))
        return Reading(at_s, temperatures=tuple(found))


def _limit_c(files: SystemFiles, folder: str) -> float | None:
    limits = []
    for path in files.find(f"{folder}/trip_point_*_type"):
        temperature = files.number(f"{path.removesuffix('_type')}_temp")
        # A trip point that is switched off reads 0 or -274 degrees.
        if files.text(path) in _LIMITING_TRIPS and temperature is not None and temperature > 0:
            limits.append(temperature / 1e3)
    return min(limits, default=None)


@dataclass(frozen=True)
class ThrottleSource:
    """What says that a processor was slowed.

    Attributes:
        files: Where it is read.
        counters: Name and path of each counter.
        states: Name and path of each state.
    """

    files: SystemFiles
    counters: tuple[tuple[str, str], ...]
    states: tuple[tuple[str, str], ...]

    @classmethod
    def find(cls, files: SystemFiles) -> ThrottleSource | None:
        """Return the counters and states, or None where there are none."""
        counters = [*_over_current_counters(files), *_package_counters(files)]
        states = []
        for folder in files.find("sys/class/thermal/cooling_device*"):
            name = files.text(f"{folder}/type") or ""
            # Fans are cooling devices too.
            if name.endswith("-throttle-alert") or "cpufreq" in name or "devfreq" in name:
                states.append((name, f"{folder}/cur_state"))
        return cls(files, tuple(counters), tuple(states)) if counters or states else None

    def read(self, at_s: float) -> Reading:
        """Return the counters and states now."""
        found = []
        for paths, counts in ((self.counters, True), (self.states, False)):
            for name, path in paths:
                value = self.files.number(path)
                if value is not None:
                    found.append(Throttle(name, int(value), counts))
        return Reading(at_s, throttles=tuple(found))


def _over_current_counters(files: SystemFiles) -> list[tuple[str, str]]:
    """Return the over-current and under-voltage events of a Jetson that slow it."""
    counters = []
    for folder in files.find("sys/class/hwmon/hwmon*"):
        if files.text(f"{folder}/name") != "soctherm_oc":
            continue
        for path in files.find(f"{folder}/oc*_event_cnt"):
            name = path.rpartition("/")[2].removesuffix("_event_cnt")
            if files.number(f"{folder}/{name}_throt_en") != 0:
                counters.append((name, path))
    return counters


def _package_counters(files: SystemFiles) -> list[tuple[str, str]]:
    """Return the thermal throttle events of each x86 package."""
    counters: dict[str, str] = {}
    for path in files.find("sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count"):
        cpu = path.removesuffix("/thermal_throttle/package_throttle_count")
        package = files.text(f"{cpu}/topology/physical_package_id") or "0"
        counters.setdefault(f"package {package} throttle count", path)
    return list(counters.items())

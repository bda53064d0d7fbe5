"""Power rails of a Linux machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.readings import Rail, Reading

if TYPE_CHECKING:
    from fasdk_tools.profiling.machine.files import SystemFiles


@dataclass(frozen=True)
class HwmonRailSource:
    """Rails that a Jetson's power monitors measure (Linux, hwmon/ina3221 and hwmon/ina238).

    Attributes:
        files: Where they are read.
        rails: Name and folder of each, and the number of its channel, or None where the chip gives
            the product itself.
    """

    files: SystemFiles
    rails: tuple[tuple[str, str, int | None], ...]

    @classmethod
    def find(cls, files: SystemFiles) -> HwmonRailSource | None:
        """Return the rails, or None where there are none."""
        rails: list[tuple[str, str, int | None]] = []
        for folder in files.find("sys/class/hwmon/hwmon*"):
            chip = files.text(f"{folder}/name")
            if chip == "ina3221":
                # Channels 4 to 7 are shunt voltages and a sum, not rails.
                for channel in (1, 2, 3):
                    name = files.text(f"{folder}/in{channel}_label")
                    if name and name != "NC":
                        rails.append((name, folder, channel))
            elif chip == "ina238":
                # The input of the AGX Thor developer kit.
                rails.append((files.text(f"{folder}/in1_label") or "VIN", folder, None))
        source = cls(files, tuple(rails))
        return source if source.read(0.0).rails else None

    def read(self, at_s: float) -> Reading:
        """Return the power of each rail now."""
        found = []
        for name, folder, channel in self.rails:
            watts = self._watts(folder, channel)
            if watts is not None:
                found.append(Rail(name, watts=watts))
        return Reading(at_s, rails=tuple(found))

    def _watts(self, folder: str, channel: int | None) -> float | None:
        if channel is None:
            microwatts = self.files.number(f"{folder}/power1_input")
            return None if microwatts is None else microwatts / 1e6
        millivolts = self.files.number(f"{folder}/in{channel}_input")
        milliamperes = self.files.number(f"{folder}/curr{channel}_input")
        if millivolts is None or milliamperes is None:
            return None
        return millivolts * milliamperes / 1e6


@dataclass(frozen=True)
class RaplSource:
    """Energy counters of x86 packages (Linux, power/powercap).

    Attributes:
        files: Where they are read.
        zones: Name, folder and wrap-around energy in joules of each.
    """

    files: SystemFiles
    zones: tuple[tuple[str, str, float | None], ...]

    @classmethod
    def find(cls, files: SystemFiles) -> RaplSource | None:
        """Return the counters that may be read, or None; most systems let root alone read them."""
        zones = []
        for folder in files.find("sys/class/powercap/intel-rapl:*"):
            # intel-rapl:0:0 is a part of intel-rapl:0.
            if folder.count(":") == 1 and files.number(f"{folder}/energy_uj") is not None:
                name = files.text(f"{folder}/name") or folder.rpartition("/")[2]
                wrap_uj = files.number(f"{folder}/max_energy_range_uj")
                zones.append((name, folder, None if wrap_uj is None else wrap_uj / 1e6))
        return cls(files, tuple(zones)) if zones else None

    def read(self, at_s: float) -> Reading:
        """Return the energy of each package so far."""
        found = []
        for name, folder, wraps_at_j in self.zones:
            energy_uj = self.files.number(f"{folder}/energy_uj")
            if energy_uj is not None:
                found.append(Rail(name, joules=energy_uj / 1e6, wraps_at_j=wraps_at_j))
        return Reading(at_s, rails=tuple(found))

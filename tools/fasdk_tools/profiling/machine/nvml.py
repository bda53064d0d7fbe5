"""Clock, temperature, throttling and energy of a desktop GPU, from NVIDIA's management library."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasdk_tools.profiling.machine.readings import (
    Clock,
    ClockKind,
    GpuProcess,
    Rail,
    Reading,
    Temperature,
    Throttle,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# NVML API reference, enums of nvml.h.
_CLOCK_SM = 1
_SENSOR_GPU = 0
_THRESHOLD_SLOWDOWN = 1
_ERROR_NOT_FOUND = 6
_RECENT_S = 1.0  # samples of processes that are older say nothing of this reading
# Clocks event reasons that are faults of power or heat; idle, chosen clocks and others are none.
_THROTTLED_BY = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True, eq=False)
class NvmlSource:
    """One GPU as NVML describes it.

    Attributes:
        library: The module `pynvml` of the package nvidia-ml-py, initialized.
        device: Handle of the GPU.
        name: Name of the GPU.
    """

    library: Any
    device: Any
    name: str

    @classmethod
    def find(cls, library: Any) -> NvmlSource | None:
        """Return the GPU that CUDA takes first, or None where NVML shows none."""
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        try:
            library.nvmlInit()
            if chosen.startswith("GPU-"):
                device = library.nvmlDeviceGetHandleByUUID(chosen)
            else:
                index = int(chosen) if chosen.isdigit() else 0
                device = library.nvmlDeviceGetHandleByIndex(index)
            name = library.nvmlDeviceGetName(device)
        except library.NVMLError:
            return None
        return cls(library, device, name.decode() if isinstance(name, bytes) else str(name))

    def read(self, at_s: float) -> Reading:
        """Return what the GPU tells now; a figure that its driver lacks is left out."""
        library, device = self.library, self.device
        mhz = self._ask(lambda: library.nvmlDeviceGetClockInfo(device, _CLOCK_SM))
        max_mhz = self._ask(lambda: library.nvmlDeviceGetMaxClockInfo(device, _CLOCK_SM))
        celsius = self._ask(lambda: library.nvmlDeviceGetTemperature(device, _SENSOR_GPU))
        limit_c = self._ask(
            lambda: library.nvmlDeviceGetTemperatureThreshold(device, _THRESHOLD_SLOWDOWN)
        )
        reasons = self._ask(lambda: library.nvmlDeviceGetCurrentClocksThrottleReasons(device))
        energy_mj = self._ask(lambda: library.nvmlDeviceGetTotalEnergyConsumption(device))
        power_mw = None
        if energy_mj is None:
            power_mw = self._ask(lambda: library.nvmlDeviceGetPowerUsage(device))
        load = self._ask(lambda: library.nvmlDeviceGetUtilizationRates(device).gpu)
        rail = Rail(
            self.name,
            watts=None if power_mw is None else power_mw / 1e3,
            joules=None if energy_mj is None else energy_mj / 1e3,
        )
        return Reading(
            at_s,
            clocks=()
            if mhz is None
            else (Clock(self.name, ClockKind.GPU, mhz=mhz, max_mhz=max_mhz),),
            temperatures=() if celsius is None else (Temperature(self.name, celsius, limit_c),),
            throttles=()
            if reasons is None
            else tuple(
                Throttle(f"{self.name} {what}", int(bool(int(reasons) & bit)), counts=False)
                for bit, what in _THROTTLED_BY.items()
            ),
            rails=() if energy_mj is None and power_mw is None else (rail,),
            gpu_load=None if load is None else load / 100,
            gpu_neighbors=self._neighbors(),
        )

    def _neighbors(self) -> tuple[GpuProcess, ...] | None:
        """Return the other processes that used the GPU lately.

        None where this process is not among those on the GPU: it runs elsewhere, or in a container
        whose process numbers are not those that the driver tells.
        """
        library, device, own = self.library, self.device, os.getpid()
        try:
            running = library.nvmlDeviceGetComputeRunningProcesses(device)
            if own not in {int(process.pid) for process in running}:
                return None
            since_us = int(1e6 * (time.time() - _RECENT_S))
            samples = library.nvmlDeviceGetProcessUtilization(device, since_us)
        except library.NVMLError as error:
            return () if getattr(error, "value", None) == _ERROR_NOT_FOUND else None
        newest = {int(each.pid): each for each in sorted(samples, key=lambda each: each.timeStamp)}
        return tuple(
            GpuProcess(self._name_of(pid), int(each.smUtil) / 100)
            for pid, each in newest.items()
            if pid != own and int(each.smUtil) > 0
        )

    def _name_of(self, pid: int) -> str:
        try:
            name = self.library.nvmlSystemGetProcessName(pid)
        except self.library.NVMLError:
            return f"process {pid}"
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        return Path(text).name or f"process {pid}"

    def _ask(self, question: Callable[[], Any]) -> float | None:
        try:
            return float(question())
        except self.library.NVMLError:
            return None


def installed_nvml() -> Any | None:
    """Return the module `pynvml` of the package nvidia-ml-py, or None where it is not installed."""
    try:
        return import_module("pynvml")
    except ImportError:
        return None

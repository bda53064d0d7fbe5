"""Trees of proc and sys as machines have them, written file by file.

Names, units and error behavior follow public descriptions; the figures are made up in their range.

- Linux documentation: proc(5), cgroups(7), cpufreq, devfreq, thermal, powercap, hwmon/ina3221.
- Orin Nano: rail VDD_IN on ina3221, soctherm_oc with oc1 to oc3, zones of which cv* cannot be read,
  GPU at devfreq 17000000.gpu, as the Jetson Linux Developer Guide (Platform Power and Performance)
  and tests of rc_hardware_control (jetson_health) show them.
- AGX Thor: zones with a critical trip at 114.5 degrees, gpu-thermal that answers EAGAIN when gated,
  cooling devices *-throttle-alert and devfreq-gpu-gpc-0, hwmon ina238 with power1_input in
  microwatts, as github.com/swsususu/ThorFAN and github.com/rbonghi/jetson_stats/pull/900 describe.
- Lines of tegrastats: formats of JetPack 5 to 7, as in github.com/GDWR/jetson_exporter/issues/14,
  github.com/rbonghi/jetson_stats/issues/624 and published logs of R38.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CORES = 6
_TICKS_PER_S = 100


@dataclass
class MachineTree:
    """A tree that a test changes between readings.

    Attributes:
        root: Folder that stands for /.
        seconds: Time of the machine.
        own_s: Processor seconds of this process so far.
        others_s: Processor seconds of all other processes so far.
    """

    root: Path
    seconds: float = 1000.0
    own_s: float = 10.0
    others_s: float = 500.0

    def write(self, path: str, text: object) -> None:
        """Write one file, the last line ended as the kernel does."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def clock(self) -> float:
        """Return the time of the machine."""
        return self.seconds

    def pass_time(
        self, seconds: float = 0.5, *, own_cores: float = 1.0, others: float = 0.02
    ) -> None:
        """Let time pass.

        Args:
            seconds: How much.
            own_cores: Processors that this process uses meanwhile.
            others: Share of all processors that others use meanwhile.
        """
        self.seconds += seconds
        self.own_s += own_cores * seconds
        self.others_s += others * CORES * seconds
        self.write_times()

    def write_times(self) -> None:
        """Write the processor times."""
        busy = round((self.own_s + self.others_s) * _TICKS_PER_S)
        idle = round(self.seconds * CORES * _TICKS_PER_S) - busy
        cores = "\n".join(f"cpu{core} 0 0 0 0 0 0 0 0 0 0" for core in range(CORES))
        self.write("proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n{cores}\nbtime 1")
        own = round(self.own_s * _TICKS_PER_S)
        others = round(self.others_s * _TICKS_PER_S)
        self.write("proc/self/stat", process_stat(42, "python (fasdk)", own))
        self.write("proc/42/stat", process_stat(42, "python (fasdk)", own))
        self.write("proc/77/stat", process_stat(77, "ffmpeg", others))

    def write_swap(self, used_mib: int, pages_in: int) -> None:
        """Write the use of swap."""
        free = 4096 * 1024 - used_mib * 1024
        self.write(
            "proc/meminfo", f"MemTotal: 8000000 kB\nSwapTotal: 4194304 kB\nSwapFree: {free} kB"
        )
        self.write("proc/vmstat", f"nr_free_pages 1\npswpin {pages_in}\npswpout 5")

    def write_quota(self, throttled: int, *, limit: str = "200000 100000") -> None:
        """Write the quota of the process's control group, of the second hierarchy."""
        folder = "sys/fs/cgroup/door.slice"
        self.write("proc/self/cgroup", "0::/door.slice")
        self.write("sys/fs/cgroup/cgroup.procs", "")
        self.write(f"{folder}/cpu.max", limit)
        self.write(
            f"{folder}/cpu.stat",
            f"usage_usec 1\nnr_periods {1000 + throttled}\nnr_throttled {throttled}\n"
            f"throttled_usec {throttled * 40_000}",
        )

    def write_cpu_clock(
        self, mhz: int, *, low: int, high: int, governor: str, policies: tuple[int, ...] = (0, 4)
    ) -> None:
        """Write the clocks of the processors."""
        for policy in policies:
            folder = f"sys/devices/system/cpu/cpufreq/policy{policy}"
            self.write(f"{folder}/scaling_cur_freq", mhz * 1000)
            self.write(f"{folder}/scaling_min_freq", low * 1000)
            self.write(f"{folder}/scaling_max_freq", high * 1000)
            self.write(f"{folder}/scaling_governor", governor)

    def write_gpu_clock(self, name: str, mhz: int, *, low: int, high: int, governor: str) -> None:
        """Write the clock of a Jetson's GPU."""
        folder = f"sys/class/devfreq/{name}"
        self.write(f"{folder}/cur_freq", mhz * 1_000_000)
        self.write(f"{folder}/min_freq", low * 1_000_000)
        self.write(f"{folder}/max_freq", high * 1_000_000)
        self.write(f"{folder}/governor", governor)

    def write_power_mode(self, name: str) -> None:
        """Write what `nvpmodel -q` prints on a Jetson."""
        self.write("nvpmodel.txt", f"NVPM WARN: fan mode is not set!\nNV Power Mode: {name}\n0")

    def write_zone(self, number: int, name: str, celsius: float | None, trips: str = "") -> None:
        """Write a thermal zone; a gated one has a folder where its temperature should be.

        Args:
            number: Number of the zone.
            name: Type of the zone.
            celsius: Temperature, or None for one that cannot be read.
            trips: Trip points as "passive:99 critical:104.5".
        """
        folder = f"sys/class/thermal/thermal_zone{number}"
        self.write(f"{folder}/type", name)
        if celsius is None:
            (self.root / folder / "temp").mkdir(parents=True, exist_ok=True)
        else:
            self.write(f"{folder}/temp", round(celsius * 1000))
        for index, trip in enumerate(trips.split()):
            kind, _, degrees = trip.partition(":")
            self.write(f"{folder}/trip_point_{index}_type", kind)
            self.write(f"{folder}/trip_point_{index}_temp", round(float(degrees) * 1000))

    def write_rail(self, hwmon: int, channel: int, name: str, watts: float) -> None:
        """Write one channel of an INA3221 at 5 V."""
        folder = f"sys/class/hwmon/hwmon{hwmon}"
        self.write(f"{folder}/name", "ina3221")
        self.write(f"{folder}/in{channel}_label", name)
        self.write(f"{folder}/in{channel}_input", 5000)
        self.write(f"{folder}/curr{channel}_input", round(watts / 5.0 * 1000))


def process_stat(pid: int, name: str, user_ticks: int) -> str:
    """Return the stat file of a process that used so many ticks."""
    return f"{pid} ({name}) R 1 1 1 0 -1 0 0 0 0 0 {user_ticks} 0 0 0 20 0 1 0 1 1 1"


def virtual_machine(root: Path) -> MachineTree:
    """Write a virtual machine: no clocks, no temperatures, no rails."""
    tree = MachineTree(root)
    tree.write_times()
    tree.write_swap(0, 100)
    tree.write_quota(0, limit="max 100000")
    return tree


def desktop(root: Path) -> MachineTree:
    """Write an x86 desktop with a fixed clock, without a GPU of its own."""
    tree = virtual_machine(root)
    tree.write_cpu_clock(4600, low=800, high=5200, governor="performance", policies=(0, 1, 2))
    for policy in (0, 1, 2):
        tree.write(f"sys/devices/system/cpu/cpufreq/policy{policy}/base_frequency", 3_600_000)
        throttle = f"sys/devices/system/cpu/cpu{policy}/thermal_throttle"
        tree.write(f"{throttle}/package_throttle_count", 3)
        tree.write(f"sys/devices/system/cpu/cpu{policy}/topology/physical_package_id", 0)
    tree.write_zone(0, "acpitz", 27.8, "critical:20.8")  # a constant of the firmware
    tree.write_zone(1, "iwlwifi_1", 33.0, "passive:-274")
    tree.write_zone(2, "x86_pkg_temp", 61.0, "passive:0 critical:100")
    tree.write("sys/class/thermal/cooling_device0/type", "Processor")
    tree.write("sys/class/thermal/cooling_device0/cur_state", 0)
    tree.write("sys/class/powercap/intel-rapl:0/name", "package-0")
    tree.write("sys/class/powercap/intel-rapl:0/max_energy_range_uj", 262_143_328_850)
    tree.write("sys/class/powercap/intel-rapl:0/energy_uj", 1_000_000_000)
    tree.write("sys/class/powercap/intel-rapl:0:0/name", "core")
    tree.write("sys/class/powercap/intel-rapl:0:0/energy_uj", 7)
    return tree


def orin_nano(root: Path) -> MachineTree:
    """Write an Orin Nano in mode 15W after jetson_clocks."""
    tree = virtual_machine(root)
    tree.write("proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    tree.write_cpu_clock(1510, low=1510, high=1510, governor="schedutil")
    tree.write_gpu_clock("17000000.gpu", 624, low=624, high=624, governor="nvhost_podgov")
    tree.write_zone(0, "cpu-thermal", 51.2, "passive:99 critical:104.5")
    tree.write_zone(1, "gpu-thermal", 50.1, "passive:99 critical:104.5")
    tree.write_zone(2, "cv0-thermal", None)
    tree.write_zone(3, "tj-thermal", 51.2, "active:35 active:53 passive:99 critical:104.5")
    tree.write("sys/class/thermal/cooling_device0/type", "pwm-fan")
    tree.write("sys/class/thermal/cooling_device0/cur_state", 3)
    tree.write("sys/class/thermal/cooling_device1/type", "gpu-throttle-alert")
    tree.write("sys/class/thermal/cooling_device1/cur_state", 0)
    tree.write("sys/class/hwmon/hwmon0/name", "pwmfan")
    tree.write_rail(1, 1, "VDD_IN", 6.0)
    tree.write_rail(1, 2, "VDD_CPU_GPU_CV", 2.0)
    tree.write_rail(1, 3, "VDD_SOC", 1.5)
    tree.write("sys/class/hwmon/hwmon2/name", "soctherm_oc")
    for number, count in ((1, 0), (2, 15), (3, 37)):
        tree.write(f"sys/class/hwmon/hwmon2/oc{number}_event_cnt", count)
        tree.write(f"sys/class/hwmon/hwmon2/oc{number}_throt_en", 1)
    tree.write_power_mode("15W")
    tree.write("tegrastats.txt", ORIN_NANO_LINE)
    return tree


def agx_thor(root: Path) -> MachineTree:
    """Write an AGX Thor in mode 120W after jetson_clocks, its GPU gated."""
    tree = virtual_machine(root)
    tree.write("proc/device-tree/compatible", "nvidia,p4071-0000+p3834-0008\0nvidia,tegra264\0")
    tree.write_cpu_clock(2601, low=2601, high=2601, governor="schedutil", policies=(0, 2, 4))
    tree.write_gpu_clock("gpu-gpc-0", 1575, low=1575, high=1575, governor="performance")
    tree.write_gpu_clock("gpu-nvd-0", 100, low=100, high=1600, governor="nvhost_podgov")
    tree.write_gpu_clock("bwmgr", 4266, low=665, high=4266, governor="bwmgr")
    for number, name in enumerate(("cpu", "soc012", "soc345", "tj")):
        tree.write_zone(number, f"{name}-thermal", 54.0 + number, "critical:114.5")
    tree.write_zone(4, "gpu-thermal", None, "critical:114.5")
    for number, name in enumerate(
        ("cpufreq-cpu0", "pwm-fan", "gpu-throttle-alert", "devfreq-gpu-gpc-0")
    ):
        tree.write(f"sys/class/thermal/cooling_device{number}/type", name)
        tree.write(f"sys/class/thermal/cooling_device{number}/cur_state", 0)
    tree.write_rail(1, 1, "VDD_GPU", 4.9)
    tree.write_rail(1, 2, "VDD_CPU_SOC_MSS", 8.7)
    tree.write_rail(1, 3, "VIN_SYS_5V0", 6.8)
    tree.write("sys/class/hwmon/hwmon3/name", "ina238")
    tree.write("sys/class/hwmon/hwmon3/power1_input", 25_530_000)
    tree.write("nvpmodel.txt", "NV Power Mode: 120W\n1")
    tree.write("tegrastats.txt", THOR_LINE)
    return tree


ORIN_NANO_LINE = (
    "05-15-2025 18:30:28 RAM 6982/7620MB (lfb 5x1MB) SWAP 2640/16384MB (cached 202MB) "
    "CPU [97%@1984,95%@1984,off,off,88%@1984,93%@247] EMC_FREQ 18%@3199 GR3D_FREQ 84%@[713] "
    "NVENC off APE 174 cv0@63.031C cpu@65.562C gpu@63.5C tj@65.562C "
    "VDD_IN 17946mW/15710mW VDD_CPU_GPU_CV 8896mW/7585mW VDD_SOC 3923mW/3515mW"
)
AGX_ORIN_LINE = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) "
    "CPU [0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C "
    "CPU@44.562C Tboard@32C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW "
    "VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW"
)
THOR_LINE = (
    "07-23-2026 15:29:26 RAM 9101/125811MB (lfb 19x4MB) SWAP 0/2048MB (cached 0MB) "
    "CPU [39%@2160,20%@2160] EMC_FREQ 7%@3200 GR3D_FREQ @[314,314,314] VIC 59%@423 APE 300 "
    "cpu@34.843C/34.843C tj@35.906C/35.906C gpu@35.906C/35.906C VDD_GPU 4925mW/4925mW/4925mW "
    "VDD_CPU_SOC_MSS 8710mW/8710mW/8710mW VIN_SYS_5V0 6767mW/6767mW/6767mW VIN 25530mW/12765mW"
)

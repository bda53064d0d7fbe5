"""Power mode and tegrastats of a Jetson."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fasdk_tools.profiling.machine.readings import Rail, Reading, Temperature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk_tools.profiling.machine.files import SystemFiles

_SECONDS_FOR_ANSWER = 5.0
_SECONDS_BETWEEN_MODES = 1.0
# "VDD_IN 4815mW/4815mW" of JetPack 5 and later, "VDD_IN 3140/3208" of JetPack 4; the first figure
# is the power now, the others are means.
_RAIL = re.compile(r"\b(V[A-Z0-9_]+) (\d+)(?:mW)?/\d+")
# "CPU@44.562C", "tj@35.906C/35.906C" of JetPack 7.
_TEMPERATURE = re.compile(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C\b")
_GPU_LOAD = re.compile(r"\bGR3D_FREQ (\d+)%")
_MEMORY_LOAD = re.compile(r"\bEMC_FREQ (\d+)%")
_POWER_MODE = re.compile(r"^NV Power Mode\s*:\s*(\S+)\s*$", re.MULTILINE)
_COLDEST_C = -100.0


@dataclass(frozen=True)
class TegrastatsLine:
    """One line of tegrastats.

    Attributes:
        rails_w: Power in watts by rail.
        temperatures_c: Degrees Celsius by zone, without sensors that are switched off.
        gpu_load: Share of time the GPU was busy, in [0, 1], or None where the line has none.
        memory_load: Share of the memory's bandwidth that was used, in [0, 1], or None.
    """

    rails_w: dict[str, float]
    temperatures_c: dict[str, float]
    gpu_load: float | None
    memory_load: float | None


def parse_tegrastats(line: str) -> TegrastatsLine:
    """Read one line of tegrastats of JetPack 4 to 7; what it lacks is absent."""
    gpu, memory = _GPU_LOAD.search(line), _MEMORY_LOAD.search(line)
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    return TegrastatsLine(
        rails_w={name: int(milliwatts) / 1e3 for name, milliwatts in _RAIL.findall(line)},
        temperatures_c={name: c for name, c in temperatures.items() if c > _COLDEST_C},
        gpu_load=None if gpu is None else int(gpu[1]) / 100,
        memory_load=None if memory is None else int(memory[1]) / 100,
    )


def parse_power_mode(text: str) -> str | None:
    """Return the name of the power mode from what `nvpmodel -q` prints, or None."""
    found = _POWER_MODE.search(text)
    return None if found is None else found[1].removeprefix("MODE_")


def is_jetson(files: SystemFiles) -> bool:
    """Return whether the machine is a Jetson."""
    compatible = files.text("proc/device-tree/compatible") or ""
    return "nvidia,tegra" in compatible or files.exists("etc/nv_tegra_release")


class Commands(Protocol):
    """Programs of Jetson Linux."""

    def power_mode(self) -> str | None:
        """Return what `nvpmodel -q` prints, or None where there is no answer."""

    def tegrastats(self) -> Iterator[str] | None:
        """Return the lines of tegrastats as they come, or None where there is none."""

    def close(self) -> None:
        """End the programs that still run."""


class InstalledCommands:
    """The programs that are installed.

    Attributes:
        interval_ms: Milliseconds between two lines of tegrastats.
    """

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self._tegrastats: subprocess.Popen[str] | None = None

    def power_mode(self) -> str | None:
        """Return what `nvpmodel -q` prints, or None where there is no answer."""
        program = shutil.which("nvpmodel") or shutil.which("nvpmodel", path="/usr/sbin")
        if program is None:
            return None
        try:
            done = subprocess.run(  # noqa: S603 - a program of the system, by its full path
                [program, "-q"],
                capture_output=True,
                text=True,
                timeout=_SECONDS_FOR_ANSWER,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout

    def tegrastats(self) -> Iterator[str] | None:
        """Return the lines of tegrastats as they come, or None where there is none."""
        program = shutil.which("tegrastats")
        if program is None:
            return None
        try:
            self._tegrastats = subprocess.Popen(  # noqa: S603 - by its full path
                [program, "--interval", str(self.interval_ms)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            return None
        return iter(self._tegrastats.stdout or ())

    def close(self) -> None:
        """End tegrastats."""
        if self._tegrastats is not None:
            self._tegrastats.terminate()
            self._tegrastats.wait(_SECONDS_FOR_ANSWER)
            self._tegrastats = None


@dataclass(frozen=True)
class RecordedCommands:
    """What the programs printed, from the files nvpmodel.txt and tegrastats.txt of a recorded tree.

    Attributes:
        files: The tree.
    """

    files: SystemFiles

    def power_mode(self) -> str | None:
        """Return the text of nvpmodel.txt, or None."""
        return self.files.text("nvpmodel.txt")

    def tegrastats(self) -> Iterator[str] | None:
        """Return the lines of tegrastats.txt, or None."""
        text = self.files.text("tegrastats.txt")
        return None if text is None else iter(text.splitlines())

    def close(self) -> None:
        """Do nothing: no program runs."""


class PowerModeSource:
    """The power mode, asked for once a second at most: each answer takes a process.

    Attributes:
        commands: The programs.
    """

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        self._asked_s = -math.inf

    def read(self, at_s: float) -> Reading:
        """Return the power mode, or nothing within a second of the last answer."""
        if at_s - self._asked_s < _SECONDS_BETWEEN_MODES:
            return Reading(at_s)
        self._asked_s = at_s
        return Reading(at_s, power_mode=parse_power_mode(self.commands.power_mode() or ""))


class TegrastatsSource:
    """The newest line of tegrastats, read by a thread of its own.

    Attributes:
        rails: Whether its rails are wanted; they are left out where the chips can be read.
        temperatures: Whether its temperatures are wanted.
        lines: Number of lines so far.
    """

    def __init__(self, lines: Iterator[str], *, rails: bool, temperatures: bool) -> None:
        self.rails = rails
        self.temperatures = temperatures
        self.lines = 0
        self._newest: TegrastatsLine | None = None
        self._thread = threading.Thread(target=self._follow, args=(lines,), daemon=True)
        self._thread.start()

    def _follow(self, lines: Iterator[str]) -> None:
        for line in lines:
            self._newest = parse_tegrastats(line)
            self.lines += 1

    def wait_until_read(self) -> None:
        """Wait for the end of the lines; those of a running program end with it."""
        self._thread.join()

    def read(self, at_s: float) -> Reading:
        """Return the newest line's figures."""
        line = self._newest
        if line is None:
            return Reading(at_s)
        rails = tuple(Rail(name, watts=watts) for name, watts in line.rails_w.items())
        temperatures = tuple(Temperature(name, c) for name, c in line.temperatures_c.items())
        return Reading(
            at_s,
            rails=rails if self.rails else (),
            temperatures=temperatures if self.temperatures else (),
            gpu_load=line.gpu_load,
            memory_load=line.memory_load,
        )

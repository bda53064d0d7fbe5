"""Readings of recorded trees and program outputs."""

import threading
from types import SimpleNamespace

import pytest

from fasdk_tools.profiling.machine.jetson import parse_power_mode, parse_tegrastats
from fasdk_tools.profiling.machine.monitor import MachineMonitor
from fasdk_tools.profiling.machine.readings import ClockKind

from support import machine_trees


def first_reading(tree, **options):
    return MachineMonitor(tree.root, clock=tree.clock, **options).take()


def test_an_orin_nano_is_read(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    reading = monitor.take()
    record = monitor.record()
    assert record.jetson
    assert record.power_mode == "15W"
    assert record.not_read == ()
    assert {clock.name: (clock.mhz, clock.fixed) for clock in reading.clocks} == {
        "policy0": (1510, True),
        "policy4": (1510, True),
        "17000000.gpu": (624, True),
    }
    # The trip points of the fan are not those at which the processor is slowed.
    assert {zone.name: (zone.celsius, zone.limit_c) for zone in reading.temperatures} == {
        "cpu-thermal": (51.2, 99),
        "gpu-thermal": (50.1, 99),
        "tj-thermal": (51.2, 99),
    }
    assert {rail.name: rail.watts for rail in reading.rails} == pytest.approx(
        {"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 2.0, "VDD_SOC": 1.5}
    )
    assert {throttle.name: throttle.value for throttle in reading.throttles} == {
        "oc1": 0,
        "oc2": 15,
        "oc3": 37,
        "gpu-throttle-alert": 0,
    }


def test_a_thor_is_read(tmp_path):
    tree = machine_trees.agx_thor(tmp_path)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    reading = monitor.take()
    assert monitor.record().power_mode == "120W"
    assert [clock.name for clock in reading.clocks if clock.kind is ClockKind.GPU] == ["gpu-gpc-0"]
    assert [clock.name for clock in reading.clocks if clock.kind is ClockKind.MEMORY] == ["bwmgr"]
    assert [zone.name for zone in reading.temperatures] == [
        "cpu-thermal",
        "soc012-thermal",
        "soc345-thermal",
        "tj-thermal",
    ]
    assert {rail.name: rail.watts for rail in reading.rails}["VIN"] == pytest.approx(25.53)


def test_a_desktop_is_read(tmp_path):
    reading = first_reading(machine_trees.desktop(tmp_path))
    assert [zone.name for zone in reading.temperatures] == ["x86_pkg_temp"]
    assert [(rail.name, rail.joules) for rail in reading.rails] == [("package-0", 1000.0)]
    assert reading.clocks[0].sustained_mhz == 3600
    # Three processors of one package share its counter.
    assert [throttle.name for throttle in reading.throttles] == ["package 0 throttle count"]


def test_rails_and_temperatures_of_tegrastats_stand_in_where_sysfs_has_none(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    tree.write("etc/nv_tegra_release", "# R35")
    tree.write("tegrastats.txt", machine_trees.AGX_ORIN_LINE)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    monitor.sources.tegrastats.wait_until_read()
    reading = monitor.take()
    assert {rail.name: rail.watts for rail in reading.rails}["VDD_GPU_SOC"] == 2.34
    assert {zone.name: zone.celsius for zone in reading.temperatures} == {
        "CPU": 44.562,
        "Tboard": 32,
        "tj": 44.343,
    }
    assert [lack.what.name for lack in monitor.record().not_read] == [
        "CPU_CLOCK",
        "GPU_CLOCK",
        "THROTTLING",
        "POWER_MODE",
    ]


def test_a_line_of_an_orin_nano():
    line = parse_tegrastats(machine_trees.ORIN_NANO_LINE)
    assert line.rails_w == {"VDD_IN": 17.946, "VDD_CPU_GPU_CV": 8.896, "VDD_SOC": 3.923}
    assert line.temperatures_c == {"cv0": 63.031, "cpu": 65.562, "gpu": 63.5, "tj": 65.562}
    assert (line.gpu_load, line.memory_load) == (0.84, 0.18)


def test_a_line_of_an_agx_orin_leaves_out_what_is_switched_off():
    line = parse_tegrastats(machine_trees.AGX_ORIN_LINE)
    assert line.rails_w == {
        "VDD_GPU_SOC": 2.34,
        "VDD_CPU_CV": 0.39,
        "VIN_SYS_5V0": 4.025,
        "VDDQ_VDD2_1V8AO": 0.301,
    }
    assert line.temperatures_c == {"CPU": 44.562, "Tboard": 32.0, "tj": 44.343}


def test_a_line_of_a_thor_has_three_figures_a_rail_and_no_gpu_load():
    line = parse_tegrastats(machine_trees.THOR_LINE)
    assert line.rails_w == {
        "VDD_GPU": 4.925,
        "VDD_CPU_SOC_MSS": 8.71,
        "VIN_SYS_5V0": 6.767,
        "VIN": 25.53,
    }
    assert line.temperatures_c == {"cpu": 34.843, "tj": 35.906, "gpu": 35.906}
    assert (line.gpu_load, line.memory_load) == (None, 0.07)


@pytest.mark.parametrize("line", ["", "tegrastats: error", "RAM 1/2MB CPU [x] tj@hotC VDD_IN mW"])
def test_a_line_that_is_none_has_nothing(line):
    assert parse_tegrastats(line) == parse_tegrastats("")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_15W\n0", "15W"),
        ("NVPM ERROR: no such file", None),
        ("", None),
    ],
)
def test_the_power_mode(text, mode):
    assert parse_power_mode(text) == mode


class NvmlError(Exception):
    pass


def refuse(*_):
    raise NvmlError


def fake_nvml(gpus=1):
    """Return a stand-in for the module pynvml with one GPU, slowed by heat, or none."""
    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=(lambda: None) if gpus else refuse,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: b"RTX",
        nvmlDeviceGetClockInfo=lambda _, clock: {1: 1200}[clock],
        nvmlDeviceGetMaxClockInfo=lambda _, clock: {1: 2100}[clock],
        nvmlDeviceGetTemperature=lambda _, sensor: {0: 70}[sensor],
        nvmlDeviceGetTemperatureThreshold=lambda _, threshold: {1: 93}[threshold],
        # Idle and software thermal slowdown.
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda _: 0x1 | 0x20,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: 5000,
        nvmlDeviceGetUtilizationRates=refuse,
        nvmlDeviceGetComputeRunningProcesses=refuse,
    )


def test_a_desktop_gpu_is_read(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    reading = first_reading(machine_trees.virtual_machine(tmp_path), nvml=fake_nvml())
    assert [(clock.mhz, clock.max_mhz) for clock in reading.clocks] == [(1200, 2100)]
    assert [(zone.celsius, zone.limit_c) for zone in reading.temperatures] == [(70, 93)]
    assert [throttle.name for throttle in reading.throttles if throttle.value] == [
        "RTX software thermal slowdown"
    ]
    assert [rail.joules for rail in reading.rails] == [5.0]
    assert reading.gpu_load is None


@pytest.mark.parametrize(
    ("driver", "nvml", "why"),
    [
        (False, None, "no NVIDIA driver is loaded"),
        (True, None, "nvidia-ml-py is not installed: pip install nvidia-ml-py"),
        (True, fake_nvml(gpus=0), "the management library (NVML) shows no GPU"),
    ],
)
def test_why_no_gpu_was_read(driver, nvml, why, tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    if driver:
        tree.write("proc/driver/nvidia/version", "NVRM")
    monitor = MachineMonitor(tree.root, clock=tree.clock, nvml=nvml)
    assert [lack.why for lack in monitor.sources.not_read if lack.what.name == "GPU_CLOCK"] == [why]


def test_this_machine_is_read_beside_a_block():
    monitor = MachineMonitor(interval_s=0.01)
    taken = threading.Event()
    take = monitor.take

    def take_and_tell():
        reading = take()
        if threading.current_thread() is not threading.main_thread():
            taken.set()
        return reading

    monitor.take = take_and_tell
    with monitor.running():
        assert taken.wait(30)
    monitor.close()
    record = monitor.record()
    assert len(record.readings) >= 3
    assert record.readings[-1].cpu.own_s >= record.readings[0].cpu.own_s > 0
    assert record.readings[-1].cpu.busy_s >= record.readings[0].cpu.busy_s
    assert 0 < record.sampler_cpu_s < record.readings[-1].cpu.own_s


def test_a_part_of_a_record_covers_the_time(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    for _ in range(5):
        monitor.take()
        tree.pass_time(1.0)
    part = monitor.record().between(1001.5, 1002.5)
    assert [reading.at_s for reading in part.readings] == [1001, 1002, 1003]

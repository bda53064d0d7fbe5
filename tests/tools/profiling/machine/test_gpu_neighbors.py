"""Other processes on the GPU, and a power mode that changes: named where they can be told."""

# ruff: noqa: N802 - names of pynvml

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from fasdk_tools.profiling.machine.monitor import MachineMonitor
from fasdk_tools.profiling.machine.reasons import Trouble
from fasdk_tools.profiling.machine.verdict import judge

from support import machine_trees


class NvmlError(Exception):
    def __init__(self, value):
        super().__init__(value)
        self.value = value


OWN = os.getpid()
NOT_FOUND, NOT_SUPPORTED = NvmlError(6), NvmlError(3)


class FakeNvml:
    """The module pynvml with one GPU that tells nothing but its processes.

    Args:
        used: Per cent of the GPU by process number, of a reading; or the error that is raised.
        running: Numbers of the processes with a context.
    """

    NVMLError = NvmlError

    def __init__(self, used, running=(OWN, 700)):
        self.used, self.running = used, running

    def __getattr__(self, name):
        def refuse(*_):
            raise NOT_SUPPORTED

        if not name.startswith("nvml"):
            raise AttributeError(name)
        return refuse

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, _):
        return "RTX"

    def nvmlDeviceGetComputeRunningProcesses(self, _):
        return [SimpleNamespace(pid=pid) for pid in self.running]

    def nvmlDeviceGetProcessUtilization(self, _, since_us):
        assert since_us > 1e15  # microseconds since 1970
        if isinstance(self.used, Exception):
            raise self.used
        older = [SimpleNamespace(pid=pid, timeStamp=1, smUtil=99) for pid in self.used]
        newest = [SimpleNamespace(pid=p, timeStamp=2, smUtil=u) for p, u in self.used.items()]
        return newest + older

    def nvmlSystemGetProcessName(self, pid):
        if pid == 700:
            return b"/usr/bin/detector"
        raise NOT_FOUND


def watched(tree, nvml=None, change=lambda _: None):
    monitor = MachineMonitor(tree.root, clock=tree.clock, nvml=nvml)
    monitor.take()
    for step in range(10):
        tree.pass_time()
        change(step)
        monitor.take()
    return judge(monitor.record())


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return machine_trees.virtual_machine(tmp_path)


def test_another_process_on_the_gpu_is_named_with_its_share(tree):
    (reason,) = watched(tree, FakeNvml({os.getpid(): 60, 700: 35, 900: 2})).reasons
    assert reason.trouble is Trouble.NOISY_NEIGHBOR
    assert "used 37% of the GPU, 37% at most (detector 35%, process 900 2%)" in reason.measured


def test_bursts_on_the_gpu_are_named_and_their_mean_need_not_be_high(tree):
    nvml = FakeNvml(NOT_FOUND)

    def burst(step):
        nvml.used = {700: 80} if step == 5 else NOT_FOUND

    (reason,) = watched(tree, nvml, burst).reasons
    assert "80% at most" in reason.measured


@pytest.mark.parametrize("used", [{os.getpid(): 95}, {700: 5}, {700: 0}, NOT_FOUND])
def test_our_own_use_and_a_little_of_others_are_no_reason(tree, used):
    verdict = watched(tree, FakeNvml(used))
    assert verdict.trusted, verdict.reasons
    assert "GPU_NEIGHBORS" not in {lack.what.name for lack in verdict.not_read}


@pytest.mark.parametrize(
    ("used", "running"), [({700: 90}, (700,)), (NOT_SUPPORTED, (os.getpid(), 700))]
)
def test_what_cannot_be_told_is_said_and_no_reason(tree, used, running):
    verdict = watched(tree, FakeNvml(used, running))
    assert verdict.trusted, verdict.reasons
    assert "GPU_NEIGHBORS" in {lack.what.name for lack in verdict.not_read}


@pytest.mark.parametrize("machine", [machine_trees.orin_nano, machine_trees.agx_thor])
def test_a_power_mode_that_changes_and_comes_back_is_named(machine, tmp_path):
    tree = machine(tmp_path)
    tree.write_power_mode("MODE_30W")

    def change(step):
        tree.write_power_mode("MODE_15W" if 3 <= step < 7 else "MODE_30W")

    (reason,) = watched(tree, change=change).reasons
    assert reason.trouble is Trouble.POWER_MODE
    assert reason.measured == "the power mode changed 2 times (from 30W to 15W, from 15W to 30W)"


def test_the_power_mode_is_asked_for_once_a_second(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    modes = []
    for _ in range(5):
        modes.append(monitor.take().power_mode)
        tree.pass_time(0.5)
    assert modes == ["15W", None, "15W", None, "15W"]


def test_a_power_mode_that_is_not_answered_for_is_no_change(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)

    def change(step):
        if step % 4 == 1:
            tree.write("nvpmodel.txt", "nvpmodel: another instance is running")
        else:
            tree.write_power_mode("15W")

    assert watched(tree, change=change).trusted

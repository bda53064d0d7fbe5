"""Planted troubles of a machine are named, and nothing else is."""

import pytest

from fasdk_tools.profiling.machine.monitor import MachineMonitor
from fasdk_tools.profiling.machine.reasons import Trouble
from fasdk_tools.profiling.machine.verdict import judge

from support import machine_trees

CLEAN = [
    machine_trees.virtual_machine,
    machine_trees.desktop,
    machine_trees.orin_nano,
    machine_trees.agx_thor,
]


def watch(tree, *, between=lambda _: None, readings=10, **passing):
    """Return the record of readings half a second apart, with a change before each."""
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    monitor.take()
    for step in range(readings):
        tree.pass_time(**passing)
        between(step)
        monitor.take()
    return monitor.record()


def troubles(record):
    return [reason.trouble for reason in judge(record).reasons]


@pytest.mark.parametrize("machine", CLEAN, ids=lambda machine: machine.__name__)
def test_a_clean_run_is_trusted(machine, tmp_path):
    verdict = judge(watch(machine(tmp_path)))
    assert verdict.trusted, verdict.reasons


def test_what_a_virtual_machine_hides_is_said_and_no_reason(tmp_path):
    verdict = judge(watch(machine_trees.virtual_machine(tmp_path)))
    assert verdict.trusted
    missing = {lack.what.name for lack in verdict.not_read}
    assert missing == {"CPU_CLOCK", "GPU_CLOCK", "TEMPERATURE", "THROTTLING", "POWER"}


def test_an_empty_tree_is_not_trusted(tmp_path):
    assert troubles(MachineMonitor(tmp_path).record()) == [Trouble.NOT_SAMPLED]


def test_a_reading_that_is_missing_for_long_is_named(tmp_path):
    record = watch(machine_trees.virtual_machine(tmp_path), seconds=4.0)
    assert troubles(record) == [Trouble.NOT_SAMPLED]


def test_a_governor_that_lets_the_processor_clock_change_is_named(tmp_path):
    tree = machine_trees.desktop(tmp_path)
    tree.write_cpu_clock(4600, low=800, high=5200, governor="powersave", policies=(0, 1, 2))
    verdict = judge(watch(tree))
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.GOVERNOR]
    assert "powersave, 800 to 5200 MHz" in verdict.reasons[0].measured
    assert "cpupower" in verdict.reasons[0].action


def test_a_governor_that_lets_a_jetsons_gpu_clock_change_is_named(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    tree.write_gpu_clock("17000000.gpu", 306, low=306, high=624, governor="nvhost_podgov")
    verdict = judge(watch(tree))
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.GOVERNOR]
    assert "GPU clock 17000000.gpu free" in verdict.reasons[0].measured
    assert "jetson_clocks" in verdict.reasons[0].action


def test_a_quota_that_stopped_the_process_is_named(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    tree.write_quota(5)
    record = watch(tree, between=lambda step: tree.write_quota(5 + step))
    verdict = judge(record)
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.QUOTA]
    assert "quota of 2 processors in 9 of 9 periods, 0.36 s" in verdict.reasons[0].measured


def test_a_quota_that_did_not_stop_the_process_is_no_reason(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    tree.write_quota(5)
    assert troubles(watch(tree)) == []


def test_a_quota_of_the_first_hierarchy_is_read(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/ab"
    tree.write("proc/self/cgroup", "4:cpu,cpuacct:/docker/ab\n0::/")
    tree.write("sys/fs/cgroup/cpu,cpuacct/cgroup.procs", "")
    tree.write(f"{folder}/cpu.cfs_quota_us", 150_000)
    tree.write(f"{folder}/cpu.cfs_period_us", 100_000)

    def throttle(step):
        tree.write(
            f"{folder}/cpu.stat",
            f"nr_periods {step}\nnr_throttled {step}\nthrottled_time {step * 10**8}",
        )

    throttle(0)
    verdict = judge(watch(tree, between=throttle))
    assert "quota of 1.5 processors in 9 of 9 periods, 0.90 s" in verdict.reasons[0].measured


@pytest.mark.parametrize("mhz", [3500, 3000])
def test_a_processor_clock_below_its_sustained_frequency_is_named(mhz, tmp_path):
    tree = machine_trees.desktop(tmp_path)
    tree.write_cpu_clock(mhz, low=800, high=5200, governor="performance", policies=(0, 1, 2))
    # 3,600 MHz is what all cores hold; boosting less is no fault.
    expected = [Trouble.SLOW_CLOCK] if mhz == 3000 else []
    assert troubles(watch(tree)) == expected


def test_a_processor_clock_that_rests_without_work_is_no_reason(tmp_path):
    tree = machine_trees.desktop(tmp_path)
    tree.write_cpu_clock(800, low=800, high=5200, governor="performance", policies=(0, 1, 2))
    assert troubles(watch(tree, own_cores=0.05)) == []


def test_a_slow_clock_of_a_locked_jetson_is_named(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    tree.write_gpu_clock("17000000.gpu", 510, low=624, high=624, governor="nvhost_podgov")
    verdict = judge(watch(tree))
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.SLOW_CLOCK]
    assert "510 MHz of 624 MHz in the median reading (82%)" in verdict.reasons[0].measured


def test_an_over_current_event_is_named(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    record = watch(
        tree, between=lambda step: tree.write("sys/class/hwmon/hwmon2/oc3_event_cnt", 37 + step)
    )
    verdict = judge(record)
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.THROTTLED]
    assert verdict.reasons[0].measured == "oc3 counted 9 events in 5 s"


def test_an_over_current_event_that_does_not_throttle_is_no_reason(tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    tree.write("sys/class/hwmon/hwmon2/oc3_throt_en", 0)
    record = watch(
        tree, between=lambda step: tree.write("sys/class/hwmon/hwmon2/oc3_event_cnt", 37 + step)
    )
    assert troubles(record) == []


def test_a_throttle_alert_of_a_few_readings_is_named(tmp_path):
    tree = machine_trees.agx_thor(tmp_path)
    state = "sys/class/thermal/cooling_device2/cur_state"
    record = watch(tree, between=lambda step: tree.write(state, int(step in (4, 5))))
    verdict = judge(record)
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.THROTTLED]
    assert verdict.reasons[0].measured == "gpu-throttle-alert was active in 2 of 11 readings"


def test_a_package_throttle_event_is_named(tmp_path):
    tree = machine_trees.desktop(tmp_path)
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    verdict = judge(watch(tree, between=lambda step: tree.write(count, 3 + step)))
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.THROTTLED]
    assert "package 0 throttle count counted 9 events" in verdict.reasons[0].measured


@pytest.mark.parametrize(("celsius", "expected"), [(93.9, []), (94.0, [Trouble.HOT])])
def test_a_temperature_near_the_trip_point_is_named(celsius, expected, tmp_path):
    tree = machine_trees.orin_nano(tmp_path)
    trips = "active:35 passive:99 critical:104.5"
    record = watch(tree, between=lambda _: tree.write_zone(3, "tj-thermal", celsius, trips))
    assert troubles(record) == expected


def test_pages_read_back_from_swap_are_named(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    record = watch(tree, between=lambda step: tree.write_swap(300, 100 + 50 * step))
    verdict = judge(record)
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.SWAP]
    assert verdict.reasons[0].measured == (
        "450 pages read back from swap in 5 s, 300 MiB swapped out"
    )


def test_swap_that_is_used_but_not_read_is_no_reason(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    tree.write_swap(3000, 100_000)
    assert troubles(watch(tree)) == []


def test_load_of_other_processes_is_named_with_the_busiest(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    record = watch(tree, others=0.25)
    verdict = judge(record)
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.NOISY_NEIGHBOR]
    assert verdict.reasons[0].measured.startswith("other processes used 25% of all processors")


def test_a_burst_of_other_processes_is_named(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)

    def burst(step):
        if step % 10 == 3:
            tree.others_s += 2.7  # of 3 processor seconds
            tree.write_times()

    verdict = judge(watch(tree, between=burst, readings=40, others=0.0))
    assert [reason.trouble for reason in verdict.reasons] == [Trouble.NOISY_NEIGHBOR]


def test_own_load_and_that_of_own_children_is_no_neighbor(tmp_path):
    tree = machine_trees.virtual_machine(tmp_path)
    tree.write("proc/42/task/42/children", "43")

    def child_works(step):
        ticks = 200 * (step + 1)
        tree.write("proc/43/stat", machine_trees.process_stat(43, "child", ticks))

    # The child uses 4 of 6 processors, which the tree counts as load of others.
    record = watch(tree, between=child_works, others=4 / 6)
    assert troubles(record) == []


@pytest.mark.parametrize(("share", "expected"), [(0.2, []), (0.21, [Trouble.REFORMATS])])
def test_an_engine_that_reformats_much_is_named(share, expected, tmp_path):
    record = watch(machine_trees.virtual_machine(tmp_path))
    verdict = judge(record, reformat_share=share)
    assert [reason.trouble for reason in verdict.reasons] == expected

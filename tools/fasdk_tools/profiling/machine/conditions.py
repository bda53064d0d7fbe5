"""Troubles of the machine, found in its record."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from fasdk_tools.profiling.machine.readings import ClockKind
from fasdk_tools.profiling.machine.reasons import Limits, MeasurementReason, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fasdk_tools.profiling.machine.monitor import MachineRecord
    from fasdk_tools.profiling.machine.readings import Clock, Reading

_SHORTEST_INTERVAL_S = 0.2  # processor times are kept in ticks of 10 ms


def machine_troubles(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    """Yield what was wrong with the machine while it was recorded."""
    yield from _not_sampled(record, limits)
    if len(record.readings) >= 2:
        yield from _governor(record)
        yield from _quota(record)
        yield from _slow_clock(record, limits)
        yield from _throttled(record)
        yield from _hot(record, limits)
        yield from _swap(record, limits)
        yield from _power_mode(record)
        yield from _noisy_neighbor(record, limits)
        yield from _gpu_neighbor(record, limits)


def _not_sampled(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    times = [reading.at_s for reading in record.readings]
    gap_s = max((after - before for before, after in pairwise(times)), default=float("inf"))
    if len(times) < 2 or all(reading.cpu is None for reading in record.readings):
        yield MeasurementReason(
            Trouble.NOT_SAMPLED,
            "the load of the machine could not be read",
            "measure where /proc/stat and /proc/self/stat can be read",
        )
    elif gap_s > limits.longest_gap_s:
        yield MeasurementReason(
            Trouble.NOT_SAMPLED,
            f"no reading of the machine for {gap_s:.1f} s (at most {limits.longest_gap_s:g} s)",
            "leave a processor free of other work, and measure again",
        )


def _governor(record: MachineRecord) -> Iterator[MeasurementReason]:
    for kind in (ClockKind.CPU, ClockKind.GPU):
        free: dict[str, Clock] = {}
        for clock in _clocks(record, kind):
            if clock.governor not in (None, "userspace") and not clock.fixed:
                free.setdefault(clock.name, clock)
        if not free:
            continue
        ranges = {f"{_mhz(clock.min_mhz)} to {_mhz(clock.max_mhz)}" for clock in free.values()}
        governors = "/".join(sorted({str(clock.governor) for clock in free.values()}))
        names = ", ".join(free)
        if record.jetson:
            action = "run `sudo jetson_clocks`"
        elif kind is ClockKind.CPU:
            action = "run `sudo cpupower frequency-set -g performance`"
        else:
            action = "set the device's devfreq governor to performance"
        yield MeasurementReason(
            Trouble.GOVERNOR,
            f"{kind.value.upper()} clock {names} free by governor {governors}, "
            f"{', '.join(sorted(ranges))} MHz",
            action,
        )


def _quota(record: MachineRecord) -> Iterator[MeasurementReason]:
    before = {quota.name: quota for quota in record.readings[0].quotas}
    for quota in record.readings[-1].quotas:
        since = before.get(quota.name)
        stopped = quota.throttled_periods - (since.throttled_periods if since else 0)
        if stopped > 0:
            periods = quota.periods - (since.periods if since else 0)
            seconds = quota.throttled_s - (since.throttled_s if since else 0.0)
            yield MeasurementReason(
                Trouble.QUOTA,
                f"stopped by the quota of {quota.cores:g} processors in {stopped} of {periods} "
                f"periods, {seconds:.2f} s in all",
                "raise the limit (docker --cpus, CPUQuota= of systemd, limits.cpu of Kubernetes) "
                "or use fewer threads",
            )


def _slow_clock(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    for kind in (ClockKind.CPU, ClockKind.GPU):
        targets: dict[str, float] = {}
        for clock in _clocks(record, kind):
            if clock.max_mhz is not None:
                targets[clock.name] = max(targets.get(clock.name, 0.0), clock.max_mhz)
        shares = []
        for before, after in pairwise(record.readings):
            # A clock that is free to fall may rest with its processor: the fastest one counts, and
            # only while this process has work for it.
            busy = kind is ClockKind.CPU and _own_cores(before, after) >= limits.busy_cores
            judged = [
                (clock, clock.mhz / _target(clock, targets))
                for clock in after.clocks
                if clock.kind is kind
                and clock.mhz is not None
                and clock.name in targets
                and (busy or _held(clock))
            ]
            if judged:
                shares.append(max(judged, key=lambda pair: pair[1]))
        if shares and median(share for _, share in shares) < limits.slow_clock:
            clock, share = sorted(shares, key=lambda pair: pair[1])[len(shares) // 2]
            yield MeasurementReason(
                Trouble.SLOW_CLOCK,
                f"{kind.value.upper()} clock {clock.name} at {_mhz(clock.mhz)} MHz of "
                f"{_mhz(_target(clock, targets))} MHz in the median reading ({share:.0%})",
                "look for heat, a weak power supply or a limit of the firmware, and measure again",
            )


def _held(clock: Clock) -> bool:
    """Return whether a clock must not fall even without work."""
    locked = clock.min_mhz is not None and clock.min_mhz == clock.max_mhz
    return locked or (clock.kind is ClockKind.GPU and clock.fixed)


def _target(clock: Clock, highest_mhz: dict[str, float]) -> float:
    highest = highest_mhz[clock.name]
    return min(clock.sustained_mhz or highest, highest)


def _throttled(record: MachineRecord) -> Iterator[MeasurementReason]:
    before = {throttle.name: throttle.value for throttle in record.readings[0].throttles}
    for throttle in record.readings[-1].throttles:
        events = throttle.value - before.get(throttle.name, 0)
        if throttle.counts and events > 0:
            yield MeasurementReason(
                Trouble.THROTTLED,
                f"{throttle.name} counted {events} events in {record.seconds:.0f} s",
                "use a stronger power supply or a lower power mode (`nvpmodel`)"
                if throttle.name.startswith("oc")
                else "cool the machine",
            )
    slowed: dict[str, int] = {}
    for reading in record.readings:
        for throttle in reading.throttles:
            if not throttle.counts and throttle.value > 0:
                slowed[throttle.name] = slowed.get(throttle.name, 0) + 1
    for name, count in slowed.items():
        yield MeasurementReason(
            Trouble.THROTTLED,
            f"{name} was active in {count} of {len(record.readings)} readings",
            "cool the machine, or choose a power limit that it can hold",
        )


def _hot(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    worst = None
    for reading in record.readings:
        for zone in reading.temperatures:
            if zone.limit_c is not None:
                margin_c = zone.limit_c - zone.celsius
                if worst is None or margin_c < worst[0]:
                    worst = (margin_c, zone)
    if worst is not None and worst[0] <= limits.near_trip_c:
        zone = worst[1]
        yield MeasurementReason(
            Trouble.HOT,
            f"{zone.name} reached {zone.celsius:.1f} °C; the machine slows down at "
            f"{zone.limit_c:.1f} °C",
            "cool the machine: fan, airflow, heat sink",
        )


def _swap(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    first, last = record.readings[0].swap, record.readings[-1].swap
    if first is None or last is None or record.seconds <= 0:
        return
    pages = last.pages_in - first.pages_in
    if pages / record.seconds > limits.swap_in_pages_per_s:
        yield MeasurementReason(
            Trouble.SWAP,
            f"{pages} pages read back from swap in {record.seconds:.0f} s, "
            f"{last.used_mib:.0f} MiB swapped out",
            "end other programs or add memory",
        )


def _noisy_neighbor(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    loads = [
        load
        for before, after in pairwise(_spaced(record.readings))
        if (load := _other_load(before, after)) is not None
    ]
    mean = _other_load(record.readings[0], record.readings[-1])
    if mean is None or not loads:
        return
    bursts = sum(load > limits.burst_load for load in loads) / len(loads)
    if mean > limits.other_load or bursts > limits.burst_share:
        who = ", ".join(f"{process.name} {process.seconds:.1f} s" for process in record.busiest)
        yield MeasurementReason(
            Trouble.NOISY_NEIGHBOR,
            f"other processes used {mean:.0%} of all processors, {max(loads):.0%} at most"
            + (f" ({who})" if who else ""),
            "end or pin them, and measure again",
        )


def _power_mode(record: MachineRecord) -> Iterator[MeasurementReason]:
    modes = [reading.power_mode for reading in record.readings if reading.power_mode is not None]
    changes = [pair for pair in pairwise(modes) if pair[0] != pair[1]]
    if changes:
        told = ", ".join(f"from {before} to {after}" for before, after in changes[:3])
        yield MeasurementReason(
            Trouble.POWER_MODE,
            f"the power mode changed {len(changes)} times ({told})",
            "let nothing call `nvpmodel` meanwhile, and measure again",
        )


def _gpu_neighbor(record: MachineRecord, limits: Limits) -> Iterator[MeasurementReason]:
    told = [each.gpu_neighbors for each in record.readings if each.gpu_neighbors is not None]
    if not told:
        return
    loads = [min(1.0, sum(process.load for process in each)) for each in told]
    mean = sum(loads) / len(loads)
    bursts = sum(load > limits.burst_load for load in loads) / len(loads)
    if mean > limits.other_load or bursts > limits.burst_share:
        most: dict[str, float] = {}
        for process in (process for each in told for process in each):
            most[process.name] = max(most.get(process.name, 0.0), process.load)
        busiest = sorted(most, key=lambda name: -most[name])[:3]
        who = ", ".join(f"{name} {most[name]:.0%}" for name in busiest)
        yield MeasurementReason(
            Trouble.NOISY_NEIGHBOR,
            f"other processes used {mean:.0%} of the GPU, {max(loads):.0%} at most ({who})",
            "end them or move them to another GPU, and measure again",
        )


def _spaced(readings: Sequence[Reading]) -> list[Reading]:
    """Return readings that are far enough apart for their processor times to be compared."""
    kept = [readings[0]]
    for reading in readings[1:]:
        if reading.at_s - kept[-1].at_s >= _SHORTEST_INTERVAL_S:
            kept.append(reading)
    return kept


def _other_load(before: Reading, after: Reading) -> float | None:
    """Return the share of all processors that other processes used between two readings."""
    if before.cpu is None or after.cpu is None or after.at_s <= before.at_s:
        return None
    busy_s = after.cpu.busy_s - before.cpu.busy_s
    own_s = after.cpu.own_s - before.cpu.own_s
    share = (busy_s - own_s) / (after.at_s - before.at_s) / after.cpu.cores
    return min(max(share, 0.0), 1.0)


def _own_cores(before: Reading, after: Reading) -> float:
    if before.cpu is None or after.cpu is None or after.at_s <= before.at_s:
        return 0.0
    return (after.cpu.own_s - before.cpu.own_s) / (after.at_s - before.at_s)


def _clocks(record: MachineRecord, kind: ClockKind) -> Iterator[Clock]:
    for reading in record.readings:
        yield from (clock for clock in reading.clocks if clock.kind is kind)


def _mhz(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"

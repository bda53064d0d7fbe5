"""Troubles of a measurement, planted one at a time, and what the verdict names.

    PYTHONPATH=tests python -m support.profile_troubles [--seconds 5]

prints one JSON document. Troubles of clocks, heat, current, swap and quotas are planted in trees of
files; a noisy neighbor also as processes of this machine, for some seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fasdk_tools.profiling.load import Load
from fasdk_tools.profiling.machine.monitor import MachineMonitor, MachineRecord
from fasdk_tools.profiling.machine.reasons import Trouble
from fasdk_tools.profiling.machine.verdict import MeasurementVerdict, judge
from fasdk_tools.profiling.samples import Samples

from support import machine_trees
from support.machine_trees import MachineTree

_READINGS = 20
# Calls between two changes: no three windows of 50 or 100 calls agree, and seven blocks of 600
# calls rise no more than they fall.
_BLOCK = 86
_MACHINES = (
    machine_trees.virtual_machine,
    machine_trees.desktop,
    machine_trees.orin_nano,
    machine_trees.agx_thor,
)
_OC3 = "sys/class/hwmon/hwmon2/oc3_event_cnt"
_BUSY = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"


def record_of(
    tree: MachineTree, change: Callable[[int], None] = lambda _: None, others: float = 0.02
) -> MachineRecord:
    """Return readings half a second apart, with a change before each."""
    monitor = MachineMonitor(tree.root, clock=tree.clock)
    monitor.take()
    for step in range(_READINGS):
        tree.pass_time(others=others)
        change(step)
        monitor.take()
    return monitor.record()


def calls(*, rise: float = 1.0, wake_up: float = 1.0, swing: float = 1.0) -> Samples:
    """Return 600 calls of some 8 ms with a pause of 2 s before every thirtieth.

    Args:
        rise: Latency at the end as a multiple of that at the start.
        wake_up: Latency after a pause as a multiple of the others'.
        swing: Latency of every other block of calls as a multiple of the others'.
    """
    count = 600
    after_pause = np.arange(count) % 30 == 0
    due_ms = np.arange(count) * 50.0 + np.cumsum(after_pause) * 2000.0
    latency_ms = 8 * np.random.default_rng(0).lognormal(0, 0.2, count)
    latency_ms *= np.linspace(1.0, rise, count) * np.where(after_pause, wake_up, 1.0)
    latency_ms *= np.where(np.arange(count) // _BLOCK % 2, swing, 1.0)
    return Samples(
        load=Load.REPLAY,
        batch=1,
        lanes=1,
        rate_per_s=None,
        due_ms=due_ms,
        submitted_ms=due_ms,
        answered_ms=due_ms + latency_ms,
        outcome=np.zeros(count, np.uint8),
    )


def planted(trouble: Trouble, root: Path) -> MeasurementVerdict:
    """Return the verdict on a run with one trouble."""
    board = machine_trees.orin_nano(root)
    match trouble:
        case Trouble.GOVERNOR:
            board.write_cpu_clock(1510, low=115, high=1510, governor="schedutil")
            record = record_of(board)
        case Trouble.QUOTA:
            board.write_quota(0)
            record = record_of(board, board.write_quota)
        case Trouble.SLOW_CLOCK:
            board.write_gpu_clock("17000000.gpu", 510, low=624, high=624, governor="nvhost_podgov")
            record = record_of(board)
        case Trouble.THROTTLED:
            record = record_of(board, lambda step: board.write(_OC3, 37 + step))
        case Trouble.HOT:
            board.write_zone(3, "tj-thermal", 96.5, "passive:99 critical:104.5")
            record = record_of(board)
        case Trouble.POWER_MODE:
            record = record_of(
                board, lambda step: board.write_power_mode("15W" if step < 10 else "7W")
            )
        case Trouble.SWAP:
            record = record_of(board, lambda step: board.write_swap(500, 100 + 100 * step))
        case Trouble.NOISY_NEIGHBOR:
            record = record_of(board, others=0.25)
        case _:
            record = record_of(board)
    samples = calls(
        rise=1.4 if trouble is Trouble.DRIFT else 1.0,
        wake_up=3.0 if trouble is Trouble.WAKE_UP else 1.0,
        swing=1.5 if trouble is Trouble.UNSTEADY else 1.0,
    )
    return judge(record, samples, reformat_share=0.4 if trouble is Trouble.REFORMATS else 0.05)


def found() -> dict[str, list[str]]:
    """Return what is named for each trouble planted."""
    named = {}
    for trouble in Trouble:
        if trouble is not Trouble.NOT_SAMPLED:  # says that nothing can be said
            with tempfile.TemporaryDirectory() as folder:
                verdict = planted(trouble, Path(folder))
            named[trouble.value] = [reason.trouble.value for reason in verdict.reasons]
    return named


def clean() -> dict[str, list[str]]:
    """Return what is named for machines without any trouble."""
    named = {}
    for machine in _MACHINES:
        with tempfile.TemporaryDirectory() as folder:
            verdict = judge(record_of(machine(Path(folder))), calls(), reformat_share=0.05)
        named[machine.__name__] = [reason.trouble.value for reason in verdict.reasons]
    return named


def watch_this_machine(seconds: float, neighbors: int) -> MachineRecord:
    """Return the record of some seconds of one busy thread beside other busy processes."""
    for _ in range(neighbors):
        # The shell ends at once, so that the process is nobody's child.
        subprocess.run(
            ["/bin/sh", "-c", '"$0" -c "$1" &', sys.executable, _BUSY.format(seconds + 1)],
            check=True,
        )
    monitor = MachineMonitor()
    with monitor.running():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(1000))
    monitor.close()
    time.sleep(1.0 if neighbors else 0.0)
    return monitor.record()


def main() -> None:
    """Print what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    quiet = watch_this_machine(seconds, neighbors=0)
    crowded = watch_this_machine(seconds, neighbors=2)
    document = {
        "planted": found(),
        "clean": clean(),
        "quiet": [str(reason) for reason in judge(quiet).reasons],
        "crowded": [str(reason) for reason in judge(crowded).reasons],
        "not_read": [str(lack) for lack in quiet.not_read],
        "readings_per_s": (len(quiet.readings) - 1) / quiet.seconds,
        "sampler_share": quiet.sampler_cpu_s / quiet.seconds,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()

"""Run of all checks within a time limit, whatever hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_tools.doctor.account import account_findings, disk_findings
from fasdk_tools.doctor.bundle import asked_findings, native_findings
from fasdk_tools.doctor.cameras import device_findings
from fasdk_tools.doctor.findings import Diagnosis, Finding, Group, Level, told_once
from fasdk_tools.doctor.gpu import (
    driver_findings,
    jetpack_findings,
    kernel_findings,
    tensorrt_findings,
)
from fasdk_tools.doctor.machine import (
    bundle_clock_findings,
    clock_findings,
    condition_findings,
    core_dump_findings,
)
from fasdk_tools.doctor.packages import opencv_findings, package_findings, python_findings
from fasdk_tools.doctor.place import Place, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_SECONDS = 40.0
ASKED_SECONDS = 60.0


@dataclass(frozen=True)
class Check:
    """One check: its group, the name of what it looks at, and the function that looks."""

    group: Group
    name: str
    look: Callable[[Place, Request], Iterable[Finding]]


CHECKS = (
    Check(Group.PACKAGES, "python", python_findings),
    Check(Group.PACKAGES, "packages", package_findings),
    Check(Group.PACKAGES, "cv2", opencv_findings),
    Check(Group.GPU, "JetPack", jetpack_findings),
    Check(Group.GPU, "driver", driver_findings),
    Check(Group.GPU, "TensorRT", tensorrt_findings),
    Check(Group.GPU, "GPU preprocessing", kernel_findings),
    Check(Group.MACHINE, "power and clocks", condition_findings),
    Check(Group.MACHINE, "clock", clock_findings),
    Check(Group.MACHINE, "clock and bundle", bundle_clock_findings),
    Check(Group.MACHINE, "core dumps", core_dump_findings),
    Check(Group.MACHINE, "disks", disk_findings),
    Check(Group.ACCOUNT, "folder", account_findings),
    Check(Group.CAMERAS, "video devices", device_findings),
    Check(Group.SELF_TEST, "native preprocessing", native_findings),
)
"""Checks of the machine, which look at it all at once."""

ASKED = Check(Group.SELF_TEST, "cameras and bundle", asked_findings)
"""Check of what was named on the command line, on a machine that is otherwise idle."""


def diagnose(
    request: Request,
    place: Place | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    limit_s: float = FIRST_SECONDS,
) -> Diagnosis:
    """Look at a machine, and at the bundle and cameras that are named.

    Nothing is changed, and nothing needs root. A check that hangs is a finding of its own and
    holds up no other.

    Args:
        request: What is to be looked at besides the machine.
        place: The machine; None for this one.
        on_progress: Callback with the number of checks that are over and their number in all.
        limit_s: Seconds after which the checks of the machine are not waited for.
    """
    place = place or Place()
    start_s = time.monotonic()
    looks = [_Look(check, place, request) for check in CHECKS]
    found = _findings(looks, limit_s, len(CHECKS) + 1, on_progress)
    asked = _findings([_Look(ASKED, place, request)], ASKED_SECONDS, 1, None)
    if on_progress is not None:
        on_progress(len(CHECKS) + 1, len(CHECKS) + 1)
    order = list(Group)
    ordered = sorted(told_once([*found, *asked]), key=lambda each: order.index(each.group))
    return Diagnosis(tuple(ordered), time.monotonic() - start_s)


class _Look:
    """A check under way, in a thread that the end of the process does not wait for."""

    def __init__(self, check: Check, place: Place, request: Request) -> None:
        self.check = check
        self.findings: list[Finding] | None = None
        self.thread = threading.Thread(
            target=self._run, args=(place, request), name=f"check {check.name}", daemon=True
        )
        self.thread.start()

    def _run(self, place: Place, request: Request) -> None:
        try:
            self.findings = list(self.check.look(place, request))
        except Exception as error:  # noqa: BLE001 - one check that fails hides no other
            self.findings = [self._finding(f"the check failed: {type(error).__name__}: {error}")]

    def found(self, limit_s: float) -> list[Finding]:
        """Return the findings, or one that says that they did not come in time."""
        self.thread.join(max(0.0, limit_s))
        if self.findings is None:
            return [self._finding("the check did not end in time: what it looks at hangs")]
        return self.findings

    def _finding(self, found: str) -> Finding:
        return Finding(
            self.check.group,
            self.check.name,
            Level.WARN,
            found,
            "run `fasdk doctor` again on an idle machine, and tell the authors if it stays so",
        )


def _findings(
    looks: Sequence[_Look],
    limit_s: float,
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> list[Finding]:
    deadline_s = time.monotonic() + limit_s
    found: list[Finding] = []
    for number, look in enumerate(looks, 1):
        found += look.found(deadline_s - time.monotonic())
        if on_progress is not None:
            on_progress(number, total)
    return found

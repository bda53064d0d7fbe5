"""Terminal output of the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.doctor.findings import Group, Level
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields

if TYPE_CHECKING:
    from fasdk_tools.doctor.findings import Diagnosis, Finding


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what was found on stdout: the answer, then a line a check with how to fix it."""
    failed, warned = diagnosis.count(Level.FAIL), diagnosis.count(Level.WARN)
    warnings = count_of(warned, "warning")
    if failed:
        print_answer(f"{count_of(failed, 'check')} failed, {warnings}: fix each FAIL first")
    else:
        print_answer(f"Nothing failed, {warnings}")
    for group in Group:
        findings = diagnosis.of_group(group)
        if findings:
            print_fields(group.value, {each.check: _line(each) for each in findings})


def _line(finding: Finding) -> str:
    fix = f". Fix: {finding.fix}" if finding.fix else ""
    return f"{finding.level.value:4} {finding.found}{fix}"

"""Commissioning on the terminal: what to do next, and the report in words for an installer."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from fasdk.capture import monotonic_ms
from fasdk.plain_text import plain_line
from fasdk_tools.commissioning.checks import Area, Status
from fasdk_tools.commissioning.plan import StepKind
from fasdk_tools.terminal.output import (
    STDERR,
    print_answer,
    print_document,
    print_fields,
    print_rows,
)
from fasdk_tools.terminal.typed import discard_typed, was_entered

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk_tools.commissioning.commissioning import Progress
    from fasdk_tools.commissioning.plan import Step
    from fasdk_tools.commissioning.report import CommissionReport

# Finer towards both ends, where scores and thresholds lie.
_EDGES = (0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 1.0)
_BAR = 22  # characters of the longest bar of a histogram
_TITLES = {
    Area.SENSORS: "Sensors",
    Area.RIG: "Sensors to each other",
    Area.GATES: "Quality gates",
    Area.SCORES: "Genuine people",
    Area.ATTACKS: "Attack instruments",
}


class CommissionView:
    """Says what to do on stderr, and when a step begins.

    Args:
        pause_s: Seconds before a step begins; None waits for Enter where another person or
            instrument is next, and for 2 seconds otherwise.
    """

    def __init__(self, pause_s: float | None) -> None:
        self._pause_s = pause_s
        self._step: Step | None = None
        self._due_ms = 0.0
        self._waits_for_enter = False
        self._said = ""

    def is_due(self, step: Step) -> bool:
        """Return whether a step's captures count from now on; asked at every capture."""
        if step is not self._step:
            self._step = step
            self._waits_for_enter = self._pause_s is None and step.is_first
            pause_s = 2.0 if self._pause_s is None else self._pause_s
            self._due_ms = monotonic_ms() + pause_s * 1000.0
            if step.is_first or pause_s > 0.0:  # in a recording nobody steps away
                _say(step.instruction + (": then press Enter" if self._waits_for_enter else ""))
            if self._waits_for_enter:
                discard_typed()
        if self._waits_for_enter:
            self._waits_for_enter = not was_entered()
            return not self._waits_for_enter
        return monotonic_ms() >= self._due_ms

    def seen(self, progress: Progress) -> None:
        """Say why a capture was turned away, once a reason."""
        why = "; ".join(f"{each.reason.value}: {each.message}" for each in progress.findings[:1])
        code = progress.findings[0].reason.value if progress.findings else ""
        if code and code != self._said:
            _say(f"turned away, {why}")
        self._said = code


def print_report(report: CommissionReport, written: Path | None) -> None:
    """Print the verdict, then the checks by area, the histogram and the proposed limits."""
    failed = [check for check in report.checks if check.status is Status.FAIL]
    if report.is_ready:
        print_answer(f"READY: the site profile is {written}")
    else:
        print_answer("NOT READY: nothing is written")
    print_fields(
        "",
        {
            "camera": report.camera,
            "bundle": report.bundle_id[:12],
            "level": report.level,
            "captures": report.captures,
        },
    )
    if failed:
        print_rows(
            "To change before the door is ready",
            ("check", "what to change"),
            [(check.name, check.fix or check.found) for check in failed],
        )
    for area, title in _TITLES.items():
        rows = [
            (check.status.value, check.name, check.found, check.fix or "-")
            for check in report.checks
            if check.area is area
        ]
        if rows:
            print_rows(title, ("", "check", "found", "what to change"), rows)
    histogram = score_histogram(report)
    if histogram:
        print_document("Scores of presentations", histogram)
    if report.proposals:
        print_rows(
            "Limits of gates that the profile tightens",
            ("limit", "present", "this site"),
            [
                (
                    each.name,
                    "-" if each.present is None else f"{each.present:g}",
                    f"{each.proposed:g}",
                )
                for each in report.proposals
            ],
        )


def score_histogram(report: CommissionReport) -> str:
    """Return the scores of people and of attacks in ten bins, the threshold's bin marked."""
    kinds = {kind: [each.score for each in report.of(kind)] for kind in StepKind}
    if not any(kinds.values()):
        return ""
    counts = {kind: Counter(map(_bin, scores)) for kind, scores in kinds.items()}
    longest = max(sum(counts.values(), Counter()).values())  # both bars stand in one row
    at = None if report.threshold is None else _bin(report.threshold)
    lines = []
    for place in reversed(range(len(_EDGES) - 1)):
        people, attacks = counts[StepKind.PERSON][place], counts[StepKind.ATTACK][place]
        bars = "#" * round(_BAR * people / longest) + "x" * round(_BAR * attacks / longest)
        mark = f"  threshold {report.threshold:.4f}" if place == at else ""
        edges = f"{_EDGES[place]:g} to {_EDGES[place + 1]:g}"
        lines.append(f"{edges:<14} {people:>3} people {attacks:>3} attacks  {bars}{mark}".rstrip())
    return "\n".join(lines)


def _bin(score: float) -> int:
    return min(bisect_right(_EDGES, score), len(_EDGES) - 1) - 1


def _say(text: str) -> None:
    STDERR.print(f"fasdk: {plain_line(text)}", markup=False, soft_wrap=True)

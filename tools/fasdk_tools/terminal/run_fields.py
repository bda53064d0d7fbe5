"""Fields of a profiled run that several tables have: its warm-up and its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_ms, format_share

if TYPE_CHECKING:
    from fasdk_tools.profiling.result import Run


def warm_up_fields(run: Run) -> dict[str, object]:
    """Return what was left out as warm-up and whether its end was seen; empty without one."""
    if run.warmup_ms is None:
        return {}
    return {
        "left out": f"{count_of(run.warmup_calls, 'call')} in {run.warmup_ms / 1e3:.1f} s",
        "steady": "yes" if run.steady else "no, the end of the warm-up was not seen",
    }


def deadline_fields(run: Run) -> dict[str, object]:
    """Return the share that was decided within the deadline; empty without one."""
    if run.goodput is None or run.deadline_ms is None:
        return {}
    return {
        "goodput": f"{format_share(run.goodput)} within {format_ms(run.deadline_ms)}, "
        f"{count_of(run.missed_deadlines or 0, 'deadline')} missed"
    }

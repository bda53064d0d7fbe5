"""Terminal output of a door's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_ms
from fasdk_tools.terminal.output import print_answer, print_fields, print_notes, print_rows
from fasdk_tools.terminal.run_fields import deadline_fields, warm_up_fields

if TYPE_CHECKING:
    from fasdk_tools.profiling.door_figures import ColdFigures, IdleFigures, SoakFigures
    from fasdk_tools.profiling.result import Run

Context = Mapping[str, object]
"""What was measured how, by the name of the field that tells it."""


def print_door(run: Run, context: Context) -> None:
    """Print a door's figures on stdout.

    Args:
        run: Run of an idle or cold load, or a long run.
        context: What is told beside the figures: backend, trust, whether to trust them.
    """
    if run.idle is not None:
        _print_idle(run.idle, context)
    if run.cold is not None:
        _print_cold(run.cold, context)
    if run.soak is not None:
        _print_soak(run.soak, context)
        print_fields("Warm-up", warm_up_fields(run))
        if run.goodput is not None:
            print_fields("Deadline", deadline_fields(run))


def _print_fields(context: Context, **fields: object) -> None:
    print_fields("", {**context, **fields})


def _print_idle(found: IdleFigures, context: Context) -> None:
    longest = max(found.pauses, key=lambda each: each.pause_s)
    print_answer(
        f"{format_ms(longest.median_ms)} median for the first decision after {longest.pause_s:g} s "
        f"without one, {longest.ratio_to_busy:.2f} times the {format_ms(found.busy_median_ms)} of "
        "a busy door"
    )
    track = found.track
    verdict = (
        "none came"
        if track.median_ms is None or track.largest_ms is None
        else f"{format_ms(track.median_ms)} median, {format_ms(track.largest_ms)} largest, "
        f"{track.median_frames:g} frames"
    )
    _print_fields(
        context,
        **{
            f"verdict of a track at {track.fps:g} frames/s": verdict,
            "tracks with a verdict": f"{track.verdicts} of {track.tracks}",
            "one frame": f"{format_ms(track.frame_median_ms)} median",
        },
    )
    print_rows(
        "First decision after a pause; latency in ms",
        ("pause in s", "pauses", "median", "largest", "over busy"),
        [
            (
                f"{each.pause_s:g}",
                each.calls,
                f"{each.median_ms:.3f}",
                f"{each.largest_ms:.3f}",
                f"{each.ratio_to_busy:.3f}",
            )
            for each in found.pauses
        ],
    )
    print_notes(_quick_note(quick=found.quick, what="pauses"))


def _print_cold(found: ColdFigures, context: Context) -> None:
    total = found.parts["total"]
    print_answer(
        f"{format_ms(total.median_ms)} median from the start of a process to its first decision, "
        f"{format_ms(total.largest_ms)} largest of {count_of(len(found.starts), 'start')}"
    )
    _print_fields(context, plan=found.starts[-1].plan)
    print_rows(
        "Cold start; latency in ms",
        ("part", "median", "largest", "first start"),
        [
            (
                name.replace("_", " "),
                f"{part.median_ms:.3f}",
                f"{part.largest_ms:.3f}",
                f"{getattr(found.first, f'{name}_ms'):.3f}",
            )
            for name, part in found.parts.items()
        ],
    )
    notes = [
        "The first start fills file caches, may build the plan and records the proof; it is not "
        "counted."
    ]
    print_notes(notes + _quick_note(quick=found.quick, what="starts"))


def _print_soak(found: SoakFigures, context: Context) -> None:
    moved = "latency drifts" if found.drifts else "no drift of latency"
    print_answer(
        f"{found.measured_s / 60:.1f} min under {found.load} load: {moved}, memory "
        f"{found.memory_growth_mb:+.1f} MB"
    )
    temperatures = [m.temperature_c for m in found.minutes if m.temperature_c is not None]
    _print_fields(
        context,
        **{
            "median of the first minute": _ms(found.first_ms),
            "median of the last minute": _ms(found.last_ms),
            "rank correlation with time": found.spearman,
            "highest temperature": f"{max(temperatures):.1f} °C" if temperatures else "not read",
        },
    )
    print_rows(
        "Minute by minute; latency in ms",
        ("minute", "calls", "median", "largest", "memory in MB", "°C"),
        [
            (
                each.minute,
                each.calls,
                _cell(each.median_ms),
                _cell(each.largest_ms),
                f"{each.resident_mb:.1f}",
                None if each.temperature_c is None else f"{each.temperature_c:.1f}",
            )
            for each in found.minutes
        ],
    )
    if found.interrupted:
        print_notes([f"Ended early: {found.asked_s / 60:.1f} min were asked for."])


def _ms(value: float | None) -> str:
    return "-" if value is None else format_ms(value)


def _cell(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _quick_note(*, quick: bool, what: str) -> list[str]:
    return [f"Fewer {what} than the default, as --quick asks for."] if quick else []

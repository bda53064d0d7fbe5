"""Answers of the verb profile about other bundles and stored profiles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import EXIT_NO
from fasdk_tools.terminal.output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fasdk_tools.profiling.against import Against
    from fasdk_tools.profiling.baseline import Baseline, BaselineAnswer
    from fasdk_tools.profiling.run import ProfileOptions

_YARDSTICK_SECONDS = 3.0  # at most; a stored profile holds each call of it


def yardstick_seconds(seconds: float, *, is_wanted: bool) -> float | None:
    """Return how long to measure beside the yardstick, in seconds; None not to."""
    return min(seconds, _YARDSTICK_SECONDS) if is_wanted else None


def read_baseline(path: Path | None, tolerance: float | None) -> Baseline | None:
    """Return the stored profile that --baseline names, or None.

    Raises:
        UsageError: The file is no stored profile, or the tolerance no share.
    """
    from fasdk_tools.profiling.baseline import TOLERANCE, Baseline

    if path is None:
        return None
    return Baseline.read(path, _share(tolerance, TOLERANCE))


def answer_against(
    options: ProfileOptions,
    other: Path,
    *,
    seconds: float,
    tolerance: float | None,
    on_progress: Callable[[str, float], None],
) -> Against:
    """Measure the bundle of `options` in turns with another and return the answer.

    Raises:
        UsageError: The two take different inputs, or the tolerance is no share.
        FasdkError: One of them cannot be opened, or an engine failed.
    """
    from fasdk_tools.profiling.against import TOLERANCE, compare_bundles
    from fasdk_tools.profiling.run import open_profiled

    share = _share(tolerance, TOLERANCE)
    with open_profiled(options) as liveness, open_profiled(options, bundle=other) as opponent:
        return compare_bundles(
            liveness,
            opponent,
            [item.capture for item in liveness.bundle.golden],
            seconds=seconds,
            tolerance=share,
            on_progress=lambda done: on_progress("in turns", done),
        )


def print_and_exit(found: Against, *, as_json: bool) -> None:
    """Print how a bundle compares with another; exit 1 where it is slower."""
    from fasdk_tools.terminal.comparison import print_against

    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_against(found)
    if found.slower:
        raise typer.Exit(EXIT_NO)


def exit_by_baseline(found: BaselineAnswer | None, *, as_json: bool) -> None:
    """Print how a profile compares with its baseline, unless that was in its document, and exit.

    Raises:
        UsageError: The machine changed since, so that nothing can be said.
        typer.Exit: It is slower, with 1.
    """
    from fasdk_tools.terminal.comparison import moved_text, print_baseline

    if found is None:
        return
    if not as_json:
        print_baseline(found)
    if not found.comparable:
        raise UsageError(
            f"{found.baseline} is not comparable: {moved_text(found)}; bring the machine back to "
            "that state, or store a new baseline with `fasdk profile BUNDLE --json`"
        )
    if found.slower:
        raise typer.Exit(EXIT_NO)


def _share(tolerance: float | None, default: float) -> float:
    if tolerance is None:
        return default
    if not (math.isfinite(tolerance) and tolerance >= 0.0):
        raise UsageError(f"--tolerance is {tolerance}, expected a share of 0 or more, such as 0.1")
    return tolerance

"""Answers of the verb profile that take searches: a policy for a target, and doors served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import EXIT_NO
from fasdk_tools.terminal.output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fasdk_tools.profiling.doors import DoorsAnswer
    from fasdk_tools.profiling.find import FoundPolicy
    from fasdk_tools.profiling.run import ProfileOptions
    from fasdk_tools.profiling.time_budget import TimeBudget


def read_within(within: str | None, *, is_search: bool) -> TimeBudget:
    """Return the time for the runs of a search by --within, from now on.

    Raises:
        UsageError: It is no length of time, or there is no search.
    """
    from fasdk_tools.profiling.long_run import parse_duration
    from fasdk_tools.profiling.time_budget import LIMIT_S, TimeBudget

    if within is not None and not is_search:
        raise UsageError("--within is the time of --find and --doors: give one of them, or --soak")
    return TimeBudget.within(LIMIT_S if within is None else parse_duration(within, "--within"))


def answer_find(
    options: ProfileOptions,
    text: str,
    out: Path | None,
    budget: TimeBudget,
    on_progress: Callable[[str, float], None],
) -> FoundPolicy:
    """Search the settings that meet the target of --find, and write them where they do.

    Raises:
        UsageError: The text is no target, or one that takes too long to confirm.
        FasdkError: The file cannot be written, the bundle cannot be opened, or the engine failed.
    """
    from fasdk.atomic import atomic_write
    from fasdk_tools.profiling.searches import search_policy
    from fasdk_tools.profiling.target import Target

    target = Target.parse(text)
    found = search_policy(
        options, target, lambda share: on_progress("search", share), budget=budget
    )
    if out is not None and found.meets:
        with atomic_write(out) as file:
            file.write(f"{found.policy.model_dump_json(indent=2)}\n".encode())
    return found


def answer_doors(
    options: ProfileOptions,
    *,
    asked: int,
    fps: float | None,
    lanes: int,
    batch: int,
    budget: TimeBudget,
    on_progress: Callable[[str, float], None],
) -> DoorsAnswer:
    """Count the doors that the machine serves, with the lanes and the batch of the first load.

    Raises:
        UsageError: --fps or --deadline is missing, or a number is out of its range.
        FasdkError: The bundle cannot be opened, or the engine failed.
    """
    from fasdk.batching import BatchingPolicy
    from fasdk_tools.profiling.searches import count_doors

    if fps is None or options.deadline_ms is None:
        raise UsageError("--doors needs --fps and --deadline, such as --fps 5 --deadline 200")
    return count_doors(
        options,
        asked=asked,
        fps=fps,
        deadline_ms=options.deadline_ms,
        batching=BatchingPolicy(lanes=lanes, max_batch=batch),
        on_progress=lambda share: on_progress("doors", share),
        budget=budget,
    )


def print_and_exit(found: FoundPolicy | DoorsAnswer, *, as_json: bool) -> None:
    """Print what a search found; exit 1 where it is not what was asked for."""
    from fasdk_tools.profiling.find import FoundPolicy
    from fasdk_tools.terminal.search import print_doors, print_policy

    if as_json:
        print_json(found.model_dump(mode="json"))
    elif isinstance(found, FoundPolicy):
        print_policy(found)
    else:
        print_doors(found)
    if not found.meets:
        raise typer.Exit(EXIT_NO)

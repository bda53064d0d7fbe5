"""Terminal output of searches: a policy for a target, and doors within a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_ms, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_rows

if TYPE_CHECKING:
    from fasdk_tools.profiling.doors import DoorsAnswer
    from fasdk_tools.profiling.find import FoundPolicy


def print_policy(found: FoundPolicy) -> None:
    """Print the settings that a search found on stdout."""
    batching = found.policy.batching
    closest = "no call" if found.closest_ms is None else format_ms(found.closest_ms)
    verdict = (
        f"{found.target} holds in {count_of(len(found.confirmed_ms), 'fresh run')} of "
        f"{len(found.confirmed_ms)}"
        if found.meets
        else f"Nothing tried meets {found.target}; the closest comes to {closest}"
    )
    print_answer(verdict)
    print_fields(
        "",
        {
            "to paste": f"fasdk.BatchingPolicy(lanes={batching.lanes}, "
            f"max_batch={batching.max_batch}, max_wait_ms={batching.max_wait_ms:g})",
            "engine threads": found.policy.threads or "one per core",
            "largest of the runs": closest,
            "tried": f"{count_of(found.tried, 'setting')} in {found.seconds:.0f} s",
        },
    )


def print_doors(found: DoorsAnswer) -> None:
    """Print how many doors a machine serves on stdout."""
    within = f"of {found.fps:g} captures/s within {format_ms(found.deadline_ms)}"
    answer = f"Serves {count_of(found.serves, 'door')} {within}, {found.asked:,} asked for"
    if found.unfinished:
        answer = (
            f"{answer}, as far as there was time"
            if found.serves
            else f"There was no time to find how many doors {within} it serves"
        )
    print_answer(answer)
    fields = {
        "by the model of the queue": count_of(found.predicted, "door"),
        "confirmed in": count_of(found.confirmations, "fresh run"),
        "time": f"{found.seconds:.0f} s",
    }
    if found.unfinished:
        fields["not finished"] = "; ".join(found.unfinished) + ": give more time (--within)"
    print_fields("", fields)
    print_rows(
        "Runs; p99 in ms",
        ("doors", "captures/s", "p99", "p99 by the model", "within the deadline"),
        [
            (
                point.doors,
                f"{point.offered_per_s:.1f}",
                "-" if point.measured_p99_ms is None else f"{point.measured_p99_ms:.3f}",
                "-" if point.predicted_p99_ms is None else f"{point.predicted_p99_ms:.3f}",
                format_share(point.goodput),
            )
            for point in found.curve
        ],
    )

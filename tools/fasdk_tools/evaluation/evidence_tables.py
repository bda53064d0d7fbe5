"""Terminal tables of an evidence sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import format_interval, format_share
from fasdk_tools.terminal.output import (
    print_document,
    print_fields,
    print_notes,
    print_rows,
    terminal_width,
)
from fasdk_tools.terminal.tables import Column, wrap

if TYPE_CHECKING:
    from fasdk_tools.evaluation.evidence_record import EvidenceSheet


def print_evidence(sheet: EvidenceSheet) -> None:
    """Print a sheet: the statement first, then rates, counts, limits and what is short."""
    statement = wrap(sheet.statement, terminal_width())
    print_document(f"Evidence sheet: {sheet.title}", "\n".join(statement))
    print_fields(
        "",
        {
            "measured on": f"{sheet.list} ({'+'.join(sheet.modalities)})",
            "threshold": "none"
            if sheet.threshold is None
            else f"{sheet.threshold} ({sheet.threshold_kind})",
        },
    )
    print_rows(
        "Rates (bounds: Clopper-Pearson, 95 %; a claim goes by the one-sided one)",
        (
            *(Column("rate of", label=True), "rate", "bounds", "one-sided", "errors", "short"),
            *("limit", "within", "shown", "more"),
        ),
        [
            (
                row.of if row.what == "APCER" else row.what,
                format_share(row.rate),
                format_interval(row.lower, row.upper),
                format_share(row.one_sided_upper),
                f"{row.errors}/{row.attempts}",
                row.short,
                None if row.limit is None else format_share(row.limit),
                _answer(row.is_within),
                _answer(row.is_shown),
                row.more,
            )
            for row in sheet.rates
        ],
    )
    print_rows(
        "Counts the scheme asks for",
        (Column("what", label=True), "asked", "held", "short", Column("source", below=True)),
        [
            (row.what, row.asked, row.held, row.short, f"{row.source}: {row.certainty}")
            for row in sheet.counts
        ],
    )
    print_rows(
        "Limits",
        (Column("of", label=True), "at most", "within", "shown", Column("source", below=True)),
        [
            (
                row.what,
                format_share(row.limit),
                _answer(row.is_within),
                _answer(row.is_shown),
                f"{row.source}: {row.certainty}",
            )
            for row in sheet.limits
        ],
    )
    print_notes(
        [
            *(f"short: {each}" for each in sheet.short),
            *(f"left out: {each}" for each in sheet.left_out),
            *sheet.notes,
        ]
    )


def _answer(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"

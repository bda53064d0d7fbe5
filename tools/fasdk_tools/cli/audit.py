"""Verb audit: verification of the log that `run --audit` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk_tools.cli.root import EXIT_NO, JsonOption, Panel, WideOption, app
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import (
    print_answer,
    print_fields,
    print_json,
    print_notes,
    print_rows,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from fasdk.audit import AuditReport

audit = typer.Typer()
app.add_typer(audit, name="audit", rich_help_panel=Panel.RUN)


@audit.callback()
def _group() -> None:
    """Read the audit log of decisions that `run --audit` writes."""


@audit.command("verify")
def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The log; its rotated files FILE.000001 and so on are read too."
        ),
    ],
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="Head that was noted elsewhere: it must be a line's, or lines were cut off.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="Head of the last older file, where older files were moved elsewhere.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key file of the log's chain.")
    ] = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Verify that nobody edited an audit log, or name the first broken link.

    Exit 0 where the chain is whole, 1 where a link is broken, 2 where the log cannot be read.
    """
    from fasdk.audit import verify_audit_log

    report = verify_audit_log(file, key=key, head=head, after=after)
    if as_json:
        print_json(_document(report))
    else:
        _print(report, file, wide=wide)
    if not report.is_whole:
        raise typer.Exit(EXIT_NO)


def _print(report: AuditReport, path: Path, *, wide: bool) -> None:
    from fasdk.decision import Verdict

    broken = report.broken
    lines = count_of(report.lines, "line")
    files = count_of(len(report.files), "file")
    if broken is None:
        print_answer(f"Whole: {lines} in {files} of {path}, no link broken")
    else:
        print_answer(f"Broken: {broken.file}, line {broken.line}: {broken.message}")
    print_fields(
        "" if broken is None else "Before the broken link",
        {
            "lines": f"{report.first} to {report.last}" if report.lines else "none",
            "time": f"{report.first_time} to {report.last_time}" if report.lines else "none",
            "decisions": ", ".join(f"{n} {v.value}" for v, n in sorted(report.verdicts.items()))
            or "none",
            "key": report.key or "none: whoever may write the files can make a chain anew",
            "head": report.head or "none",
        },
    )
    if report.decided:
        print_rows(
            "Decided by",
            (
                "bundle",
                "operating point",
                "threshold",
                *(verdict.value for verdict in Verdict),
                Column("first", wide=True),
                Column("last", wide=True),
                Column("trust", wide=True),
                Column("version", wide=True),
            ),
            [
                (
                    origin.bundle[:16] or "none",
                    origin.operating_point or "none",
                    "none" if origin.threshold is None else f"{origin.threshold:.4f}",
                    *(decided.verdicts[verdict] for verdict in Verdict),
                    decided.first,
                    decided.last,
                    origin.trust or "none",
                    origin.version,
                )
                for origin, decided in report.decided.items()
            ],
            wide=wide,
        )
    print_notes(_notes(report, path))


def _notes(report: AuditReport, path: Path) -> list[str]:
    """Return what a reader of the log has to know, in sentences."""
    notes = []
    if report.first > 1:
        notes.append(f"Lines before {report.first} are in older files, which are not here.")
    if report.cut_off:
        notes.append(
            f"{count_of(report.cut_off, 'process', 'processes')} before the last ended without "
            "saying so: killed, or crashed."
        )
    notes += [
        f"{torn.file.name}, line {torn.line}: a crash or a full disk left {torn.bytes} bytes of a "
        "line, and the next line tells of them."
        for torn in report.torn
    ]
    if report.lost:
        notes.append(
            f"{count_of(report.lost, 'decision')} could not be written, as the log itself says."
        )
    if report.clock_back:
        notes.append(
            f"The machine's clock was set back: {count_of(report.clock_back, 'line')} earlier than "
            "the one before."
        )
    if report.noted is not None:
        file, line = report.noted
        notes.append(
            f"The noted head is that of {file.name}, line {line}; "
            f"{count_of(report.after_noted or 0, 'line')} after it."
        )
    if report.unfinished:
        notes.append(
            f"The last {report.unfinished} bytes are no whole line: it is being written, was torn "
            "by a crash, or cut."
        )
    if report.is_whole and path.absolute() not in report.files:
        notes.append(f"{path} itself is not there: it was moved, or lines at the end are gone.")
    elif report.is_whole and not report.is_ended:
        notes.append(
            "The last line is no end: the log is being written, its process was killed, or lines "
            "were cut off."
        )
    if report.is_whole and report.noted is None:
        notes.append(
            "Lines that were cut from the end leave no trace here: note the head elsewhere, and "
            "give it as --head next time."
        )
    return notes


def _document(report: AuditReport) -> dict[str, Any]:
    broken = report.broken
    return {
        "whole": report.is_whole,
        "broken": None
        if broken is None
        else {"file": str(broken.file), "line": broken.line, "message": broken.message},
        "files": [str(file) for file in report.files],
        "log": report.log,
        "key": report.key or None,
        "lines": report.lines,
        "first_line": report.first,
        "last_line": report.last,
        "first_time": report.first_time or None,
        "last_time": report.last_time or None,
        "head": report.head or None,
        "decisions": {verdict.value: n for verdict, n in sorted(report.verdicts.items())},
        "decided_by": [
            {
                "bundle": origin.bundle,
                "trust": origin.trust,
                "operating_point": origin.operating_point,
                "threshold": origin.threshold,
                "version": origin.version,
                "first": decided.first,
                "last": decided.last,
                "decisions": {v.value: n for v, n in sorted(decided.verdicts.items())},
            }
            for origin, decided in report.decided.items()
        ],
        "starts": report.starts,
        "cut_off": report.cut_off,
        "is_ended": report.is_ended,
        "lost": report.lost,
        "torn": [
            {"file": str(torn.file), "line": torn.line, "bytes": torn.bytes} for torn in report.torn
        ],
        "unfinished_bytes": report.unfinished,
        "clock_back": report.clock_back,
        "noted": None
        if report.noted is None
        else {"file": str(report.noted[0]), "line": report.noted[1]},
        "lines_after_noted": report.after_noted,
    }

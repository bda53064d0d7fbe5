"""Options of the verbs that write an audit log."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import STDERR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk.audit import AuditLog

_MIB = 2**20

AuditOption = Annotated[
    Path | None,
    typer.Option(
        "--audit",
        metavar="FILE",
        help="Write every decision to this log before it is given, chained by hashes; "
        "`fasdk audit verify` reads it.",
    ),
]
AuditRequiredOption = Annotated[
    bool,
    typer.Option(
        "--audit-required", help="A decision that cannot be written to the log is an ERROR."
    ),
]
AuditKeyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Key file of the log's chain: 32 random bytes that others cannot read."
    ),
]
AuditFileMbOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2048,
        metavar="MIB",
        help="Size in MiB at which the log is rotated; 64 by default.",
    ),
]
AuditKeepOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Rotated files of the log that are kept; by default all."
    ),
]
AuditFlushOption = Annotated[
    str | None,
    typer.Option(
        help="each-line (default: on the disk before the decision is given) or system (spares "
        "flash storage; a power failure loses seconds)."
    ),
]


@contextmanager
def audit_log(
    path: Path | None,
    *,
    required: bool,
    key: Path | None,
    file_mb: int | None,
    keep: int | None,
    flush: str | None,
) -> Iterator[AuditLog | None]:
    """Yield the log of --audit, or None where it was not given; say at the end what it holds.

    Raises:
        UsageError: Another option of the log was given without --audit, or is wrong.
        AuditError: The log cannot be written, or another process writes it.
    """
    if path is None:
        others = {
            "--audit-required": required,
            "--audit-key": key is not None,
            "--audit-file-mb": file_mb is not None,
            "--audit-keep": keep is not None,
            "--audit-flush": flush is not None,
        }
        given = [name for name, is_given in others.items() if is_given]
        if given:
            raise UsageError(f"{given[0]} is of a log that is not written: give --audit FILE")
        yield None
        return
    from fasdk.audit import AuditFlush, AuditLog, AuditPolicy
    from fasdk.settings import as_choice

    policy = AuditPolicy(
        required=required,
        max_bytes=(64 if file_mb is None else file_mb) * _MIB,
        keep=keep,
        flush=AuditFlush.EACH_LINE
        if flush is None
        else as_choice("--audit-flush", flush, AuditFlush),
    )
    with AuditLog(path, policy, key=key) as log:
        yield log
    lost = f", {log.lost} could not be written" if log.lost else ""
    STDERR.print(
        f"fasdk: audit log {path}: {count_of(log.recorded, 'decision')}{lost}, head {log.head}",
        markup=False,
        soft_wrap=True,
    )

"""What the command line prints: one JSON document or a table on stdout, the rest on stderr."""

from __future__ import annotations

import json
import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STDERR = Console(stderr=True, highlight=False)
STDOUT = Console(highlight=False, soft_wrap=True)


class _StderrLog(logging.Handler):
    """Writes log lines where progress bars are drawn, so that neither spoils the other."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        STDERR.print(f"fasdk: {record.getMessage()}", markup=False, soft_wrap=True)


def log_to_stderr() -> None:
    """Show what a build drops or replaces, and every warning, on stderr; once a process."""
    for name, level in (("fasdk_engines", logging.INFO), ("fasdk", logging.WARNING)):
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _StderrLog) for handler in logger.handlers):
            logger.addHandler(_StderrLog())
            logger.setLevel(level)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; see `json_text`."""
    print(json_text(document))


def print_json_line(document: Any) -> None:
    """Print one JSON document on a line of its own, at once: whoever reads is waiting."""
    text = json.dumps(_plain(document), ensure_ascii=False, allow_nan=False)
    print(text, flush=True)


def json_text(document: Any) -> str:
    """Return a document as JSON; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)


def print_fields(title: str, fields: Mapping[str, object]) -> None:
    """Print a two-column table of names and values on stdout."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, format_value(value))
    STDOUT.print(table)


def print_rows(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with one header row on stdout; numbers stand to the right."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(format_value(value) for value in row))
    STDOUT.print(table)


def format_value(value: object) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(format_value(v) for v in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{k} {format_value(v)}" for k, v in value.items()) or "-"
    return str(value)


def format_bytes(size_bytes: int) -> str:
    """Return a size in the unit that suits it."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


class ProgressView:
    """Progress bars on stderr for a bundle build (a `BuildListener`) and a plan's compilation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def phase(self, name: str) -> None:
        """Finish the running phase and begin another."""
        self.finish_phase()
        self._phase = self._progress.add_task(name, total=None)

    def finish_phase(self) -> None:
        """Mark the running phase done."""
        if self._phase is not None:
            self._progress.update(self._phase, total=1, completed=1)
            self._phase = None

    def update(self, name: str, step: int, steps: int) -> None:
        """Move the bar called `name` to `step` of `steps`."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=steps)
        self._progress.update(self._tasks[name], completed=step, total=steps)


@contextmanager
def progress_view() -> Iterator[ProgressView]:
    """Show progress on stderr while the block runs."""
    progress = Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=STDERR,
    )
    with progress:
        view = ProgressView(progress)
        yield view
        view.finish_phase()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value

"""Command-line output: a JSON document or tables on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import logging
import math
import shutil
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
from rich.segment import Segment
from rich.text import Text

from fasdk.plain_text import plain, plain_json, plain_line
from fasdk_tools.terminal.tables import Column, field_lines, table_lines, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import ConsoleOptions, RenderableType


class PlainConsole(Console):
    """Console that writes text as it is: no markup in it, and no control character of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text made plain; rich would leave some control characters out."""
        return super().render_str(plain(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield what is written, text from files made plain."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(plain(segment.text), segment.style)


STDERR = PlainConsole(stderr=True)
# The lines are wrapped before they are printed: the console must neither wrap nor cut them.
_STDOUT = PlainConsole(width=100_000)


class _StderrLog(logging.Handler):
    """Writes log lines where progress bars are drawn, so that neither overwrites the other."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        line = plain_line(record.getMessage())
        STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)


def log_to_stderr() -> None:
    """Show what a build drops or replaces, and every warning, on stderr; once a process."""
    for name, level in (
        ("fasdk_engines", logging.INFO),
        ("fasdk_calibration", logging.WARNING),
        ("fasdk", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _StderrLog) for handler in logger.handlers):
            logger.addHandler(_StderrLog())
            logger.setLevel(level)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; see `json_text`."""
    print(json_text(document))


def print_json_line(document: Any) -> None:
    """Print one JSON document on a line of its own, at once: the reader is waiting."""
    print(json_line(document), flush=True)


def json_line(document: Any) -> str:
    """Return a document as JSON on one line; see `json_text`."""
    return plain_json(json.dumps(_plain(document), ensure_ascii=False, allow_nan=False))


def json_text(document: Any) -> str:
    """Return a document as JSON; NaN and infinity, which JSON lacks, become null."""
    text = json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    return plain_json(text)


def terminal_width() -> int:
    """Return how many character cells a line of stdout has; 80 where it is no terminal."""
    return shutil.get_terminal_size((80, 24)).columns


def print_answer(text: str) -> None:
    """Print the verdict or result of a verb, which comes before its figures."""
    _print_lines(Text(line, style="bold") for line in wrap(text, terminal_width(), hanging=2))


def print_text(text: str) -> None:
    """Print a paragraph on stdout."""
    _print_lines(map(Text, wrap(text, terminal_width())))


def print_document(title: str, text: str) -> None:
    """Print a text on stdout below a title, its lines as they are, to be copied."""
    _print_title(title)
    _print_lines(map(Text, plain(text).split("\n")))


def print_fields(title: str, fields: Mapping[str, object]) -> None:
    """Print names and values on stdout below a title; an empty title is left out."""
    _print_title(title)
    _print_lines(field_lines(fields, terminal_width()))


def print_rows(
    title: str,
    columns: Sequence[str | Column],
    rows: Sequence[Sequence[object]],
    *,
    wide: bool = False,
) -> None:
    """Print a table on stdout below a title; numbers are aligned to the right.

    Args:
        title: Title of the table.
        columns: Columns, or their names.
        rows: Values of every row, one a column.
        wide: Whether columns marked `wide` are shown.
    """
    _print_title(title)
    _print_lines(table_lines(columns, rows, terminal_width(), wide=wide))


def print_notes(notes: Sequence[str]) -> None:
    """Print notes on stdout, each a paragraph of its own; nothing where there is none."""
    if notes:
        _print_title("Notes")
        for note in notes:
            _print_lines(map(Text, wrap(note, terminal_width(), indent=2, hanging=4)))


def _print_title(title: str) -> None:
    if title:
        _STDOUT.print()
        _print_lines(Text(line, style="bold") for line in wrap(title, terminal_width()))


def _print_lines(lines: Iterable[RenderableType]) -> None:
    """Print lines that fit already; a word longer than the terminal is wide is kept whole."""
    for line in lines:
        _STDOUT.print(line)


class ProgressView:
    """Progress bars on stderr for a bundle build (a `BuildListener`) and a plan's compilation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def phase(self, name: str) -> None:
        """Finish the running phase and begin another."""
        self.finish_phase()
        self._phase = self._progress.add_task(plain(name), total=None)

    def finish_phase(self) -> None:
        """Mark the running phase done."""
        if self._phase is not None:
            self._progress.update(self._phase, total=1, completed=1)
            self._phase = None

    def update(self, name: str, step: int, steps: int) -> None:
        """Move the bar called `name` to `step` of `steps`."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(plain(name), total=steps)
        self._progress.update(self._tasks[name], completed=step, total=steps)


@contextmanager
def progress_view() -> Iterator[ProgressView]:
    """Show progress on stderr while the block runs."""
    progress = Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=STDERR,
    )
    view = ProgressView(progress)
    progress.start()
    try:
        yield view
    except BaseException:
        # What went wrong is said by one line, without bars above it, and without the empty line
        # that Progress.stop prints into what is no terminal.
        progress.live.transient = True
        progress.live.stop()
        raise
    view.finish_phase()
    progress.stop()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value

"""View of a recording: the camera in numbers, why a capture is not kept, and when to begin."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from fasdk.capture import monotonic_ms
from fasdk.plain_text import plain_line
from fasdk_tools.terminal.output import STDERR
from fasdk_tools.terminal.typed import discard_typed, was_entered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from fasdk.reasons import Finding, Reason
    from fasdk_tools.recording.preview import PreviewNumbers

_USUAL_PAUSE_S = 3.0


class RecordingView:
    """Shows a line that is rewritten at a terminal, and a line a change of reason elsewhere.

    Args:
        status: Line at the terminal.
        presentations: Number of presentations that are asked for.
        frames: Captures of each.
        pause_s: Seconds before each presentation but the first; None begins each with Enter.
    """

    def __init__(
        self, status: Status, presentations: int, frames: int, pause_s: float | None
    ) -> None:
        self._status = status
        self._presentations, self._frames = presentations, frames
        self._pause_s = pause_s
        self._asked = 0
        self._due_ms = 0.0
        self._is_waiting = False
        self._reason: Reason | None = None

    def is_due(self, presentation: int) -> bool:
        """See `RecordListener.is_due`."""
        if presentation != self._asked:
            first, self._asked = self._asked == 0, presentation
            pause_s = 0.0 if first or self._pause_s is None else self._pause_s
            self._due_ms = monotonic_ms() + pause_s * 1000.0
            if self._pause_s is None:
                discard_typed()
                self._say(f"presentation {presentation} of {self._presentations}: press Enter")
            elif pause_s:
                self._say(f"step away; the next presentation begins in {pause_s:g} s")
        begins = was_entered() if self._pause_s is None else monotonic_ms() >= self._due_ms
        self._is_waiting = not begins
        return begins

    def seen(self, numbers: PreviewNumbers, findings: tuple[Finding, ...], kept: int) -> None:
        """See `RecordListener.seen`."""
        state = (
            "waiting"
            if self._is_waiting
            else f"presentation {self._asked} of {self._presentations}, "
            f"{kept} of {self._frames} captures"
        )
        why = "; ".join(f"{each.reason.value}: {each.message}" for each in findings[:1])
        line = f"{state}: {numbers.text()}{'; ' if why else ''}{why}"
        self._status.update(Text(plain_line(line)))
        reason = findings[0].reason if findings else None
        if reason is not self._reason and not STDERR.is_terminal and not self._is_waiting:
            self._say(f"not kept, {why}" if why else f"kept: {numbers.text()}")
        self._reason = reason

    def added(self, name: str, presentation: int) -> None:
        """See `RecordListener.added`."""
        self._say(f"presentation {presentation} of {self._presentations} is added: {name}")

    def _say(self, line: str) -> None:
        STDERR.print(f"fasdk: {plain_line(line)}", markup=False, soft_wrap=True)


@contextmanager
def recording_view(
    presentations: int, frames: int, pause_s: float | None
) -> Iterator[RecordingView]:
    """Show a recording on stderr while the block runs.

    Args:
        presentations: Number of presentations that are asked for.
        frames: Captures of each.
        pause_s: Seconds between presentations; None for Enter at a terminal, 3 s elsewhere.
    """
    if pause_s is None and not (sys.stdin.isatty() and STDERR.is_terminal):
        pause_s = _USUAL_PAUSE_S
    with STDERR.status("") as status:
        yield RecordingView(status, presentations, frames, pause_s)

"""Exceptions raised at a chosen moment of a call, as a signal handler of the application would."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import fasdk

PACKAGE = str(Path(fasdk.__file__).parent)


class InterruptionError(RuntimeError):
    """What the application's own handler raises; an Exception, which is the harder case."""


@contextmanager
def untraced() -> Iterator[None]:
    """Take the tracer of this thread, which measures coverage, away while the block runs.

    It holds locks of its own, which an exception raised inside it would leave held.
    """
    trace_before, profile_before = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.settrace(trace_before)
        sys.setprofile(profile_before)


@dataclass
class Tracer:
    """Counts the moments of a call at which a handler may run, and raises at one of them.

    Attributes:
        at: Number of the moment to raise at; None to count alone.
        instructions: Whether every instruction is a moment, or every line and call.
        everywhere: Whether the standard library's own functions count too, or fasdk's alone.
        count: Number of moments so far.
        where: Moment at which it raised; empty where it has not.
        reaches_caller: Whether it raised where nothing but the call itself may keep the exception.
            Python drops one that is raised while a generator is closed.
    """

    at: int | None
    instructions: bool = False
    everywhere: bool = True
    count: int = 0
    where: str = ""
    reaches_caller: bool = False
    _watched: dict[CodeType, bool] = field(default_factory=dict)

    def run(self, call: Callable[[], Any]) -> BaseException | None:
        """Make the call under the tracer in this thread; return what it raised."""
        with untraced():
            sys.settrace(self._trace)
            sys.setprofile(self._profile if self.everywhere else None)
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                return error
            finally:
                sys.settrace(None)
                sys.setprofile(None)
        return None

    def _is_watched(self, code: CodeType) -> bool:
        watched = self._watched.get(code)
        if watched is None:
            watched = self._watched[code] = self.everywhere or code.co_filename.startswith(PACKAGE)
        return watched

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename == __file__ or not self._is_watched(frame.f_code):
            return None
        if self.instructions:
            frame.f_trace_opcodes = True
        if event in ("call", "line", "opcode"):
            self._moment(frame, event)
        return self._trace

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        """Count the return of a function in C: there Python looks for signals."""
        if event == "c_return" and frame.f_code.co_filename != __file__:
            self._moment(frame, event)

    def _moment(self, frame: FrameType, event: str) -> None:
        if self.count == self.at:
            self.count += 1
            sys.settrace(None)
            sys.setprofile(None)
            self.where = f"{event} at {frame.f_code.co_filename}:{frame.f_lineno}"
            self.reaches_caller = not frame.f_code.co_flags & inspect.CO_GENERATOR
            raise InterruptionError(self.where)
        self.count += 1


def answers_within(seconds: float, call: Callable[[], Any]) -> list[Any]:
    """Return what a call in another thread returned, in a list; an empty one if it took longer."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    return found

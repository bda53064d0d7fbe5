"""Work that is shipped to run in a child for each call, run in one child for many calls."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
from collections.abc import Callable
from typing import NoReturn

_SIZE = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_RUNS = 2_000  # until the child is replaced, so that what it leaks does not add up


class ElsewhereError(Exception):
    """An exception that is no FasdkError, raised in the child; its text says where."""


class ForkServer:
    """Runs inputs in a forked child, which is forked again when it has died or run often.

    Args:
        fast: Parser that the child runs: as shipped, but without a child of its own.
        shipped: Parser as shipped; it answers an input that the child died of.
    """

    def __init__(self, fast: Callable[[bytes], object], shipped: Callable[[bytes], object]) -> None:
        self._fast = fast
        self._shipped = shipped
        self._child: _Child | None = None

    def run(self, data: bytes) -> None:
        """Run one input, and raise what the child raised."""
        if self._child is None:
            self._child = _Child(self._fast)
        try:
            answer = self._child.ask(data)
        except BaseException:  # such as the signal of a hang
            self._end()
            raise
        if answer is None or self._child.runs >= _RUNS:
            self._end()
        if answer is None:
            self._shipped(data)
        elif answer != _ACCEPTED:
            raise pickle.loads(answer)  # noqa: S301 - of a child of this very program

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None


_ACCEPTED = b""


class _Child:
    def __init__(self, run: Callable[[bytes], object]) -> None:
        ours, theirs = os.pipe(), os.pipe()
        self.runs = 0
        self.number = os.fork()
        if self.number == 0:
            os.close(ours[1])
            os.close(theirs[0])
            _serve(run, ours[0], theirs[1])
        os.close(ours[0])
        os.close(theirs[1])
        self._into, self._out = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb", 0)

    def ask(self, data: bytes) -> bytes | None:
        """Return the answer to an input, None where the child died of it."""
        self.runs += 1
        self._into.write(_SIZE.pack(len(data)) + data)
        return _read(self._out.fileno())

    def end(self) -> None:
        """Kill the child, if it still lives."""
        os.kill(self.number, signal.SIGKILL)
        os.waitpid(self.number, 0)
        self._into.close()
        self._out.close()


def _serve(run: Callable[[bytes], object], inputs: int, answers: int) -> NoReturn:
    """Answer inputs until there is no other end."""
    from fasdk.errors import FasdkError
    from fasdk_engines.onnx_import.guard import work_alone

    from fuzz.limits import describe

    try:
        _end_with_parent()
        work_alone()
        while (data := _read(inputs)) is not None:
            answer = _ACCEPTED
            try:
                run(data)
            except FasdkError as error:
                answer = pickle.dumps(error)
            except Exception as error:  # noqa: BLE001 - reported
                answer = pickle.dumps(ElsewhereError(describe(error)))
            os.write(answers, _SIZE.pack(len(answer)) + answer)
    finally:
        os._exit(1)


def _end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, which a hang here may kill."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _read(file: int) -> bytes | None:
    """Return one message, None at the end of them."""
    head = os.read(file, _SIZE.size)
    if len(head) < _SIZE.size:
        return None
    left, parts = _SIZE.unpack(head)[0], []
    while left:
        part = os.read(file, left)
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)

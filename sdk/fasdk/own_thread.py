"""Calls in a thread of their own, where no signal handler can interrupt them.

Python runs signal handlers in the main thread, between any two instructions of whatever it runs. An
exception that a handler raises there can end a function while it holds a lock, or after it has
queued one half of something. What must not be left half done runs in a thread of ours instead; its
caller starts it with one call into C and waits for it in another, and an exception in the caller
ends the wait alone.
"""

from __future__ import annotations

import _thread
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def in_own_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread of its own, and return or raise what it does.

    An exception that a signal handler raises meanwhile ends the wait; the function runs on to its
    end. Where the process can start no more threads the function runs in the caller's.
    """
    return _finished(function).result()


def start_in_background(function: Callable[[], None], name: str) -> None:
    """Run a function in a daemon thread and return at once; what it raises is discarded.

    Where the process can start no more threads the function runs in the caller's.

    Args:
        function: Function to run.
        name: Name of the thread.
    """
    _start(_Call(function, name))


def raise_unless_repeated(error: Exception, function: Callable[[], object]) -> Exception:
    """Return an exception of `function` if it raises one again in a thread of its own.

    It tells an exception of the function, which it raises again, from one that a signal handler of
    the application raised while it ran, which is the application's to handle.

    Args:
        error: Exception that ended the function in this thread.
        function: Function without side effects.

    Raises:
        Exception: `error` itself, where the function does not raise one of its type again.
    """
    again = _finished(function).error
    if isinstance(again, Exception) and type(again) is type(error):
        return again
    raise error


def is_raised_here(error: BaseException) -> bool:
    """Whether C code called by the function that catches it raised it, and no signal handler."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _finished(function: Callable[[], T]) -> _Call[T]:
    call = _Call(function)
    _start(call)
    call.done.acquire()
    return call


def _start(call: _Call[T]) -> None:
    try:
        _thread.start_new_thread(call.start, ())
    except RuntimeError as error:
        if not is_raised_here(error):
            raise
        call.run()  # the process may start no more threads


class _Call(Generic[T]):
    """Function on its way through a thread.

    Attributes:
        done: Lock that is released when the function has ended.
        error: Exception that ended it, or None.
    """

    def __init__(self, function: Callable[[], T], name: str = "fasdk-call") -> None:
        self._function = function
        self._name = name
        self._values: list[T] = []
        self.error: BaseException | None = None
        self.done = _thread.allocate_lock()
        self.done.acquire()

    def start(self) -> None:
        """Run in a thread that `threading` knows; called in a bare one."""
        try:
            threading.Thread(target=self.run, name=self._name, daemon=True).start()
        except RuntimeError:  # the process may start no more threads
            self.run()

    def run(self) -> None:
        """Run the function in this thread."""
        try:
            self._values.append(self._function())
        except BaseException as error:  # noqa: BLE001 - its caller receives it
            self.error = error
        finally:
            with suppress(AttributeError):
                del self._function  # and what it refers to
            self.done.release()

    def result(self) -> T:
        """Return or raise what the function did, once it has ended."""
        if self.error is not None:
            raise self.error
        return self._values.pop()

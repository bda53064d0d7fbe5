"""Future of an answer that no interrupted waiter can keep from being given."""

from __future__ import annotations

import _thread
import threading
from concurrent.futures import Future
from typing import TypeVar

from fasdk.own_thread import is_raised_here
from fasdk.truth import NoTruthValue

T = TypeVar("T")

# Methods of a future hold its lock for microseconds; on a machine that is overloaded, for longer.
_LONGEST_HOLD_S = 0.5


class AnswerFuture(NoTruthValue, Future[T]):
    """Future whose `wait` takes no lock that the thread which resolves it needs.

    A thread that an exception of a signal handler ends inside `result`, `cancel` or
    `add_done_callback` may keep the future's lock for ever; the others take it from it after half
    a second. It is no condition: `if session.submit(capture)` would open a door before the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = threading.Condition(_RecoverableLock())  # type: ignore[arg-type]
        self._given = _thread.allocate_lock()
        self._given.acquire()
        self.is_withdrawn = False

    def set_result(self, result: T) -> None:
        """Resolve the future; its callbacks run before `wait` returns."""
        try:
            super().set_result(result)
        finally:
            if self._given.locked():
                self._given.release()

    def wait(self) -> T:
        """Wait for the answer and return it; for one thread, which no other may cancel it for."""
        self._given.acquire()
        return self.result()

    def withdraw(self) -> None:
        """Note that nobody waits for the answer any more, so that it need not be made."""
        self.is_withdrawn = True


class _RecoverableLock:
    """Reentrant lock that a holder which never returns loses to the next one that asks."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; False where it may not wait, or only for a time, and did not get it."""
        if not blocking:
            return self._lock.acquire(blocking=False)
        limit_s = _LONGEST_HOLD_S if timeout < 0 else min(timeout, _LONGEST_HOLD_S)
        lock = self._lock
        while not lock.acquire(timeout=limit_s):
            if 0 <= timeout <= _LONGEST_HOLD_S:
                return False
            if self._lock is lock:
                self._lock = threading.RLock()
            lock = self._lock
        return True

    def release(self) -> None:
        """Release the lock; a holder that has lost it releases nothing."""
        try:
            self._lock.release()
        except RuntimeError as error:
            if not is_raised_here(error):
                raise

    def __enter__(self) -> bool:
        """Take the lock."""
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self.release()

    def _is_owned(self) -> bool:
        return True  # threading.Condition asks; whoever asks has called `acquire`

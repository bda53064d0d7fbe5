"""How long closing waits for a call that may never end."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator


class Patience:
    """A deadline shared by everything one closing waits for, from its making on.

    Attributes:
        CLOSE_S: Seconds it lasts.
    """

    CLOSE_S: ClassVar[float] = 10.0

    def __init__(self) -> None:
        self._end = time.monotonic() + self.CLOSE_S

    @contextmanager
    def holding(self, lock: threading.Lock) -> Iterator[bool]:
        """Hold `lock` while the block runs, and yield True; False if it was not to be had."""
        is_ours = lock.acquire(timeout=max(0.0, self._end - time.monotonic()))
        try:
            yield is_ours
        finally:
            if is_ours:
                lock.release()

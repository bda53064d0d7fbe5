"""Time limit of closing an engine whose calls may never end."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator


class CloseTimeout:
    """Deadline shared by everything one `close` waits for, starting when it is made.

    Attributes:
        CLOSE_S: Seconds until the deadline.
    """

    CLOSE_S: ClassVar[float] = 10.0

    def __init__(self) -> None:
        self._end = time.monotonic() + self.CLOSE_S

    @contextmanager
    def holding(self, lock: threading.Lock) -> Iterator[bool]:
        """Hold `lock` while the block runs and yield True; yield False after the deadline."""
        is_ours = lock.acquire(timeout=max(0.0, self._end - time.monotonic()))
        try:
            yield is_ours
        finally:
            if is_ours:
                lock.release()

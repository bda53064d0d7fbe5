"""Loaded bundle: an engine with the scorer of its bundle, shared by reference count."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk.backends.engine import Engine
    from fasdk.bundle.bundle import Bundle

    # For type checking alone: sessions are built on batching, and only hand their scorer in.
    from fasdk.scorer import Scorer


class LoadedBundle:
    """Bundle loaded on an engine; the engine is closed when its last user has left.

    Attributes:
        bundle: Verified bundle that the engine runs.
        engine: Engine that runs the bundle's graph.
        scorer: Scorer of the bundle.
        turn: Lock that callers of `engine.run` hold: it takes one thread at a time.
    """

    def __init__(self, bundle: Bundle, engine: Engine, scorer: Scorer) -> None:
        self.bundle = bundle
        self.engine = engine
        self.scorer = scorer
        self.turn = threading.Lock()
        self._lock = threading.Lock()  # of the number of users
        self._users = 1

    def enter(self) -> bool:
        """Keep the engine open until `leave`; False when it is closed already."""
        with self._lock:
            if not self._users:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        """Stop using the engine; the last to leave closes it."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self.engine.close()

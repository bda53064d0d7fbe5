"""After repeated spoofs a camera answers nobody for a while."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk.tracking.policy import LockOutPolicy


class LockOut:
    """One camera's spoof presentations and whether they lock it; times come from the caller.

    Losing the face does not release it, and a LIVE does not clear it: else the next in line would
    buy an attacker more attempts.

    Args:
        policy: The limits, or None for no lock-out.
    """

    def __init__(self, policy: LockOutPolicy | None) -> None:
        self._policy = policy
        self._spoofs_ms: deque[float] = deque()
        self._until_ms: float | None = None

    def spoof(self, at_ms: float, *, same_face: bool) -> None:
        """Count a SPOOF.

        Args:
            at_ms: When, in milliseconds of a clock that never runs backwards.
            same_face: Whether a SPOOF of this very face was counted before.
        """
        policy = self._policy
        if policy is None or self.is_locked(at_ms):
            return
        while self._spoofs_ms and at_ms - self._spoofs_ms[0] > policy.window_ms:
            self._spoofs_ms.popleft()
        if same_face and self._spoofs_ms and at_ms - self._spoofs_ms[-1] < policy.same_face_ms:
            return
        self._spoofs_ms.append(at_ms)
        if len(self._spoofs_ms) >= policy.spoofs:
            self._until_ms = math.inf if policy.locked_ms is None else at_ms + policy.locked_ms

    def is_locked(self, at_ms: float) -> bool:
        """Return whether nobody is answered at that time."""
        return self.left_ms(at_ms) > 0.0

    def left_ms(self, at_ms: float) -> float:
        """Return how long the lock-out still lasts; 0 without one, infinite until `unlock()`.

        Once it is over, what led to it is forgotten.
        """
        if self._until_ms is None:
            return 0.0
        left = self._until_ms - at_ms
        if left > 0.0:
            return left
        self.unlock()
        return 0.0

    def unlock(self) -> None:
        """Release it and forget the spoofs."""
        self._until_ms = None
        self._spoofs_ms.clear()

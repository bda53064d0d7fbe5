"""Lock-out of a camera after repeated spoofs."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fasdk.tracking.policy import LockOutPolicy


class LockOut:
    """Spoof presentations of one camera and whether they lock it; times come from the caller.

    Losing the face does not release it, and a LIVE does not clear it: otherwise each genuine person
    would give an attacker further attempts.

    Args:
        policy: Limits of the lock-out, or None for no lock-out.
        spoofs_ms: Times of the spoof presentations so far, oldest first, in milliseconds.
        locked_until_ms: End of the lock-out, infinite until `unlock()`; None where not locked.
    """

    def __init__(
        self,
        policy: LockOutPolicy | None,
        spoofs_ms: Iterable[float] = (),
        locked_until_ms: float | None = None,
    ) -> None:
        self._policy = policy
        self._spoofs_ms = deque(spoofs_ms)
        self._until_ms = locked_until_ms

    @property
    def spoofs_ms(self) -> tuple[float, ...]:
        """Times of the spoof presentations that count, oldest first, in milliseconds."""
        return tuple(self._spoofs_ms)

    @property
    def locked_until_ms(self) -> float | None:
        """End of the lock-out in milliseconds, infinite until `unlock()`; None where not locked."""
        return self._until_ms

    def spoof(self, at_ms: float, *, same_face: bool) -> None:
        """Count a SPOOF.

        Args:
            at_ms: Time of the SPOOF, in milliseconds of a clock that never runs backwards.
            same_face: Whether a SPOOF of this same face was counted before.
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
        """Return whether the camera is locked at that time, in milliseconds."""
        return self.left_ms(at_ms) > 0.0

    def left_ms(self, at_ms: float) -> float:
        """Return the remaining milliseconds of the lock-out; 0 without one, inf until `unlock()`.

        Once it is over, the spoofs that led to it are forgotten.
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

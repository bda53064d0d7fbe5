"""Account of a camera's attempts: charged, waited for, and kept across restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from fasdk.reasons import Finding, Reason
from fasdk.tracking.lockout import LockOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk.tracking.policy import AttemptPolicy, LockOutPolicy


_LATEST_MS = 1e15  # some 30,000 years, so that no sum of times is infinite
TimeMs = Annotated[float, Field(ge=-_LATEST_MS, le=_LATEST_MS)]


class AttemptState(BaseModel):
    """What is known of one camera's attempts; times in milliseconds of the track's clock.

    Attributes:
        failed: Attempts that were charged since the last LIVE, release or forgiveness.
        last_ms: Time of the last judged frame of the newest of them.
        spoofs_ms: Times of the spoof presentations that count towards the lock-out, oldest first.
        locked_until_ms: End of the lock-out, infinite until it is released by hand; None without.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    failed: int = Field(default=0, ge=0, le=2**31 - 1)
    last_ms: TimeMs = 0.0
    spoofs_ms: tuple[TimeMs, ...] = Field(default=(), max_length=10_000)
    locked_until_ms: Annotated[float, Field(ge=-_LATEST_MS)] | None = None

    def shifted(self, by_ms: float) -> AttemptState:
        """Return the same with every time later by that many milliseconds."""
        locked_ms = self.locked_until_ms
        return self.model_copy(
            update={
                "last_ms": self.last_ms + by_ms,
                "spoofs_ms": tuple(at_ms + by_ms for at_ms in self.spoofs_ms),
                "locked_until_ms": None if locked_ms is None else locked_ms + by_ms,
            }
        )


@dataclass(frozen=True)
class Standing:
    """Whether a camera may be tried, and what a LIVE takes there.

    Attributes:
        wait_ms: Milliseconds until the next attempt may begin; 0 where it may now.
        locked_ms: Milliseconds until the lock-out ends, infinite until it is released; 0 without.
        failed: Attempts without a LIVE that count.
        raises: Number of them for which a LIVE takes more; see `AttemptPolicy`.
    """

    wait_ms: float = 0.0
    locked_ms: float = 0.0
    failed: int = 0
    raises: int = 0


class AttemptStore(Protocol):
    """Keeper of one camera's state, shared by every track of that camera."""

    def read(self, now_ms: float) -> AttemptState:
        """Return the state, which another track may have changed.

        Args:
            now_ms: Time of the track's clock, in milliseconds.

        Raises:
            AttemptError: It cannot be read.
        """
        ...

    def update(self, change: Callable[[AttemptState], AttemptState], now_ms: float) -> AttemptState:
        """Change the state while no other track does, and return it once it is kept.

        Args:
            change: Function of the state as it is; what it raises leaves the state unchanged.
            now_ms: Time of the track's clock, in milliseconds.

        Raises:
            AttemptError: It cannot be read or kept.
        """
        ...


class MemoryStore:
    """Store of a camera's state in memory, for recordings: it ends with the process."""

    def __init__(self) -> None:
        self._state = AttemptState()

    def read(self, now_ms: float) -> AttemptState:  # noqa: ARG002 - of the protocol
        """Return the state."""
        return self._state

    def update(
        self,
        change: Callable[[AttemptState], AttemptState],
        now_ms: float,  # noqa: ARG002 - of the protocol
    ) -> AttemptState:
        """Change the state and return it."""
        self._state = change(self._state)
        return self._state


class AttemptAccount:
    """Attempts of one camera and whether it may be tried; times come from the caller.

    An attempt is charged when its first frame has been judged, before that is said, so that no
    restart in the middle of it makes it free. A LIVE takes all charges back. The lock-out alone
    keeps its spoofs then: otherwise each genuine person would give an attacker further ones.

    Args:
        policy: Schedule of the waits, or None for no waits.
        lock_out: Limits of the lock-out, or None for no lock-out.
        store: Keeper of the state.
    """

    def __init__(
        self,
        policy: AttemptPolicy | None,
        lock_out: LockOutPolicy | None,
        store: AttemptStore,
    ) -> None:
        self._policy = policy
        self._lock_out = lock_out
        self._store = store

    @property
    def is_kept(self) -> bool:
        """Whether there is anything to count."""
        return self._policy is not None or self._lock_out is not None

    def standing(self, now_ms: float) -> Standing:
        """Return whether the camera may be tried at that time.

        Raises:
            AttemptError: The account cannot be read.
        """
        if not self.is_kept:
            return Standing()
        return self._standing(self._store.read(now_ms), now_ms)

    def begin(self, at_ms: float, now_ms: float) -> Standing:
        """Charge an attempt, if one may begin; return the standing before it.

        Args:
            at_ms: Time of its first frame, in milliseconds.
            now_ms: Time at present.

        Raises:
            AttemptError: It cannot be recorded, so that it must not begin.
        """
        if self._policy is None:
            return self.standing(now_ms)
        found = Standing()

        def charge(state: AttemptState) -> AttemptState:
            nonlocal found
            found = self._standing(state, now_ms)
            if found.wait_ms > 0.0 or found.locked_ms > 0.0:
                return state
            return state.model_copy(update={"failed": found.failed + 1, "last_ms": at_ms})

        self._store.update(charge, now_ms)
        return found

    def end_failed(self, at_ms: float, now_ms: float, *, is_charged: bool) -> None:
        """Note the end of an attempt without a LIVE: the wait counts from its last judged frame.

        Args:
            at_ms: Time of that frame, in milliseconds.
            now_ms: Time at present.
            is_charged: Whether `begin` has charged it.

        Raises:
            AttemptError: It cannot be recorded.
        """
        if self._policy is None:
            return

        def end(state: AttemptState) -> AttemptState:
            # At least itself: another track's LIVE or a release may have cleared the charge.
            failed = (
                max(state.failed, 1) if is_charged else self._standing(state, now_ms).failed + 1
            )
            return state.model_copy(update={"failed": failed, "last_ms": max(state.last_ms, at_ms)})

        self._store.update(end, now_ms)

    def spoof(self, at_ms: float, *, same_face: bool) -> None:
        """Count a spoof presentation towards the lock-out; see `LockOut.spoof`.

        Raises:
            AttemptError: It cannot be recorded.
        """
        if self._lock_out is None:
            return

        def count(state: AttemptState) -> AttemptState:
            lock_out = self._lock_out_of(state)
            lock_out.spoof(at_ms, same_face=same_face)
            return _with(state, lock_out)

        self._store.update(count, at_ms)

    def live(self, now_ms: float) -> None:
        """Take back every charge: somebody was LIVE.

        Raises:
            AttemptError: It cannot be recorded.
        """
        if self._policy is not None and self._store.read(now_ms).failed:
            self._store.update(lambda state: state.model_copy(update={"failed": 0}), now_ms)

    def release(self, now_ms: float) -> None:
        """Forget every attempt and end the lock-out, by hand.

        Raises:
            AttemptError: It cannot be recorded.
        """
        if self.is_kept:
            self._store.update(lambda _: AttemptState(), now_ms)

    def _standing(self, state: AttemptState, now_ms: float) -> Standing:
        locked_ms = self._lock_out_of(state).left_ms(now_ms)
        if self._policy is None:
            return Standing(locked_ms=locked_ms)
        idle_ms = max(0.0, now_ms - state.last_ms)
        failed = self._policy.left_of(state.failed, idle_ms)
        return Standing(
            wait_ms=max(0.0, self._policy.wait_ms(state.failed) - idle_ms),
            locked_ms=locked_ms,
            failed=failed,
            raises=min(failed, self._policy.most_raises),
        )

    def _lock_out_of(self, state: AttemptState) -> LockOut:
        return LockOut(
            self._lock_out, spoofs_ms=state.spoofs_ms, locked_until_ms=state.locked_until_ms
        )


def worst_state(
    policy: AttemptPolicy | None, lock_out: LockOutPolicy | None, now_ms: float
) -> AttemptState:
    """Return the strictest state that a lost one may have been in.

    Args:
        policy: Schedule of the waits, or None.
        lock_out: Limits of the lock-out, or None; it is locked where that takes a guard to release.
        now_ms: Time at present, in milliseconds.
    """
    locked = lock_out is not None and lock_out.locked_ms is None
    return AttemptState(
        failed=0 if policy is None else policy.most_failed,
        last_ms=now_ms,
        locked_until_ms=math.inf if locked else None,
    )


def refusal_of(standing: Standing, camera_id: str) -> Finding | None:
    """Return why a camera may not be tried, or None where it may.

    Args:
        standing: Standing of the camera.
        camera_id: Name of the camera.
    """
    left_ms = standing.locked_ms
    if left_ms > 0.0:
        until = "until unlock()" if math.isinf(left_ms) else f"for another {left_ms / 1e3:.1f} s"
        return Finding(
            Reason.LOCKED_OUT, f"camera {camera_id} is locked out {until}: repeated spoofs"
        )
    if standing.wait_ms > 0.0:
        return Finding(
            Reason.WAIT,
            f"camera {camera_id} judges nobody for another {standing.wait_ms / 1e3:.1f} s: "
            f"{standing.failed} attempts without a LIVE: wait, then look at the camera again",
        )
    return None


def _with(state: AttemptState, lock_out: LockOut) -> AttemptState:
    return state.model_copy(
        update={
            "spoofs_ms": lock_out.spoofs_ms,
            "locked_until_ms": lock_out.locked_until_ms,
        }
    )

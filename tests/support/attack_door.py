"""Door that an attacker stands at: the shipped track, its account on disk, a scripted engine."""

from __future__ import annotations

from collections.abc import Callable

from fasdk.decision import Decision, Verdict
from fasdk.reasons import Reason
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import Track, TrackDecision
from fasdk.tracking.tracks import account_of

from support.sequential_tests import sigmoid
from support.track_fakes import FakeSession, Hand, bundle_with_test, capture, retry, scored


class AttackDoor:
    """A camera's track with everything on; `restart` makes another process of it.

    Args:
        bundle: Bundle of the door; None for one with a sequential test.
        policy: Rules of the track; None for the defaults.
    """

    def __init__(self, bundle=None, policy: TrackPolicy | None = None) -> None:
        self.clock = Hand()
        self.clock.now_ms = 1_000.0
        self.policy = policy or TrackPolicy()
        self.answer: Callable[[], Decision] = lambda: scored(0.5)
        self.session = FakeSession(bundle or bundle_with_test(), lambda _: self.answer())
        self.restart()

    def restart(self) -> None:
        """Begin another process: nothing but what is on the disk is left."""
        self.track = self.another_session()

    def another_session(self) -> Track:
        """Return the track of the same camera in another session."""
        account = account_of("lobby", self.policy)
        return Track(self.session, "lobby", self.policy, account=account, clock=self.clock)

    def see(self, log_odds: float, *, after_ms: float = 100.0, **fields) -> TrackDecision:
        """Show a frame of these log-odds."""
        self.clock.now_ms += after_ms
        self.answer = lambda: scored(sigmoid(log_odds))
        return self.track.check(capture(**fields))

    def step_away(self) -> TrackDecision:
        """Show a frame without a face."""
        self.clock.now_ms += 100.0
        self.answer = lambda: retry(Reason.NO_FACE)
        return self.track.check(capture(face=None))

    def attempts_within(self, ms: float, show: Callable[[], TrackDecision]) -> int:
        """Show until that time is over; return how many attempts a frame counted towards."""
        end_ms, begun, was_counting = self.clock.now_ms + ms, 0, False
        while self.clock.now_ms < end_ms:
            shown = show()
            assert shown.verdict is not Verdict.LIVE
            counts = shown.frames > 0
            begun += counts and not (was_counting and shown.frames > 1)
            was_counting = counts
        return begun

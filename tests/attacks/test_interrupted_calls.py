"""An exception of the application's own signal handler ends a call at any moment.

The attacker sends signals to a door's process, whose handler raises, and the application survives
each. Every call still has to be answered afterwards, in that thread, in others and at the track,
and `close` has to return. The exception reaches the application and becomes no decision.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import open_bundle
from fasdk.decision import Verdict
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy

from support import tiny_bundle
from support.interrupts import InterruptionError, Tracer, answers_within, untraced
from support.scripted_engine import SECONDS, Proved

# Python reports, and drops, what is raised while a generator is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

GOOD = tiny_bundle.capture(200)
POLICY = TrackPolicy(frames_required=1, attempts=None, remembered_frames=0)


@dataclass
class Door:
    """A session with a track."""

    session: Liveness

    @property
    def track(self):
        return self.session.track("door", POLICY)


CALLS: dict[str, Callable[[Door], object]] = {
    "check": lambda door: door.session.check(GOOD),
    "check of a bad capture": lambda door: door.session.check(None),
    "submit": lambda door: door.session.submit(GOOD),
    "result": lambda door: door.session.submit(GOOD).result(),
    "cancel": lambda door: door.session.submit(GOOD).cancel(),
    "check_batch": lambda door: door.session.check_batch([GOOD]),
    "track.check": lambda door: door.track.check(GOOD),
    "track.reset": lambda door: door.track.reset(),
    "track.unlock": lambda door: door.track.unlock(),
    "track.is_locked_out": lambda door: door.track.is_locked_out,
    "replay_golden": lambda door: door.session.replay_golden(),
    "swap": lambda door: door.session.swap(door.session.bundle),
    "close": lambda door: door.session.close(),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny.fasb"))


@pytest.fixture
def open_door(bundle):
    def opened() -> Door:
        policy = BatchingPolicy(lanes=1, queue_limit=4)
        return Door(Liveness(bundle, Proved(bundle), batching=policy, loader=Proved).start())

    return opened


def require_answers(door: Door) -> None:
    """Check that this thread, another one and the track are answered."""
    assert door.session.submit(GOOD).result(SECONDS).verdict is Verdict.LIVE
    assert answers_within(SECONDS, lambda: door.session.check(GOOD).is_live) == [True]
    assert answers_within(SECONDS, lambda: door.track.check(GOOD).is_live) == [True]


def walk(open_door, name: str, *, instructions: bool, everywhere: bool, most: int | None) -> int:
    """Interrupt a call at every moment, or at `most` of them; return how often."""
    door = open_door()
    counter = Tracer(None, instructions, everywhere)
    assert counter.run(partial(CALLS[name], door)) is None
    moments = counter.count
    step = 1 if most is None else max(1, moments // most)
    raised = 0
    for at in range(0, moments, step):
        if name == "close" or at % 50 == 0:
            assert answers_within(SECONDS, door.session.close) == [None]
            door = open_door()
        tracer = Tracer(at, instructions, everywhere)
        error = tracer.run(partial(CALLS[name], door))
        raised += bool(tracer.where)
        if tracer.reaches_caller:
            assert isinstance(error, InterruptionError), (tracer.where, error)
        if name != "close":
            require_answers(door)
    assert answers_within(SECONDS, door.session.close) == [None]
    return raised


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_interrupted_holds_nobody_up(open_door, name):
    assert walk(open_door, name, instructions=False, everywhere=True, most=12) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("instructions", [False, True])
def test_a_call_that_is_interrupted_at_any_moment_holds_nobody_up(open_door, name, instructions):
    walk(open_door, name, instructions=instructions, everywhere=not instructions, most=None)


def test_real_signals_at_random_hold_nobody_up(open_door):
    door = open_door()
    pace = random.Random(5)  # noqa: S311 - moments
    track, caught, armed = door.track, 0, False

    def interrupt(*_):
        # Only inside the call below: pytest itself would not survive it.
        if armed:
            raise InterruptionError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with untraced():
            for number in range(300):
                call = (door.session.check, track.check)[number % 2]
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, pace.uniform(1e-5, 4e-4))
                    call(GOOD)
                    armed = False
                except InterruptionError:
                    armed = False
                    caught += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught > 10
    require_answers(door)
    assert answers_within(SECONDS, door.session.close) == [None]


@pytest.mark.parametrize("at", [None, 0])
def test_a_tracer_that_was_there_before_goes_on(at):
    def measures_coverage(*_):
        return None

    before = sys.gettrace()
    sys.settrace(measures_coverage)
    try:
        raised = Tracer(at).run(lambda: GOOD.rgb)
        assert sys.gettrace() is measures_coverage
    finally:
        sys.settrace(before)
    assert isinstance(raised, InterruptionError) == (at is not None)

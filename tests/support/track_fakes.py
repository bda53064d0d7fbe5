"""Fake session with scripted answers, and a clock that the test sets."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fasdk.capture import Capture
from fasdk.decision import Decision, Verdict, point_id
from fasdk.quality import QualityLimits
from fasdk.reasons import Finding, Reason

from support import tiny_bundle
from support.sequential_tests import sequential_test

_SERIALS = itertools.count(1)
FACE = (20, 10, 20, 20)
POINT = point_id("standard", tiny_bundle.ALL)
CALIBRATED = {
    "operating_points": (tiny_bundle.point(threshold=0.5, calibrated=True),),
    "score_calibrations": (tiny_bundle.calibration(),),
}


@dataclass(frozen=True)
class FakeBundle:
    """Parts of a bundle that a track reads."""

    manifest: object
    id: str = "a bundle"
    trust: str = "key of a test"


def plain_bundle() -> FakeBundle:
    return FakeBundle(tiny_bundle.manifest())


def bundle_with_test(identity: str = "a bundle", **changes) -> FakeBundle:
    """Return a bundle with a sequential test, changed as asked."""
    tests = (sequential_test(**changes),)
    return FakeBundle(tiny_bundle.manifest(**CALIBRATED, sequential_tests=tests), identity)


class Hand:
    """A clock moved by hand, in milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def __call__(self) -> float:
        return self.now_ms


def capture(number: int = 0, face=FACE, modalities=tiny_bundle.ALL, **fields) -> Capture:
    """Return a capture; `number` is what its first pixel says, the last row differs in each."""
    frames = {
        "rgb": np.full((48, 64, 3), number, np.uint8),
        "depth": np.full((48, 64), 500, np.uint16),
        "ir": np.full((48, 64), number, np.uint8),
    }
    serial = np.frombuffer(next(_SERIALS).to_bytes(8, "little"), np.uint8)
    frames["rgb"][-1, :8, 0] = frames["depth"][-1, :8] = frames["ir"][-1, :8] = serial
    return Capture(**{m.value: frames[m.value] for m in modalities}, face=face, **fields)


def scored(score: float, *, threshold: float = 0.5, bundle: str = "a bundle") -> Decision:
    """Return the session's answer at the bundle's operating point."""
    live = score > threshold
    return Decision(
        verdict=Verdict.LIVE if live else Verdict.SPOOF,
        score=score,
        threshold=threshold,
        operating_point=POINT,
        bundle_id=bundle,
    )


def retry(reason: Reason = Reason.BLURRED) -> Decision:
    return Decision(Verdict.RETRY, (reason.value,), (reason,), bundle_id="a bundle")


def error(reason: Reason = Reason.ENGINE_FAULT) -> Decision:
    return Decision(Verdict.ERROR, (reason.value,), (reason,), bundle_id="a bundle")


class FakeSession:
    """Answers each capture with what `say` makes of it, at once."""

    level = "standard"
    limits = QualityLimits()

    def __init__(self, bundle: FakeBundle, say: Callable[[Capture], Decision]) -> None:
        self.bundle = bundle
        self._say = say
        self.judged = 0
        self.lateness: Finding | None = None

    def late(self, _: Capture) -> Finding | None:
        return self.lateness

    def submit(self, capture: Capture) -> Future[Decision]:
        self.judged += 1
        future: Future[Decision] = Future()
        future.set_result(self._say(capture))
        return future


class HeldSession(FakeSession):
    """Leaves its futures for the test to resolve, in whatever order."""

    def __init__(self, bundle: FakeBundle) -> None:
        super().__init__(bundle, lambda _: error())
        self.futures: list[Future[Decision]] = []

    def submit(self, _: Capture) -> Future[Decision]:
        self.futures.append(Future())
        return self.futures[-1]


class LanesSession(FakeSession):
    """Answers from several lanes, each capture after a delay of its own."""

    def __init__(self, bundle: FakeBundle, say: Callable[[Capture], Decision], seed: int) -> None:
        super().__init__(bundle, say)
        self._pool = ThreadPoolExecutor(4)
        self._random = random.Random(seed)  # noqa: S311 - delays
        self._lock = threading.Lock()

    def submit(self, capture: Capture) -> Future[Decision]:
        with self._lock:
            delay = self._random.choice([0.0, 0.0, 0.001, 0.003])

        def judge() -> Decision:
            time.sleep(delay)
            return self._say(capture)

        return self._pool.submit(judge)

    def close(self) -> None:
        self._pool.shutdown()

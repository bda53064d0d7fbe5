"""Tracks of four cameras in four threads on shared lanes."""

from __future__ import annotations

import math
import random
import threading

import pytest

from fasdk.decision import Verdict
from fasdk.sequential import ScoredFrame, SequentialRun, Step
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import TrackDecision
from fasdk.tracking.tracks import Tracks

from support.sequential_tests import sequential_test, sigmoid
from support.track_fakes import LanesSession, bundle_with_test, capture, error, retry, scored

CAMERAS, FRAMES = 4, 200
POLICY = TrackPolicy(attempts=None, lock_out=None, face_lost_ms=1e9, max_ms=1e9, max_unscored=1000)


def log_odds(camera: int, number: int) -> float:
    """Return what a frame says: no two frames of all cameras say the same."""
    lean = (2.5, -1.5, 0.2, 1.0)[camera]
    return lean + 2.0 * math.sin(0.7 * number + camera) + 1e-6 * (camera * FRAMES + number)


def answer_of(pixel) -> object:
    camera, number = int(pixel[0]), int(pixel[1]) * 16 + int(pixel[2])
    if number % 11 == 10:
        return retry() if number % 2 else error()
    return scored(sigmoid(log_odds(camera, number)))


def frame(camera: int, number: int):
    taken = capture()
    taken.rgb[0, 0] = (camera, number // 16, number % 16)
    return taken


def replay(camera: int, test) -> list[tuple[Verdict, int, float | None]]:
    """Return what a track must say, one camera at a time."""
    said, run = [], None
    steps = {Step.LIVE: Verdict.LIVE, Step.SPOOF: Verdict.SPOOF}
    for number in range(FRAMES):
        judged = answer_of((camera, number // 16, number % 16))
        if judged.codes:
            ratio = None if run is None else run.log_likelihood_ratio
            said.append((judged.verdict, 0 if run is None else run.frames, ratio))
            continue
        run = run or SequentialRun(test)
        step = run.add(ScoredFrame(judged.score, judged.verdict is Verdict.LIVE, 0.0))
        said.append((steps.get(step, Verdict.RETRY), run.frames, run.log_likelihood_ratio))
        run = None if step is not Step.UNDECIDED else run
    return said


@pytest.mark.parametrize("seed", range(3))
def test_four_interleaved_cameras_never_mix(seed):
    settings = {"max_ms": 1e9}
    session = LanesSession(
        bundle_with_test(**settings), lambda taken: answer_of(taken.rgb[0, 0]), seed
    )
    tracks = Tracks(session)
    answers: dict[int, list[TrackDecision]] = {}
    resolved: dict[int, list[int]] = {camera: [] for camera in range(CAMERAS)}
    start = threading.Barrier(CAMERAS)

    def drive(camera: int) -> None:
        track = tracks.of(f"camera {camera}", POLICY)
        pace = random.Random(seed * CAMERAS + camera)  # noqa: S311 - how many frames at once
        futures = []
        start.wait()
        while len(futures) < FRAMES:
            burst = min(pace.randint(1, 12), FRAMES - len(futures))
            for _ in range(burst):
                number = len(futures)
                futures.append(track.submit(frame(camera, number)))
                futures[-1].add_done_callback(lambda _, n=number: resolved[camera].append(n))
            futures[-1].result(30)
        answers[camera] = [future.result(30) for future in futures]

    threads = [threading.Thread(target=drive, args=(camera,)) for camera in range(CAMERAS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    session.close()
    verdicts = set()
    for camera in range(CAMERAS):
        said = answers[camera]
        expected = replay(camera, sequential_test(**settings))
        assert [(a.verdict, a.frames, a.log_likelihood_ratio) for a in said] == expected
        assert {a.camera_id for a in said} == {f"camera {camera}"}
        for number, decision in enumerate(said):
            own = answer_of((camera, number // 16, number % 16))
            assert math.isnan(own.score) or decision.score == own.score
        assert resolved[camera] == list(range(FRAMES))
        verdicts |= {a.verdict for a in said}
    assert verdicts == set(Verdict)


def test_frames_of_one_camera_from_several_threads_are_taken_in_one_at_a_time():
    session = LanesSession(bundle_with_test(live_bound=1e9, max_frames=10_000, max_ms=1e9), say, 0)
    track = Tracks(session).of("door", POLICY)
    counted: list[int] = []
    lock = threading.Lock()

    def drive() -> None:
        for _ in range(50):
            found = track.check(capture())
            with lock:
                counted.append(found.frames)

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    session.close()
    assert sorted(counted) == list(range(1, 201))


def say(_: object):
    return scored(0.6)

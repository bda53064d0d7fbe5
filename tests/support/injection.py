"""Frames of a person at a door, as a camera takes them and as somebody injects them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from fasdk.backends.engine import EngineOutputs
from fasdk.batching import BatchingPolicy
from fasdk.bundle.bundle import Bundle
from fasdk.capture import Capture, Modality
from fasdk.quality import QualityLimits
from fasdk.session.session import Liveness
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.track import Track, TrackDecision
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_calibration.synthetic.generator import SceneSettings

from support.scripted_engine import FakeEngine, live
from support.track_fakes import Hand

POLICY = TrackPolicy(frames_required=6, lock_out=None, attempts=None, on_disk=False)
ONLY_AGREEMENT = QualityLimits.off().model_copy(update={"sensors_agree": True})


@lru_cache
def person(number: int, drift: float = 1.0, frames: int = 14, **settings) -> tuple[Capture, ...]:
    """Return a live presentation; `drift` 0 stands still, 3 moves much."""
    scene = SceneSettings(
        frames_per_presentation=frames, drift=drift, **{"skew_frames": 0.2, **settings}
    )
    return tuple(
        generate(
            61, number * frames + at, Split.HELD_OUT, species=Species.BONA_FIDE, settings=scene
        ).capture
        for at in range(frames)
    )


def show(
    bundle: Bundle,
    frames,
    *,
    limits: QualityLimits = ONLY_AGREEMENT,
    policy: TrackPolicy = POLICY,
    every_ms: float = 100.0,
    model=live,
) -> list[TrackDecision]:
    """Return a track's decisions on frames; the model says LIVE to every one of them."""
    clock = Hand()
    batching = BatchingPolicy(lanes=1)
    with Liveness(bundle, FakeEngine(model), batching=batching, limits=limits) as session:
        track = Track(session, "door", policy, clock=clock)
        found = []
        for frame in frames:
            clock.now_ms += every_ms
            found.append(track.check(frame))
    return found


def spoof(size: int) -> EngineOutputs:
    """Return outputs that call every row an attack."""
    outputs = live(size)
    return EngineOutputs(-outputs.logits, outputs.reliability)


def changed(capture: Capture, change, seed: int = 0) -> Capture:
    """Return a capture with its pictures changed, and depth with new noise."""
    depth = noisy(3.0, seed)(capture.frame(Modality.DEPTH))
    return replace(capture, rgb=change(capture.rgb), ir=change(capture.ir), depth=depth)


def jpeg(quality: int):
    """Return a change of a picture to what a JPEG of that quality keeps of it."""

    def change(frame: np.ndarray) -> np.ndarray:
        ok, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert ok
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)

    return change


def shifted(across: float, down: float = 0.0):
    """Return a change of a picture that moves it by pixels."""

    def change(frame: np.ndarray) -> np.ndarray:
        move = np.array([[1.0, 0.0, across], [0.0, 1.0, down]])
        size = frame.shape[1::-1]
        return cv2.warpAffine(frame, move, size, borderMode=cv2.BORDER_REPLICATE)

    return change


def resized(factor: float):
    """Return a change of a picture that makes it smaller and then as large as before."""

    def change(frame: np.ndarray) -> np.ndarray:
        size = frame.shape[1::-1]
        small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, size)

    return change


def noisy(deviation: float, seed: int = 0):
    """Return a change of a frame that adds noise, new at each call."""
    rng = np.random.default_rng(seed)

    def change(frame: np.ndarray) -> np.ndarray:
        noise = rng.normal(0.0, deviation, frame.shape)
        most = np.iinfo(frame.dtype).max
        added = np.clip(np.round(frame + noise), 0, most).astype(frame.dtype)
        return np.where(frame > 0, added, frame)

    return change

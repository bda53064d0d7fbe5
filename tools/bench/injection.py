"""Error rates of the checks that frames were taken by a camera's sensors, just now and together.

    python tools/bench/injection.py [--sequences N] [--streams N] [--processes P] [--seed S]

Synthetic presentations alone, by the default sensors and those of the four domains, with the
sensors' noise, holes in depth, a misregistered rig, and depth and infrared exposed up to a fifth of
a frame before or after color. A live sequence is eight frames of one held-out person who stands
still, stands and waits, or moves; people follow each other before one door within the ten seconds
that it remembers, and some stay for sixty frames. False alarms are sequences of which a check finds
a frame. The checks are those of this module's `Check`; that the sensors show one face and move
together has figures of its own (tools/bench/agreement.py), and is counted apart.

An injected stream is found where any check finds any of its frames, and each has a live person's
frames before it. Rates of sequences come with the one-sided 95 % upper bound of Clopper and
Pearson, which takes sequences as independent, although some are of one person.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing import Pool
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fasdk.capture import Capture, DeviceStamp, Modality
from fasdk.quality.agreement import LEAST_RELIEF_MM, margins, relief_mm
from fasdk.tracking.motion_watch import MotionWatch
from fasdk.tracking.newness import FrameHistory
from fasdk.tracking.policy import TrackPolicy
from fasdk.tracking.repeat_watch import RepeatWatch
from fasdk.tracking.size_watch import SizeWatch
from fasdk.tracking.stamp_watch import StampWatch
from fasdk_calibration.metrics.bounds import binomial_upper
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_calibration.synthetic.generator import SceneSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Stream = list[Capture]
    Change = Callable[[NDArray[Any]], NDArray[Any]]

FRAMES, LONG_FRAMES, LONG_SEQUENCES = 8, 60, 20
DRIFTS = (0.0, 1.0, 3.0)
EVERY_MS = 100.0
MOST_ALARMS = 0.001
_SCENES = (SceneSettings(), *(domain.scene for domain in DOMAINS))
_AT_ONCE = 25  # sequences that one door sees
_FLICKERING = 10  # every so many sequences are shown again in flickering light
_SHOWN, _REPEATED_FROM, _LATE = 14, 6, 4


class Check(Enum):
    """Checks of a frame, each with whether it is one of those that are counted here."""

    AGAIN = ("bit for bit a frame before", True)
    REPLAYED = ("the noise of a frame before, or of another sensor", True)
    STAMPS = ("the device's stamps", True)
    SIZE = ("size against distance", True)
    RELIEF = ("relief of depth", True)
    ONE_FACE = ("sensors show one face", False)
    MOTION = ("sensors move together", False)

    @property
    def is_counted(self) -> bool:
        """Whether its false alarms are counted here."""
        return bool(self.value[1])


class Door:
    """What a track checks of a camera's frames, each check by itself."""

    def __init__(self) -> None:
        policy = TrackPolicy()
        self._history = FrameHistory(policy.remembered_frames)
        self._repeats = RepeatWatch(policy.repeat_ms)
        self._stamps, self._size, self._motion = StampWatch(), SizeWatch(), MotionWatch()
        self._frames = 0
        self._noise = np.random.default_rng(1)

    def another_person(self) -> None:
        """Forget the face in view."""
        self._size.forget()
        self._motion.forget()

    def see(self, capture: Capture) -> set[Check]:
        """Return the checks that find something in the next frame."""
        self._frames += 1
        at_ms = self._frames * EVERY_MS
        clock_ms = at_ms * (1.0 + 50e-6) + float(self._noise.normal(0.0, 1.0))
        stamps = {m: DeviceStamp(3 * self._frames, clock_ms) for m in capture.present}
        capture = replace(capture, stamps=stamps, taken_ms=dict.fromkeys(capture.present, at_ms))
        relief = relief_mm(capture)
        findings = {
            Check.AGAIN: self._history.take_in(capture),
            Check.REPLAYED: self._repeats.take_in(capture, at_ms),
            Check.STAMPS: self._stamps.take_in(capture, at_ms),
            Check.SIZE: self._size.take_in(capture),
            Check.MOTION: self._motion.take_in(capture),
            Check.RELIEF: None if relief is None or relief >= LEAST_RELIEF_MM else relief,
            Check.ONE_FACE: next((p for p, m in margins(capture).items() if m < p.least), None),
        }
        return {check for check, finding in findings.items() if finding is not None}


@dataclass(frozen=True)
class Batch:
    """Sequences that one door sees.

    Attributes:
        seed: Seed of people and captures.
        split: Split of the people.
        first: Number of the first sequence.
        count: Number of sequences.
        frames: Frames of each.
    """

    seed: int
    split: Split
    first: int
    count: int
    frames: int


def sequence(batch: Batch, number: int, drift: float | None = None) -> Stream:
    """Return one live presentation; scenes and drifts take turns."""
    settings = replace(
        _SCENES[number % len(_SCENES)],
        frames_per_presentation=batch.frames,
        drift=DRIFTS[number % len(DRIFTS)] if drift is None else drift,
        skew_frames=0.2,
    )
    first = number * batch.frames
    return [
        generate(
            batch.seed, first + at, batch.split, species=Species.BONA_FIDE, settings=settings
        ).capture
        for at in range(batch.frames)
    ]


def live(batch: Batch) -> list[tuple[bool, set[Check]]]:
    """Return what is found in each sequence, and whether its light flickered."""
    cv2.setNumThreads(1)
    steady, flickering, found = Door(), Door(), []
    for number in range(batch.first, batch.first + batch.count):
        frames = sequence(batch, number)
        steady.another_person()
        found.append((False, set[Check]().union(*(steady.see(frame) for frame in frames))))
        if number % _FLICKERING == 0:
            flickering.another_person()
            lit = (in_bands(frame, at) for at, frame in enumerate(frames))
            found.append((True, set[Check]().union(*(flickering.see(frame) for frame in lit))))
    return found


def in_bands(capture: Capture, at: int) -> Capture:
    """Return a capture in light that flickers by 2 %, which a rolling shutter shows as bands."""
    phase = 2.0 * np.pi * at * 0.381966

    def change(frame: NDArray[Any]) -> NDArray[Any]:
        rows = np.arange(len(frame)).reshape(-1, *(1,) * (frame.ndim - 1))
        gain = 1.0 + 0.02 * np.sin(2.0 * np.pi * rows / 60.0 + phase)
        return np.asarray(np.clip(np.rint(frame * gain), 0, 255), np.uint8)

    return changed(capture, change)


def changed(capture: Capture, change: Change) -> Capture:
    """Return a capture with its pictures changed."""
    rgb, ir = (change(capture.frame(modality)) for modality in (Modality.RGB, Modality.IR))
    return replace(capture, rgb=rgb, ir=ir)


def by_jpeg(quality: int) -> Change:
    """Return what encodes a picture as JPEG and decodes it."""

    def change(frame: NDArray[Any]) -> NDArray[Any]:
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))

    return change


def moved(across: float, down: float) -> Change:
    """Return what moves a picture by pixels."""
    move = np.array([[1.0, 0.0, across], [0.0, 1.0, down]])
    edge = cv2.BORDER_REPLICATE
    return lambda frame: np.asarray(
        cv2.warpAffine(frame, move, frame.shape[1::-1], borderMode=edge)
    )


def resized(factor: float) -> Change:
    """Return what makes a picture smaller and then as large as before."""

    def change(frame: NDArray[Any]) -> NDArray[Any]:
        small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, frame.shape[1::-1]))

    return change


def noisy(deviation: float) -> Change:
    """Return what adds noise to a frame, new at each call."""
    rng = np.random.default_rng(0)

    def change(frame: NDArray[Any]) -> NDArray[Any]:
        added = np.rint(frame + rng.normal(0.0, deviation, frame.shape))
        return np.clip(added, 0, np.iinfo(frame.dtype).max).astype(frame.dtype)

    return change


REPEATS: dict[str, Change] = {
    "repeated as it is": np.copy,
    "repeated by JPEG 95": by_jpeg(95),
    "repeated by JPEG 80": by_jpeg(80),
    "repeated by JPEG 60": by_jpeg(60),
    "repeated half a pixel away": moved(0.5, 0.5),
    "repeated a pixel away": moved(1.0, 1.0),
    "repeated two pixels away": moved(2.0, 1.0),
    "repeated resized by 0.7": resized(0.7),
    "repeated with new noise": noisy(1.0),
}


def _gray(frame: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def streams(mine: Stream, other: Stream) -> Iterator[tuple[str, Stream, Stream]]:
    """Yield the name of each injected stream, the live frames before it, and its frames.

    Args:
        mine: Frames of a person.
        other: Frames of another person.
    """
    pictures = [replace(frame, depth=None) for frame in mine]  # as a codec leaves no depth
    for name, change in REPEATS.items():
        yield name, pictures, [changed(frame, change) for frame in pictures[_REPEATED_FROM:]]
    frozen = [changed(pictures[-1], by_jpeg(70 + 3 * at)) for at in range(8)]
    yield "frozen by JPEG 70 to 91", pictures, frozen
    noise, encode = noisy(0.7), by_jpeg(90)
    frozen = [changed(pictures[-1], lambda frame: encode(noise(frame))) for _ in range(8)]
    yield "frozen by JPEG 90 with new noise", pictures, frozen
    made = [replace(f, ir=_gray(by_jpeg(90)(f.frame(Modality.RGB)))) for f in mine]
    yield "infrared made of color", [], made
    for name in ("ir", "depth"):
        pairs = zip(mine, other, strict=True)
        yield f"{name} of another", [], [replace(a, **{name: getattr(b, name)}) for a, b in pairs]
        late = zip(mine[_LATE:], mine, strict=False)
        mixed = [replace(now, **{name: getattr(before, name)}) for now, before in late]
        yield f"{name} {_LATE} frames late", [], mixed
    rng = np.random.default_rng(2)
    flat = [
        replace(f, depth=np.rint(500.0 + rng.normal(0.0, 2.0, f.depth.shape)).astype(np.uint16))
        for f in mine
        if f.depth is not None
    ]
    yield "flat depth", [], flat


def injected(batch: Batch) -> list[tuple[str, float, bool]]:
    """Return the name of each injected stream, how far the person moves, and if it is found."""
    cv2.setNumThreads(1)
    found = []
    for number in range(batch.first, batch.first + batch.count):
        for drift in DRIFTS:
            people = [sequence(batch, 2 * number + n, drift) for n in (0, 1)]
            for name, before, frames in streams(*people):
                door = Door()
                for frame in before:
                    door.see(frame)
                found.append((name, drift, any(map(door.see, frames))))
    return found


def batches(seed: int, count: int, frames: int, at_once: int = _AT_ONCE) -> list[Batch]:
    """Return batches of held-out sequences."""
    return [
        Batch(seed, Split.HELD_OUT, first, min(at_once, count - first), frames)
        for first in range(0, count, at_once)
    ]


def rate(found: Sequence[set[Check]]) -> dict[str, Any]:
    """Return how many sequences a counted check finds, with the upper bound, and by which."""
    by = Counter(check for each in found for check in each)
    alarms = sum(any(check.is_counted for check in each) for each in found)
    return {
        "found": alarms,
        "of": len(found),
        "upper_95": round(binomial_upper(alarms, len(found)), 6),
        "by": {check.value[0]: by[check] for check in Check},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=3_000, help=f"live, {FRAMES} frames each")
    parser.add_argument("--streams", type=int, default=20, help="people of injected streams")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args()
    seed, start = arguments.seed, time.monotonic()
    long_count = min(LONG_SEQUENCES, arguments.sequences)
    with Pool(arguments.processes) as pool:
        short = pool.map(live, batches(seed, arguments.sequences, FRAMES), chunksize=1)
        long = pool.map(live, batches(seed + 1, long_count, LONG_FRAMES, 2), chunksize=1)
        mixed = pool.map(injected, batches(seed + 2, arguments.streams, _SHOWN, 2), chunksize=1)
    seen = [each for batch in (*short, *long) for each in batch]
    alarms = rate([checks for flickers, checks in seen if not flickers])
    frames = arguments.sequences * FRAMES + long_count * LONG_FRAMES
    shares: dict[str, dict[str, list[bool]]] = {}
    for name, drift, is_found in (each for batch in mixed for each in batch):
        shares.setdefault(name, {}).setdefault(f"drift {drift:g}", []).append(is_found)
    line = {
        "benchmark": "injection",
        "work": "synthetic presentations 320x240 of held-out people; limits from development",
        "seed": seed,
        "frames": frames,
        "false_alarms": alarms,
        "false_alarms_in_flickering_light": rate([c for flickers, c in seen if flickers]),
        "found": {
            name: {drift: round(sum(each) / len(each), 3) for drift, each in by.items()}
            for name, by in shares.items()
        },
        "streams_each": arguments.streams,
        "seconds": round(time.monotonic() - start, 1),
        "machine": platform.machine(),
    }
    print(json.dumps(line))
    sys.exit(0 if alarms["found"] <= MOST_ALARMS * alarms["of"] else 1)


if __name__ == "__main__":
    main()

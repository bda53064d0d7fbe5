"""Error rates of the check that a camera's sensors show one movement of the face.

`tools/bench/agreement.py --motion` runs it and prints its line. Presentations are synthetic: eight
frames of one person, who stands and waits (`drift` 1: a few millimeters from frame to frame) or
moves three times as far, by the default sensors and those of the four domains, with the sensors'
noise, holes in depth, a misregistered rig, and depth and infrared exposed up to a fifth of a frame
before or after color. A mixed presentation has a live person's color frames and, of another sensor:

- frozen: the first frame with new noise in each;
- of another: another person's presentation, moved and scaled until the two faces of the first
  frames are one;
- late: the same person's, by three frames.

The limits of `MotionPair` are hundredths, at least 0.02: the least at which no more than 0.3 % of
the development presentations are refused. The rates are of held-out people and another seed, and
their bounds take presentations as independent, although some are of one person.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.tracking.motion_watch import MotionPair, MotionWatch
from fasdk_calibration.metrics.bounds import binomial_interval, binomial_upper
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_calibration.synthetic.generator import SceneSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

FRAMES = 8
DRIFTS = {"standing": 1.0, "moving": 3.0}
SKEW_FRAMES = 0.2
LATE_FRAMES = 3
MOST_ALARMS = 0.005
_DEPTH_NOISE_MM, _IR_NOISE = 1.5, 2.5
_AT_ONCE = 25  # presentations in memory

Presentation = list[Capture]
_SCENES = (SceneSettings(), *(domain.scene for domain in DOMAINS))


@dataclass(frozen=True)
class Batch:
    """Presentations that are made and judged together.

    Attributes:
        seed: Seed of people and captures.
        split: Split of the people.
        scene: Number of the scene.
        drift: Name of how far the face moves.
        first: Number of the first presentation.
        count: Number of presentations.
    """

    seed: int
    split: Split
    scene: int
    drift: str
    first: int
    count: int


@dataclass(frozen=True)
class Judged:
    """Greatest motion gaps of one presentation, and what it took.

    Attributes:
        drift: Name of how far the face moves.
        kind: "live", or what the mixed presentation has.
        gaps: Greatest motion gap of each pair of sensors.
        frame_ms: Processor time of one frame, in milliseconds.
    """

    drift: str
    kind: str
    gaps: dict[MotionPair, float]
    frame_ms: float

    @property
    def is_found(self) -> bool:
        """Whether the sensors are found to disagree."""
        return any(gap > pair.most for pair, gap in self.gaps.items())


def presentation(batch: Batch, number: int) -> Presentation:
    """Return the frames of one live presentation."""
    settings = replace(
        _SCENES[batch.scene],
        frames_per_presentation=FRAMES,
        drift=DRIFTS[batch.drift],
        skew_frames=SKEW_FRAMES,
    )
    first = number * FRAMES
    return [
        generate(
            batch.seed, first + frame, batch.split, species=Species.BONA_FIDE, settings=settings
        ).capture
        for frame in range(FRAMES)
    ]


def depth_frozen(frames: Presentation, _: Presentation, rng: np.random.Generator) -> Presentation:
    """Return a presentation whose depth is that of the first frame."""
    first = frames[0].frame(Modality.DEPTH)
    return [replace(frame, depth=_with_noise(first, _DEPTH_NOISE_MM, rng)) for frame in frames]


def ir_frozen(frames: Presentation, _: Presentation, rng: np.random.Generator) -> Presentation:
    """Return a presentation whose infrared is that of the first frame."""
    first = frames[0].frame(Modality.IR)
    return [replace(frame, ir=_with_noise(first, _IR_NOISE, rng)) for frame in frames]


def depth_of_another(
    frames: Presentation, others: Presentation, _: np.random.Generator
) -> Presentation:
    """Return a presentation with the depth of another person, who stands where this one does."""
    moved = _moved_onto(others[0], frames[0])
    return [
        replace(frame, depth=moved(other.frame(Modality.DEPTH)))
        for frame, other in zip(frames, others, strict=True)
    ]


def ir_late(frames: Presentation, _: Presentation, __: np.random.Generator) -> Presentation:
    """Return a presentation whose infrared comes some frames late."""
    return [
        replace(frame, ir=earlier.ir)
        for frame, earlier in zip(frames[LATE_FRAMES:], frames, strict=False)
    ]


MIXES: dict[str, Callable[[Presentation, Presentation, np.random.Generator], Presentation]] = {
    "depth frozen": depth_frozen,
    "infrared frozen": ir_frozen,
    "depth of another": depth_of_another,
    f"infrared {LATE_FRAMES} frames late": ir_late,
}


def judge(frames: Presentation) -> tuple[dict[MotionPair, float], float]:
    """Return a presentation's greatest motion gaps, and the processor time a frame in ms."""
    watch, greatest = MotionWatch(), dict[MotionPair, float]()
    start = time.process_time()
    for frame in frames:
        for pair, gap in watch.gaps(frame).items():
            greatest[pair] = max(gap, greatest.get(pair, 0.0))
    return greatest, (time.process_time() - start) / len(frames) * 1e3


def judge_batch(batch: Batch) -> list[Judged]:
    """Return every presentation of a batch, live and mixed, judged."""
    cv2.setNumThreads(1)
    people = [presentation(batch, batch.first + n) for n in range(batch.count)]
    judged = []
    for number, (frames, others) in enumerate(zip(people, [*people[1:], people[0]], strict=True)):
        gaps, frame_ms = judge(frames)
        without_color = [replace(frame, rgb=None) for frame in frames]
        judged.append(Judged(batch.drift, "live", gaps, frame_ms))
        judged.append(Judged(batch.drift, "live without color", *judge(without_color)))
        rng = np.random.default_rng([batch.seed, batch.scene, batch.first + number])
        for kind, mix in MIXES.items():
            judged.append(Judged(batch.drift, kind, *judge(mix(frames, others, rng))))
    return judged


def presentations(seed: int, split: Split, count: int, processes: int) -> list[Judged]:
    """Return at least so many live presentations, over all scenes and drifts, and mixed ones."""
    cells = [(scene, drift) for scene in range(len(_SCENES)) for drift in DRIFTS]
    each = -(-count // len(cells))
    batches = [
        Batch(seed, split, scene, drift, first, min(_AT_ONCE, each - first))
        for scene, drift in cells
        for first in range(0, each, _AT_ONCE)
    ]
    if processes == 1:
        return [one for batch in batches for one in judge_batch(batch)]
    with Pool(processes) as pool:
        return [one for found in pool.imap(judge_batch, batches) for one in found]


def measure(seed: int, count: int, processes: int = 1) -> dict[str, Any]:
    """Return the line: limits, false alarms, detection and cost.

    Args:
        seed: Seed of the development presentations; the next one is that of the held-out ones.
        count: Least number of live held-out presentations; of the development split there are half.
        processes: Processes that make and judge presentations.
    """
    selection = presentations(seed, Split.DEVELOPMENT, -(-count // 2), processes)
    held_out = presentations(seed + 1, Split.HELD_OUT, count, processes)
    kinds = {kind: [j for j in held_out if j.kind == kind] for kind in (*_LIVE, *MIXES)}
    lives = kinds["live"]
    alarms = rate(lives)
    return {
        "benchmark": "motion-agreement",
        "work": f"synthetic presentations of {FRAMES} frames 320x240, limits from development",
        "seeds": {"development": seed, "held_out": seed + 1},
        "development_presentations": sum(j.kind == "live" for j in selection),
        "development_refused": rate(j for j in selection if j.kind == "live"),
        "development_greatest_gap": {
            pair.name.lower(): round(_greatest(selection, pair), 4) for pair in MotionPair
        },
        "limits": {pair.name.lower(): pair.most for pair in MotionPair},
        "false_alarms": alarms,
        "false_alarms_upper_95": round(binomial_upper(alarms["found"], alarms["of"]), 5),
        "false_alarms_without_color": rate(kinds["live without color"]),
        "false_alarms_by_drift": by_drift(lives),
        "found": {kind: by_drift(kinds[kind]) for kind in MIXES},
        "frame_cpu_ms": round(float(np.median([j.frame_ms for j in lives])), 3),
        "meets": alarms["found"] <= MOST_ALARMS * alarms["of"],
    }


_LIVE = ("live", "live without color")


def by_drift(judged: list[Judged]) -> dict[str, dict[str, Any]]:
    """Return the rate for each distance that faces move."""
    return {drift: rate(j for j in judged if j.drift == drift) for drift in DRIFTS}


def rate(judged: Iterable[Judged]) -> dict[str, Any]:
    """Return the share that is found, with its count and exact two-sided 95 % interval."""
    found = [one.is_found for one in judged]
    interval = binomial_interval(sum(found), len(found))
    return {
        "found": sum(found),
        "of": len(found),
        "rate": round(sum(found) / len(found), 4),
        "interval_95": [round(interval.lower, 4), round(interval.upper, 4)],
    }


def _greatest(judged: list[Judged], pair: MotionPair) -> float:
    return max(one.gaps.get(pair, 0.0) for one in judged if one.kind in _LIVE)


def _with_noise(frame: NDArray[Any], deviation: float, rng: np.random.Generator) -> NDArray[Any]:
    """Return a frame with noise; a pixel without depth stays one."""
    top = np.iinfo(frame.dtype).max
    noisy = np.clip(np.rint(frame + deviation * rng.standard_normal(frame.shape)), 1, top)
    return np.where(frame > 0, noisy, 0).astype(frame.dtype)


def _moved_onto(person: Capture, onto: Capture) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what moves and scales depth frames until one face box lies on another."""
    source, target = FaceBox.of(person.face or ()), FaceBox.of(onto.face or ())
    zoom_x, zoom_y = target.width / source.width, target.height / source.height
    matrix = np.array(
        [[zoom_x, 0, target.x - zoom_x * source.x], [0, zoom_y, target.y - zoom_y * source.y]]
    )
    warp = partial(
        cv2.warpAffine,
        M=matrix,
        dsize=onto.size_of(Modality.DEPTH),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return lambda frame: np.asarray(warp(frame))

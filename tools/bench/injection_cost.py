"""Processor time that the checks against injected frames add to a decision.

    python tools/bench/injection_cost.py BUNDLE [--rounds N]

Two tracks' decisions on synthetic presentations of one face after another, with every gate, on
ONNX Runtime with one thread: each frame is shown to one with the checks and to one without them, so
that both meet the same machine. The ratio is that of the two median times of a decision. The checks
are those of the noise, the stamps, the size and the relief; that sensors show one face and move
together was part of a decision before them, and is in both.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import fasdk
from fasdk.capture import Capture, DeviceStamp, Modality, monotonic_ms
from fasdk.quality import QualityLimits, agreement
from fasdk.tracking.repeat_watch import RepeatWatch
from fasdk.tracking.size_watch import SizeWatch
from fasdk.tracking.stamp_watch import StampWatch
from fasdk_calibration.synthetic import Species, Split, generate
from fasdk_calibration.synthetic.generator import SceneSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk.tracking.track import Track

_FRAMES, _PEOPLE = 12, 14  # more frames than are remembered


def frames() -> list[Capture]:
    """Return live presentations, one after the other."""
    scene = SceneSettings(frames_per_presentation=_FRAMES, skew_frames=0.2)
    return [
        generate(41, at, Split.HELD_OUT, species=Species.BONA_FIDE, settings=scene).capture
        for at in range(_FRAMES * _PEOPLE)
    ]


@dataclass
class Switch:
    """Whether the checks are on.

    Attributes:
        is_on: Whether they are.
    """

    is_on: bool = True

    def over(self, check: Callable[..., Any]) -> Callable[..., Any]:
        """Return a check that finds nothing where they are off."""
        return lambda *arguments: check(*arguments) if self.is_on else None


def numbered(capture: Capture, number: int) -> Capture:
    """Return a frame as a camera gives it: unlike all others, stamped and timed."""
    rgb, depth, ir = (capture.frame(modality).copy() for modality in Modality)
    rgb[0, 0] = ir[0, :3] = (number % 256, number // 256 % 256, number // 65536)
    depth[0, 0] = number % 65536
    stamps = {m: DeviceStamp(number, number * 50.0) for m in Modality}
    taken_ms = dict.fromkeys(Modality, monotonic_ms())
    return replace(capture, rgb=rgb, depth=depth, ir=ir, stamps=stamps, taken_ms=taken_ms)


def took_ms(track: Track, capture: Capture) -> float:
    """Return the processor time of a decision of all threads, in milliseconds."""
    start = time.process_time_ns()
    track.check(capture)
    return (time.process_time_ns() - start) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--rounds", type=int, default=20, help=f"of {_FRAMES * _PEOPLE} frames")
    arguments = parser.parse_args()
    captures, switch = frames(), Switch()
    policy = fasdk.TrackPolicy(
        attempts=replace(fasdk.AttemptPolicy(), first_wait_ms=0.0, least_frame_ms=0.0),
        lock_out=None,
        on_disk=False,
    )
    taken: dict[bool, list[float]] = {True: [], False: []}
    with (
        fasdk.open(
            arguments.bundle,
            backend="onnxruntime",
            threads=1,
            limits=QualityLimits(),
            trust=fasdk.TrustPolicy.unsigned(),
        ) as session,
        ExitStack() as stack,
    ):
        for watch in (RepeatWatch, StampWatch, SizeWatch):
            checked = switch.over(watch.take_in)
            stack.enter_context(patch.object(watch, "take_in", checked))
        relief = switch.over(agreement.relief_mm)
        stack.enter_context(patch.object(agreement, "relief_mm", relief))
        tracks = {is_on: session.track(f"door {is_on}", policy) for is_on in (True, False)}
        for number in range(len(captures) * (arguments.rounds + 1)):
            frame = numbered(captures[number % len(captures)], number)
            order = (True, False) if number % 2 else (False, True)
            for switch.is_on in order:
                ms = took_ms(tracks[switch.is_on], frame)
                if number >= len(captures):  # the first round warms up
                    taken[switch.is_on].append(ms)
    checked_ms, unchecked_ms = median(taken[True]), median(taken[False])
    line = {
        "benchmark": "injection-cost",
        "work": "synthetic captures 320x240, every gate, one thread",
        "decisions": len(taken[True]),
        "decision_cpu_ms": round(checked_ms, 3),
        "decision_without_cpu_ms": round(unchecked_ms, 3),
        "ratio": round(checked_ms / unchecked_ms, 4),
        "machine": platform.machine(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()

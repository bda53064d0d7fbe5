"""Latency of the steps before the engine: gates, registration and face finder.

    python tools/bench/quality.py [--runs N] [--yunet MODEL.onnx]

Work: RGB 1280x720 with a 400x400 face, depth and IR 640x480, all gates on, every frame timed, five
landmarks. Registration maps the box through two lenses with distortion by the face's depth. The
face finder runs only where its model is given, on the same RGB frame. One thread; medians; the
parts take turns, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.faces import FaceFinder
from fasdk.quality import QualityLimits, assess
from fasdk.quality.pose import FACE_MODEL_MM
from fasdk.registration import Rig
from fasdk.registration.optics import Lens, Pinhole

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = 1_000.0
TARGET_MS = 0.5
LIMITS = QualityLimits(require_times=True)
BENT = (0.1, -0.2, 0.001, -0.0005, 0.05)


def lens(width_px: int, height_px: int) -> Lens:
    """Return a lens of about 70 degrees with distortion."""
    return Lens(
        width_px=width_px,
        height_px=height_px,
        focal_x_px=0.71 * width_px,
        focal_y_px=0.71 * width_px,
        center_x_px=width_px / 2 - 0.5,
        center_y_px=height_px / 2 - 0.5,
        distortion=BENT,
    )


RIG = Rig(
    rgb=lens(1280, 720),
    depth=Pinhole(lens=lens(640, 480), translation_mm=(-30.0, 0.0, 0.0)),
    ir=Pinhole(lens=lens(640, 480), translation_mm=(25.0, 0.0, 0.0)),
)


def clean_capture() -> Capture:
    """Return noisy frames with a textured face in the middle that meet every limit."""
    rng = np.random.default_rng(7)

    def gray(width: int, height: int) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width] * (64.0 / width)
        return np.asarray(120.0 + 40.0 * np.sin(6.0 * x) * np.cos(6.0 * y))

    def noisy(frame: np.ndarray) -> np.ndarray:
        return np.clip(frame + rng.normal(0.0, 4.0, frame.shape), 0, 255).astype(np.uint8)

    depth = 500.0 + rng.normal(0.0, 3.0, (480, 640))
    depth[rng.random(depth.shape) < 0.02] = 0.0
    points = FACE_MODEL_MM[:, :2] * 2.5 + (640.0, 360.0)
    return Capture(
        rgb=noisy(gray(1280, 720)[..., None] * np.array([1.1, 0.9, 0.8])),
        depth=depth.astype(np.uint16),
        ir=noisy(gray(640, 480)),
        face=FaceBox(440, 160, 400, 400),
        landmarks=points.astype(np.float32),
        taken_ms=dict.fromkeys(Modality, NOW_MS - 20.0),
    )


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--yunet", type=Path)
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    capture = clean_capture()
    registered = RIG.register(capture)
    found = [finding.message for finding in assess(registered, LIMITS, now_ms=NOW_MS)]
    parts: dict[str, Callable[[], object]] = {
        "gates_ms": lambda: assess(registered, LIMITS, now_ms=NOW_MS),
        "registration_ms": lambda: RIG.register(capture),
    }
    if arguments.yunet is not None:
        finder = FaceFinder(arguments.yunet)
        parts["face_finder_ms"] = lambda: finder.find(capture.frame(Modality.RGB))
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(arguments.runs):
        for name, work in parts.items():
            times[name].append(seconds(work))
    medians = {name: round(statistics.median(of) * 1e3, 4) for name, of in times.items()}
    result = {
        "benchmark": "quality",
        "work": "rgb 1280x720 face 400x400, depth and ir 640x480, every gate on",
        "threads": 1,
        "runs": arguments.runs,
        **medians,
        "gates_target_ms": TARGET_MS,
        "gates_ok": not found and medians["gates_ms"] <= TARGET_MS,
        "findings": found,
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

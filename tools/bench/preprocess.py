"""Time the native pass against the published loaders' way: one JSON line.

    python tools/bench/preprocess.py [--runs N]

Work: RGB 1280x720 with a 400x400 face region, depth and IR 640x480 with 240x240 ones, to three
float32 [3, 224, 224]. Both sides start from the same camera frames and end in the same tensors,
which is checked first; one thread each; runs alternate, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fasdk.capture import FaceBox, Modality
from fasdk.preprocess import (
    CropRule,
    DepthEncoding,
    DepthPolarity,
    Implementation,
    PreprocessSpec,
    depth_to_8bit,
    region_of,
    to_tensor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DEPTH = DepthEncoding(near_mm=300, far_mm=1500, polarity=DepthPolarity.NEAR_BRIGHT)


def spec_of(depth: DepthEncoding | None = None) -> PreprocessSpec:
    """Return the published normalisation, (x - 127.5) / 128, of a face crop at 224x224."""
    return PreprocessSpec(
        width=224,
        height=224,
        crop=CropRule.FACE,
        mean=(127.5, 127.5, 127.5),
        std=(128.0, 128.0, 128.0),
        depth=depth,
    )


SPECS = {Modality.RGB: spec_of(), Modality.DEPTH: spec_of(DEPTH), Modality.IR: spec_of()}
FACES = {
    Modality.RGB: FaceBox(440, 160, 400, 400),
    Modality.DEPTH: FaceBox(200, 120, 240, 240),
    Modality.IR: FaceBox(200, 120, 240, 240),
}


def camera_frames() -> dict[Modality, NDArray[Any]]:
    """Return smooth frames with sensor noise; depth has holes, as a real sensor's has."""
    rng = np.random.default_rng(7)

    def view(width: int, height: int) -> NDArray[np.float64]:
        y, x = np.mgrid[0:height, 0:width]
        return np.asarray(0.5 + 0.4 * np.sin(x / width * 5.0) * np.cos(y / height * 3.0))

    colour = view(1280, 720)[..., None] * np.array([230.0, 180.0, 150.0])
    depth = 400.0 + 700.0 * view(640, 480) + rng.normal(0.0, 3.0, (480, 640))
    depth[rng.random((480, 640)) < 0.02] = 0.0
    near_infrared = 220.0 * view(640, 480) + rng.normal(0.0, 4.0, (480, 640))
    return {
        Modality.RGB: np.clip(colour + rng.normal(0, 4, colour.shape), 0, 255).astype(np.uint8),
        Modality.DEPTH: depth.astype(np.uint16),
        Modality.IR: np.clip(near_infrared, 0, 255).astype(np.uint8),
    }


def as_published(frame: NDArray[Any], modality: Modality) -> NDArray[np.float32]:
    """Do what the published loaders do: three 8-bit channels, resize, (x - 127.5) / 128, CHW."""
    spec, size = SPECS[modality], (frame.shape[1], frame.shape[0])
    left, top, right, bottom = region_of(size, FACES[modality], spec)
    region = frame[top : bottom + 1, left : right + 1]
    if spec.depth is not None:
        region = depth_to_8bit(region, spec.depth)
    resized = cv2.resize(region, (spec.width, spec.height))
    if resized.ndim == 2:
        resized = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB)
    normalised = (resized - 127.5) / 128  # float64, as there
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), np.float32)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs

    cv2.setNumThreads(1)
    frames = camera_frames()
    out = {m: np.empty((3, s.height, s.width), np.float32) for m, s in SPECS.items()}

    def ours(using: Implementation) -> None:
        for modality, frame in frames.items():
            spec, tensor = SPECS[modality], out[modality]
            to_tensor(frame, FACES[modality], spec, out=tensor, using=using)

    def published() -> None:
        for modality, frame in frames.items():
            as_published(frame, modality)

    ours(Implementation.NATIVE)
    equal = all(out[m].tobytes() == as_published(f, m).tobytes() for m, f in frames.items())

    native_s, published_s = [], []
    for _ in range(runs):
        native_s.append(seconds(lambda: ours(Implementation.NATIVE)))
        published_s.append(seconds(published))
    # Apart from the pair above, whose caches it would empty.
    numpy_s = [seconds(lambda: ours(Implementation.NUMPY)) for _ in range(max(1, runs // 10))]
    native_ms, published_ms, numpy_ms = (
        statistics.median(times) * 1e3 for times in (native_s, published_s, numpy_s)
    )
    result = {
        "benchmark": "preprocess",
        "work": "rgb 1280x720 crop 400x400, depth and ir 640x480 crop 240x240, to 3x[3,224,224]",
        "threads": 1,
        "runs": runs,
        "tensors_equal": equal,
        "native_ms": round(native_ms, 4),
        "published_cv2_numpy_ms": round(published_ms, 4),
        "fallback_numpy_ms": round(numpy_ms, 4),
        "published_over_native": round(published_ms / native_ms, 2),
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

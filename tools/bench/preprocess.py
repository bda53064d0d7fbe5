"""Latency of the native preprocessing and of the published loaders', as one JSON line.

    python tools/bench/preprocess.py [--runs N] [--composite-runs N]

Work: RGB 1280x720 with a 400x400 face region, depth and IR 640x480 with 240x240 ones, to three
float32 [3, 224, 224]; once with plain infrared, once with infrared, HOG and PLGF as its planes.
Both sides start from the same camera frames and end in the same tensors, which is checked first;
one thread each; runs alternate, so that a busy machine slows both alike.

The published way is OpenCV and NumPy as the published loaders use them; the maps are drawn by
scikit-image and SciPy. One-channel frames are resized as one channel there too, although the
loaders read three equal ones.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import correlate
from skimage.feature import hog

from fasdk.capture import FaceBox, Modality
from fasdk.preprocess import (
    CropRule,
    DepthEncoding,
    DepthPolarity,
    Implementation,
    IrComposite,
    PreprocessSpec,
    depth_to_8bit,
    region_of,
    to_tensor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

DEPTH = DepthEncoding(near_mm=300, far_mm=1500, polarity=DepthPolarity.NEAR_BRIGHT)


def spec_of(
    depth: DepthEncoding | None = None, ir_composite: IrComposite = IrComposite.PLAIN
) -> PreprocessSpec:
    """Return the published normalization, (x - 127.5) / 128, of a face crop at 224x224."""
    return PreprocessSpec(
        width=224,
        height=224,
        crop=CropRule.FACE,
        mean=(127.5, 127.5, 127.5),
        std=(128.0, 128.0, 128.0),
        depth=depth,
        ir_composite=ir_composite,
    )


SPECS = {Modality.RGB: spec_of(), Modality.DEPTH: spec_of(DEPTH), Modality.IR: spec_of()}
COMPOSITE_SPECS = {**SPECS, Modality.IR: spec_of(ir_composite=IrComposite.IR_HOG_PLGF)}
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

    color = view(1280, 720)[..., None] * np.array([230.0, 180.0, 150.0])
    depth = 400.0 + 700.0 * view(640, 480) + rng.normal(0.0, 3.0, (480, 640))
    depth[rng.random((480, 640)) < 0.02] = 0.0
    near_infrared = 220.0 * view(640, 480) + rng.normal(0.0, 4.0, (480, 640))
    return {
        Modality.RGB: np.clip(color + rng.normal(0, 4, color.shape), 0, 255).astype(np.uint8),
        Modality.DEPTH: depth.astype(np.uint16),
        Modality.IR: np.clip(near_infrared, 0, 255).astype(np.uint8),
    }


def crop_of(frame: NDArray[Any], modality: Modality) -> NDArray[Any]:
    """Return the part of the frame that all sides look at."""
    left, top, right, bottom = region_of(
        (frame.shape[1], frame.shape[0]), FACES[modality], SPECS[modality]
    )
    return frame[top : bottom + 1, left : right + 1]


def normalized(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return an 8-bit crop, resized and normalized as the published loaders do."""
    resized = cv2.resize(image, (224, 224))
    if resized.ndim == 2:
        resized = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB)
    return np.asarray((resized - 127.5) / 128)  # float64, as there


def as_published(frame: NDArray[Any], modality: Modality) -> NDArray[np.float32]:
    """Do what the published loaders do: three 8-bit channels, resize, (x - 127.5) / 128, CHW."""
    crop = crop_of(frame, modality)
    if modality is Modality.DEPTH:
        crop = depth_to_8bit(crop, DEPTH)
    return np.ascontiguousarray(normalized(crop).transpose(2, 0, 1), np.float32)


def plgf_kernels() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the published 5x5 kernels: cosine and sine of the direction over squared distance."""
    up, right = 2.0 - np.arange(5.0)[:, None], np.arange(5.0)[None, :] - 2.0
    squared = up**2 + right**2
    squared[2, 2] = np.inf  # no pull from the pixel itself
    angle = np.arctan2(up, right)
    return np.cos(angle) / squared, np.sin(angle) / squared


KERNELS = plgf_kernels()


def stored(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a float map as the published data sets store it."""
    return np.asarray(Image.fromarray(image).convert("RGB"))[..., 0]


def composite_as_published(frame: NDArray[Any]) -> NDArray[np.float32]:
    """Draw HOG and PLGF as the published scripts do, then load all three as the loaders do."""
    gray = crop_of(frame, Modality.IR)
    _, drawn = hog(
        gray, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), visualize=True
    )
    level = np.where(gray > 2, gray, 2).astype(np.float64)
    across, along = (correlate(level, kernel, mode="constant") for kernel in KERNELS)
    by = level + 0.0001
    angle = np.arctan(np.sqrt((across / by) ** 2 + (along / by) ** 2))
    plgf = (angle - angle.min()) / (angle.max() - angle.min()) * (255 - 1) + 1
    maps = (gray, stored(drawn), stored(plgf))
    return np.stack([normalized(image)[..., 0] for image in maps]).astype(np.float32)


def seconds(work: Callable[[], object]) -> float:
    """Return this thread's CPU time for one call: wall time, less what others took of the core.

    Nothing here waits, and no other thread helps; if one did, it would flatter the published side.
    """
    start = time.thread_time()
    work()
    return time.thread_time() - start


def medians_ms(runs: int, first: Callable[[], object], second: Callable[[], object]) -> list[float]:
    """Return the median of each, run in turn."""
    pairs = [(seconds(first), seconds(second)) for _ in range(runs)]
    return [round(statistics.median(times) * 1e3, 4) for times in zip(*pairs, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--composite-runs", type=int, default=20)
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    frames = camera_frames()
    out = {m: np.empty((3, s.height, s.width), np.float32) for m, s in SPECS.items()}

    def ours(specs: Mapping[Modality, PreprocessSpec], using: Implementation) -> None:
        for modality, frame in frames.items():
            to_tensor(frame, FACES[modality], specs[modality], out=out[modality], using=using)

    def published() -> dict[Modality, NDArray[np.float32]]:
        return {m: as_published(frame, m) for m, frame in frames.items()}

    def published_composite() -> dict[Modality, NDArray[np.float32]]:
        plain = {m: as_published(frames[m], m) for m in (Modality.RGB, Modality.DEPTH)}
        return {**plain, Modality.IR: composite_as_published(frames[Modality.IR])}

    def equal(expected: dict[Modality, NDArray[np.float32]]) -> bool:
        return all(out[m].tobytes() == tensor.tobytes() for m, tensor in expected.items())

    def plain() -> None:
        ours(SPECS, Implementation.NATIVE)

    def composite() -> None:
        ours(COMPOSITE_SPECS, Implementation.NATIVE)

    plain()
    plain_equal = equal(published())
    composite()
    composite_equal = equal(published_composite())

    native_ms, published_ms = medians_ms(arguments.runs, plain, published)
    composite_ms, drawn_ms = medians_ms(arguments.composite_runs, composite, published_composite)
    # Apart from the pairs above, whose caches it would empty.
    numpy_runs = max(1, arguments.runs // 10)
    fallback_ms, _ = medians_ms(numpy_runs, lambda: ours(SPECS, Implementation.NUMPY), dict)
    result = {
        "benchmark": "preprocess",
        "work": "rgb 1280x720 crop 400x400, depth and ir 640x480 crop 240x240, to 3x[3,224,224]",
        "threads": 1,
        "runs": arguments.runs,
        "tensors_equal": plain_equal,
        "native_ms": native_ms,
        "published_cv2_numpy_ms": published_ms,
        "fallback_numpy_ms": fallback_ms,
        "published_over_native": round(published_ms / native_ms, 2),
        "composite_runs": arguments.composite_runs,
        "composite_tensors_equal": composite_equal,
        "composite_native_ms": composite_ms,
        "composite_skimage_scipy_ms": drawn_ms,
        "composite_published_over_native": round(drawn_ms / composite_ms, 2),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "scikit-image": version("scikit-image"),
            "scipy": version("scipy"),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

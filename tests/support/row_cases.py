"""Random captures whose rows a device writes, compared with the host's to the bit.

Each capture has up to three modalities, every one with a spec, a frame, a face and landmarks of its
own: all crops, borders, fits, interpolations and orders of planes, sizes from one pixel on, strides
of any sign, parts of frames, regions beyond the frame. A modality that is absent gets its row by
fasdk_constant_row, and every capture a row of `present`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fasdk.backends.cuda_api import CudaDriver, CudaStream, DeviceBuffer, HostBuffer
from fasdk.backends.tensorrt.row_kernels import (
    Launch,
    RowKernels,
    _packer,
    constant_row,
    frame_row,
    present_row,
)
from fasdk.capture import FaceBox, Modality
from fasdk.errors import PreprocessError
from fasdk.preprocess import (
    Border,
    ChannelOrder,
    CropBounds,
    CropRule,
    CropShape,
    DepthPolarity,
    Fit,
    Interpolation,
    PreprocessSpec,
    to_tensor,
)
from fasdk.preprocess.alignment import Alignment
from fasdk.preprocess.parts import FramePart, part_of
from fasdk.preprocess.spec import depth_levels

AT_ONCE = 16  # captures between two synchronizations
GUARD_BYTES = 64


@dataclass(frozen=True)
class RowCase:
    """One row.

    Attributes:
        spec: Preprocessing of the modality.
        frame: The frame; None for an absent modality.
        part: What of it is uploaded; None for an absent modality.
        expected: float32 [3, spec.height, spec.width], as the host writes it.
    """

    spec: PreprocessSpec
    frame: NDArray[Any] | None
    part: FramePart | None
    expected: NDArray[np.float32]


@dataclass(frozen=True)
class CaptureCase:
    """One capture: a row a modality, and one of `present`."""

    rows: tuple[RowCase, ...]
    present: tuple[bool, ...]


@dataclass
class Agreement:
    """What was compared.

    Attributes:
        captures: Number of captures.
        rows: Number of rows, `present` among them.
        different: Places of rows with a differing bit: capture and row.
        settings: Every setting that occurred.
    """

    captures: int = 0
    rows: int = 0
    different: list[tuple[int, int]] = field(default_factory=list)
    settings: set[str] = field(default_factory=set)


def captures(
    seed: int, longest_side: int = 24, specs: Sequence[PreprocessSpec] = ()
) -> Iterator[CaptureCase]:
    """Yield random captures for ever, the same for the same seed.

    Args:
        seed: Seed of everything.
        longest_side: Longest side of a tensor in pixels.
        specs: Specs to take in turn; random ones where there are none.
    """
    random = np.random.default_rng(seed)
    turn = 0
    while True:
        count = int(random.integers(1, 4))
        rows = []
        while len(rows) < count:
            spec = specs[turn % len(specs)] if specs else _random_spec(random, longest_side)
            turn += 1
            row = _random_row(random, spec)
            if row is not None:
                rows.append(row)
        yield CaptureCase(tuple(rows), tuple(row.frame is not None for row in rows))


def _random_row(random: np.random.Generator, spec: PreprocessSpec) -> RowCase | None:
    """Return a row of a spec, or None where the frame and the face that were drawn do not fit."""
    if random.random() < 0.15:
        expected = np.full((3, spec.height, spec.width), spec.missing_value, np.float32)
        return RowCase(spec, None, None, expected)
    frame = _random_frame(random, spec)
    height, width = frame.shape[:2]
    face = FaceBox(
        int(random.integers(-width // 2, width)),
        int(random.integers(-height // 2, height)),
        int(random.integers(1, width + 8)),
        int(random.integers(1, height + 8)),
    )
    landmarks = _random_landmarks(random, width, height)
    try:
        part = part_of(frame, face, spec, landmarks=landmarks)
        expected = to_tensor(frame, face, spec, landmarks=landmarks)
    except PreprocessError:
        return None
    return RowCase(spec, frame, part, expected)


def _random_spec(random: np.random.Generator, longest_side: int) -> PreprocessSpec:
    def one(kinds: Any) -> Any:
        return list(kinds)[random.integers(len(list(kinds)))]

    while True:
        crop = one(CropRule)
        depth = None
        if random.random() < 0.35:
            near = int(random.integers(1, 900))
            far = near + int(random.integers(1, 4000))
            depth = {"near_mm": near, "far_mm": far, "polarity": one(DepthPolarity)}
        settings: dict[str, Any] = {
            "width": int(random.integers(1, longest_side + 1)),
            "height": int(random.integers(1, longest_side + 1)),
            "crop": crop,
            "channel_order": one(ChannelOrder),
            "depth": depth,
            "mean": tuple(random.uniform(-3, 200, 3).tolist()),
            "std": tuple(random.uniform(1.5, 90, 3).tolist()),
            "missing_value": float(random.uniform(-2, 2)),
            "border": one(Border),
        }
        if settings["border"] is Border.CONSTANT:
            settings["border_level"] = int(random.integers(0, 256))
        if crop is CropRule.LANDMARKS:
            size = np.float64([settings["width"], settings["height"]])
            settings["landmark_positions"] = tuple(map(tuple, (_FACE * size).tolist()))
        else:
            settings |= {"fit": one(Fit), "interpolation": one(Interpolation)}
        if crop is CropRule.FACE:
            settings |= {
                "crop_scale": float(random.choice([0.5, 1.0, 1.3, 2.7, 4.0])),
                "crop_shape": one(CropShape),
                "crop_bounds": one(CropBounds),
            }
        try:
            return PreprocessSpec.model_validate(settings)
        except ValidationError:
            continue  # a setting without effect


_FACE = np.float64([(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)])


def _random_landmarks(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    size = max(2.0, float(random.uniform(0.3, 1.5)) * min(width, height))
    corner = random.uniform(-0.3, 0.9, 2) * (width, height)
    turned = float(random.uniform(-1.2, 1.2))
    turn = np.float64([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    jitter = random.uniform(-0.03, 0.03, (5, 2))
    return np.float32(corner + ((_FACE - 0.5 + jitter) @ turn.T + 0.5) * size)


def _random_frame(random: np.random.Generator, spec: PreprocessSpec) -> NDArray[Any]:
    """Return a frame with any strides."""
    height, width = (int(random.integers(1, 40)) for _ in range(2))
    channels = 3 if spec.depth is None and random.random() < 0.6 else 1
    limit, dtype = (256, np.uint8) if spec.depth is None else (5200, np.uint16)
    frame = random.integers(0, limit, (2 * height, 2 * width, channels)).astype(dtype)
    frame = [frame[:height, :width], frame[::2, ::2], frame[height:, width:]][random.integers(3)]
    if random.random() < 0.3:
        frame = frame[::-1]
    if random.random() < 0.3:
        frame = frame[:, ::-1]
    if channels == 3 and random.random() < 0.3:
        frame = frame[..., ::-1]
    return frame if channels == 3 else frame[..., 0]


def compare(
    driver: CudaDriver,
    kernels: RowKernels,
    count: int,
    *,
    seed: int = 0,
    mapped: bool = False,
    longest_side: int = 24,
    specs: Sequence[PreprocessSpec] = (),
) -> Agreement:
    """Write the rows of random captures on the device and compare them with the host's.

    Args:
        driver: GPU.
        kernels: Kernels loaded onto it.
        count: Number of captures.
        seed: Seed of the captures.
        mapped: Whether frames and rows are mapped host memory, as on an integrated GPU; else they
            are copied.
        longest_side: Longest side of a random tensor in pixels.
        specs: Specs to take in turn; random ones where there are none.
    """
    found = Agreement()
    drawn = captures(seed, longest_side, specs)
    with driver.current():
        stream = driver.stream()
    while found.captures < count:
        some = list(islice(drawn, min(AT_ONCE, count - found.captures)))
        with driver.current():
            written = _write(driver, kernels, stream, some, mapped=mapped)
        for capture, rows in zip(some, written, strict=True):
            expected = [row.expected for row in capture.rows]
            expected.append(np.float32(capture.present))
            for place, (row, right) in enumerate(zip(rows, expected, strict=True)):
                found.rows += 1
                if row.tobytes() != right.tobytes():
                    found.different.append((found.captures, place))
            found.captures += 1
            found.settings |= {name for row in capture.rows for name in _settings(row)}
    with driver.current():
        stream.free()
    return found


def _settings(row: RowCase) -> Iterator[str]:
    if row.frame is None:
        yield "absent"
        return
    spec = row.spec
    yield from (spec.crop.value, spec.fit.value, spec.interpolation.value, spec.border.value)
    yield from (spec.crop_bounds.value, spec.crop_shape.value, spec.channel_order.value)
    yield "depth" if spec.depth else f"{row.frame.ndim} axes"


@dataclass
class _Memory:
    """Memory of one group of captures, filled from its start."""

    driver: CudaDriver
    stream: CudaStream
    mapped: bool
    held: list[DeviceBuffer | HostBuffer] = field(default_factory=list)
    launched: int = 0

    def upload(self, samples: NDArray[Any]) -> int:
        """Return the device's address of a copy of contiguous samples."""
        host = self.driver.host_buffer(samples.shape, samples.dtype, mapped=self.mapped)
        self.held.append(host)
        host.array[...] = samples
        if self.mapped:
            return host.device_address
        device = self.driver.device_buffer(host.array.nbytes + GUARD_BYTES)
        self.held.append(device)
        self.driver.copy_to_device(device, host.array, self.stream, GUARD_BYTES)
        return device.address + GUARD_BYTES

    def rows(self, count: int) -> tuple[HostBuffer, DeviceBuffer | None, int]:
        """Return float32 to read on the host, what is copied into it, and the device's address."""
        host = self.driver.host_buffer((count,), np.float32, mapped=self.mapped)
        self.held.append(host)
        if self.mapped:
            return host, None, host.device_address
        device = self.driver.device_buffer(host.array.nbytes)
        self.held.append(device)
        return host, device, device.address

    def free(self) -> None:
        while self.held:
            self.held.pop().free()


def _write(
    driver: CudaDriver,
    kernels: RowKernels,
    stream: CudaStream,
    some: Sequence[CaptureCase],
    *,
    mapped: bool,
) -> list[list[NDArray[np.float32]]]:
    memory = _Memory(driver, stream, mapped)
    sizes = [[*(row.expected.size for row in one.rows), len(one.present)] for one in some]
    host, device, address = memory.rows(sum(map(sum, sizes)))
    starts = np.cumsum([0, *(size for row in sizes for size in row)]).tolist()
    at = iter(starts)
    for capture in some:
        for row in capture.rows:
            kernels.launch(_launch_of(memory, row, address + 4 * next(at)), stream)
        modalities = tuple(Modality)[: len(capture.present)]
        held = tuple(m for m, there in zip(modalities, capture.present, strict=True) if there)
        kernels.launch(present_row(modalities, held, address + 4 * next(at)), stream)
    if device is not None:
        driver.copy_to_host(host.array, device, stream)
    stream.synchronize()
    values = host.array.copy()
    memory.free()
    rows = iter(np.split(values, starts[1:-1]))
    return [[next(rows) for _ in row_sizes] for row_sizes in sizes]


def _launch_of(memory: _Memory, row: RowCase, out: int) -> Launch:
    """Return a row's launch; every other frame is uploaded as it lies in memory, with strides."""
    if row.part is None:
        return constant_row(row.spec, out)
    levels = None if row.spec.depth is None else memory.upload(_levels(row.spec))
    memory.launched += 1
    pixels = row.part.pixels
    if memory.launched % 2:
        frame = memory.upload(np.ascontiguousarray(pixels))
        return frame_row(row.part, row.spec, frame=frame, levels=levels, out=out)
    # In the order of memory, so that some strides are negative, and in the middle of more samples.
    flips = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in pixels.strides)
    wider = [(0, 0)] * pixels.ndim
    wider[:2] = [(1, 2), (3, 1)]
    whole = np.pad(pixels[flips], wider)
    inner = whole[1 : 1 + pixels.shape[0], 3 : 3 + pixels.shape[1]][flips]
    base = memory.upload(whole) - whole.ctypes.data
    height, width, channels = (*pixels.shape, 1)[:3]
    steps = (*(step // inner.itemsize for step in inner.strides), 1)[:3]
    launch = frame_row(row.part, row.spec, frame=base + inner.ctypes.data, levels=levels, out=out)
    given: dict[str, Any] = {
        "frame": base + inner.ctypes.data,
        "shape": (height, width, channels),
        "strides": steps,
        "out": out,
        "out_size": (row.spec.height, row.spec.width),
    }
    if isinstance(row.part.view, Alignment):
        given["to_frame"] = row.part.view.to_frame
        given["window"] = *row.part.corner, *row.part.frame_size
    else:
        given["region"] = row.part.view
    if levels is None:
        return replace(launch, arguments=_packer(row.spec).image(**given))
    return replace(launch, arguments=_packer(row.spec).depth(**given, levels=levels))


@lru_cache(maxsize=64)
def _levels(spec: PreprocessSpec) -> NDArray[np.uint8]:
    assert spec.depth is not None
    return depth_levels(spec.depth)

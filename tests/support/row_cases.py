"""Random captures whose rows a device writes, compared with the host's to the bit.

Each capture has up to three modalities, every one with a spec, a frame, a face and landmarks of its
own: all crops, borders, fits, interpolations and orders of planes, sizes from one pixel on, strides
of any sign, parts of frames, regions beyond the frame. A modality that is absent gets its row by
fasdk_constant_row, and every capture a row of `present`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fasdk.backends.cuda_api import CudaDriver, CudaStream, DeviceBuffer, HostBuffer
from fasdk.backends.device_kernels import RowKernels
from fasdk.capture import FaceBox
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
    view_of,
)
from fasdk.preprocess.alignment import Alignment, _in_32nds
from fasdk.preprocess.borders import OUTSIDE, border_index
from fasdk.preprocess.device_rows import (
    FramePart,
    RowLaunch,
    constant_row,
    frame_row,
    present_row,
)
from fasdk.preprocess.geometry import Region
from fasdk.preprocess.spec import depth_levels

AT_ONCE = 16  # captures between two synchronizations
GUARD_BYTES = 64


@dataclass(frozen=True)
class RowCase:
    """One row.

    Attributes:
        spec: Preprocessing of the modality.
        frame: The frame; None for an absent modality.
        view: What the spec looks at; None for an absent modality.
        part: Left, top, right and bottom of what is uploaded; None for an absent modality.
        expected: float32 [3, spec.height, spec.width], as the host writes it.
    """

    spec: PreprocessSpec
    frame: NDArray[Any] | None
    view: Region | Alignment | None
    part: Region | None
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
        return RowCase(spec, None, None, None, expected)
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
        view = view_of((width, height), face, landmarks, spec)
        expected = to_tensor(frame, face, spec, landmarks=landmarks)
    except PreprocessError:
        return None
    part = _part_of(random, view, spec, (width, height))
    return RowCase(spec, frame, view, part, expected)


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


def _part_of(
    random: np.random.Generator,
    view: Region | Alignment,
    spec: PreprocessSpec,
    size: tuple[int, int],
) -> Region:
    """Return what is read of a frame, or something around it."""
    if isinstance(view, Alignment):
        columns = _read_along(view.to_frame[:3], spec, size[0])
        rows = _read_along(view.to_frame[3:], spec, size[1])
        left, right, top, bottom = *columns, *rows
    else:
        left, top = max(view[0], 0), max(view[1], 0)
        right, bottom = min(view[2], size[0] - 1), min(view[3], size[1] - 1)
    more = random.integers(0, 3, 4) if random.random() < 0.5 else np.zeros(4, int)
    return (
        max(0, left - int(more[0])),
        max(0, top - int(more[1])),
        min(size[0] - 1, right + int(more[2])),
        min(size[1] - 1, bottom + int(more[3])),
    )


def _read_along(row: tuple[float, ...], spec: PreprocessSpec, side: int) -> tuple[int, int]:
    """Return the first and last place that an aligned face is interpolated from."""
    places, _ = _in_32nds(row, (spec.width, spec.height))
    read = np.concatenate([border_index(places + at, side, spec.border) for at in (0, 1)])
    read = read[read != OUTSIDE]
    return (int(read.min()), int(read.max())) if read.size else (0, 0)


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
        kernels.launch(present_row(capture.present, out_address=address + 4 * next(at)), stream)
    if device is not None:
        driver.copy_to_host(host.array, device, stream)
    stream.synchronize()
    values = host.array.copy()
    memory.free()
    rows = iter(np.split(values, starts[1:-1]))
    return [[next(rows) for _ in row_sizes] for row_sizes in sizes]


def _launch_of(memory: _Memory, row: RowCase, out_address: int) -> RowLaunch:
    if row.frame is None or row.view is None or row.part is None:
        shape = row.expected.shape
        return constant_row(shape, row.spec.missing_value, out_address=out_address)
    left, top, right, bottom = row.part
    height, width = row.frame.shape[:2]
    channels = 1 if row.frame.ndim == 2 else 3
    samples = row.frame[top : bottom + 1, left : right + 1]
    first, strides = _laid_out(samples.reshape(*samples.shape[:2], channels))
    base = memory.upload(first)
    # Where the first sample is, among the bytes that were copied.
    offset = sum(
        -stride * (size - 1)
        for stride, size in zip(strides, (*samples.shape[:2], channels), strict=True)
        if stride < 0
    )
    part = FramePart(
        base + offset * samples.dtype.itemsize, row.part, (width, height), channels, strides
    )
    levels = 0 if row.spec.depth is None else memory.upload(_levels(row.spec))
    return frame_row(row.spec, row.view, part, out_address=out_address, levels_address=levels)


def _laid_out(samples: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int, int]]:
    """Return contiguous samples in the order of memory, and the strides that undo it."""
    flipped = samples[tuple(slice(None, None, -1 if s < 0 else 1) for s in samples.strides)]
    contiguous = np.ascontiguousarray(flipped)
    _, width, channels = samples.shape
    steps = width * channels, channels, 1
    signs = (-1 if stride < 0 else 1 for stride in samples.strides)
    row, column, channel = (step * sign for step, sign in zip(steps, signs, strict=True))
    return contiguous, (row, column, channel)


@lru_cache(maxsize=64)
def _levels(spec: PreprocessSpec) -> NDArray[np.uint8]:
    assert spec.depth is not None
    return depth_levels(spec.depth)

"""Launches of the kernels that write a row of an engine's input on the device.

The kernels are `sdk/native/cuda/preprocess.cu`. Their arguments are packed by `fasdk._native`, from
the structures the kernels take them as.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import PreprocessError
from fasdk.preprocess.alignment import Alignment
from fasdk.preprocess.native import native_module
from fasdk.preprocess.spec import ChannelOrder, CropBounds, IrComposite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.preprocess.geometry import Region
    from fasdk.preprocess.spec import PreprocessSpec

Three = tuple[int, int, int]

IMAGE_ROW = "fasdk_image_row"
DEPTH_ROW = "fasdk_depth_row"
CONSTANT_ROW = "fasdk_constant_row"
PRESENT_ROW = "fasdk_present_row"

_TILE: Three = (32, 8, 1)  # a warp writes 128 consecutive bytes of each plane
_LINE: Three = (256, 1, 1)
_MOST_MODALITIES = 32  # bits of fasdk_present_row


@dataclass(frozen=True)
class RowLaunch:
    """One launch of a kernel.

    Attributes:
        kernel: Name of the kernel's entry point.
        grid: Number of blocks along x, y and z.
        block: Number of threads of a block along x, y and z.
        arguments: The kernel's parameters, packed.
    """

    kernel: str
    grid: Three
    block: Three
    arguments: bytes


@dataclass(frozen=True)
class FramePart:
    """Part of a frame in memory that the device reads.

    Attributes:
        address: Address of the part's first sample, on the device.
        region: Left, top, right and bottom of the part in the frame, in pixels, inclusive.
        frame_size: Width and height of the frame in pixels.
        channels: Samples of a pixel, 1 or 3.
        strides: Samples from one row, column and channel to the next; None for contiguous ones.
    """

    address: int
    region: Region
    frame_size: tuple[int, int]
    channels: int
    strides: Three | None = None


def row_parameters() -> dict[str, tuple[tuple[int, int], ...]]:
    """Return offset and size in bytes of every parameter of the kernels, by their names.

    Raises:
        PreprocessError: The native module was not built.
    """
    found: dict[str, tuple[tuple[int, int], ...]] = _native().ROW_PARAMETERS
    return found


def refusal(spec: PreprocessSpec) -> str | None:
    """Return why no kernel writes the rows of a spec, or None where one does."""
    if native_module() is None:
        return "fasdk's native module was not built here"
    if spec.ir_composite is not IrComposite.PLAIN:
        return f"ir_composite {spec.ir_composite.value} is drawn on the host"
    return None


def frame_row(
    spec: PreprocessSpec,
    view: Region | Alignment,
    part: FramePart,
    *,
    out_address: int,
    levels_address: int = 0,
) -> RowLaunch:
    """Return the launch that writes a frame to a row, to the bit as `to_tensor` does on the host.

    Args:
        spec: The modality's preprocessing.
        view: What it looks at, as `view_of` has it, in pixels of the frame.
        part: The frame, or a part of it that holds every pixel that is read.
        out_address: Address of float32 [3, spec.height, spec.width] on the device.
        levels_address: Address of `depth_levels(spec.depth)` on the device, for depth.

    Raises:
        PreprocessError: No kernel writes rows of this spec, or would read or write wrongly.
    """
    reason = refusal(spec)
    if reason is not None:
        raise PreprocessError(f"no kernel writes this row: {reason}")
    left, top, right, bottom = part.region
    width, height, channels = right - left + 1, bottom - top + 1, part.channels
    where: dict[str, Any] = {
        "frame": part.address,
        "shape": (height, width, channels),
        "strides": part.strides or (width * channels, channels, 1),
        "out": out_address,
        "out_size": (spec.height, spec.width),
    }
    if isinstance(view, Alignment):
        where |= {"to_frame": view.to_frame, "window": (left, top, *part.frame_size)}
    else:
        where["region"] = view[0] - left, view[1] - top, view[2] - left, view[3] - top
    try:
        if spec.depth is None:
            kernel, arguments = IMAGE_ROW, _packer(spec).image(**where)
        else:
            kernel, arguments = DEPTH_ROW, _packer(spec).depth(**where, levels=levels_address)
    except ValueError as error:
        raise PreprocessError(f"a kernel cannot write this row: {error}") from error
    grid = -(-spec.width // _TILE[0]), -(-spec.height // _TILE[1]), 1
    return RowLaunch(kernel, grid, _TILE, arguments)


def constant_row(shape: Sequence[int], value: float, *, out_address: int) -> RowLaunch:
    """Return the launch that makes every value of a row the same, such as a `missing_value`.

    Args:
        shape: Shape of the row.
        value: Value, rounded to float32.
        out_address: Address of the row on the device.

    Raises:
        PreprocessError: The native module was not built.
    """
    count = prod(shape)
    arguments = _native().constant_row(out=out_address, count=count, value=float(value))
    return _line(CONSTANT_ROW, count, arguments)


def present_row(present: Sequence[bool], *, out_address: int) -> RowLaunch:
    """Return the launch that writes a row of the presence input: 1 for true and 0 for false.

    Args:
        present: Whether each modality is there, at most 32.
        out_address: Address of float32 [modalities] on the device.

    Raises:
        PreprocessError: The native module was not built, or there are too many modalities.
    """
    if len(present) > _MOST_MODALITIES:
        raise PreprocessError(
            f"{len(present)} modalities, a kernel marks at most {_MOST_MODALITIES}"
        )
    bits = sum(1 << place for place, is_there in enumerate(present) if is_there)
    arguments = _native().present_row(out=out_address, count=len(present), present=bits)
    return _line(PRESENT_ROW, len(present), arguments)


def _line(kernel: str, count: int, arguments: bytes) -> RowLaunch:
    return RowLaunch(kernel, (max(1, -(-count // _LINE[0])), 1, 1), _LINE, arguments)


def _native() -> Any:
    module = native_module()
    if module is None:
        raise PreprocessError(
            "rows are written on the host: fasdk's native module was not built here; install a "
            "C++17 compiler and reinstall fasdk"
        )
    return module


@lru_cache(maxsize=64)
def _packer(spec: PreprocessSpec) -> Any:
    mean, std = np.array([spec.mean, spec.std], np.float32).tolist()
    return _native().RowPacker(
        mean=tuple(mean),
        std=tuple(std),
        swap=spec.channel_order is ChannelOrder.BGR,
        interpolation=spec.interpolation.value,
        pad=spec.crop_bounds is CropBounds.PAD,
        border=spec.border.value,
        border_level=spec.border_level,
        fit=spec.fit.value,
    )

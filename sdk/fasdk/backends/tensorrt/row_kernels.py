"""Kernels that make the rows of an engine's inputs from frames in the device's memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fasdk.errors import BackendError
from fasdk.preprocess import IrComposite
from fasdk.preprocess.alignment import Alignment
from fasdk.preprocess.native import native_module, native_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.backends.cuda_api import CudaDriver, CudaFunction, CudaModule, CudaStream
    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec
    from fasdk.preprocess.parts import FramePart

_TILE = 32, 8, 1  # a warp writes 128 consecutive bytes of each plane
_LINE = 256, 1, 1
_IMAGE, _DEPTH, _CONSTANT, _PRESENT = (
    "fasdk_image_row",
    "fasdk_depth_row",
    "fasdk_constant_row",
    "fasdk_present_row",
)


@dataclass(frozen=True)
class CaptureInputs:
    """Inputs of a graph as captures fill them.

    Attributes:
        specs: Preprocessing by modality.
        presence: Column order of the presence input, for a graph that takes one.
    """

    specs: Mapping[Modality, PreprocessSpec]
    presence: tuple[Modality, ...] | None

    @property
    def on_host(self) -> tuple[Modality, ...]:
        """Modalities whose tensors the host makes: those that draw HOG and PLGF maps."""
        return tuple(m for m, s in self.specs.items() if s.ir_composite is not IrComposite.PLAIN)

    @property
    def on_device(self) -> tuple[Modality, ...]:
        """The other modalities."""
        return tuple(m for m in self.specs if m not in self.on_host)


@dataclass(frozen=True)
class Launch:
    """One kernel that writes one row.

    Attributes:
        kernel: Name of its entry point.
        grid: Number of blocks along x, y and z.
        block: Number of threads of a block along x, y and z.
        arguments: Its parameters, packed.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: bytes


class RowKernels:
    """The kernels, loaded onto one device; lanes share them.

    Args:
        driver: The GPU, whose context is current.
        image: A fatbin, a cubin, or PTX.

    Raises:
        BackendError: It holds no code for this GPU, lacks a kernel or has one that takes other
            arguments, this machine's fasdk has no native module, or the device is lost.
    """

    def __init__(self, driver: CudaDriver, image: bytes) -> None:
        if native_module() is None:
            raise BackendError(
                "the native module was not built here, which packs a kernel's arguments: install "
                "a C++17 compiler and reinstall fasdk"
            )
        self._driver = driver
        self._module: CudaModule = driver.module(image)
        try:
            self._functions: dict[str, CudaFunction] = {
                name: self._module.function(name) for name in (_IMAGE, _DEPTH, _CONSTANT, _PRESENT)
            }
            for function in self._functions.values():
                _require_parameters(function)
        except BaseException:
            self._module.free()
            raise

    def launch(self, launch: Launch, stream: CudaStream) -> None:
        """Enqueue one kernel.

        Raises:
            BackendError: The driver refuses it, or the device is lost.
        """
        self._driver.launch(
            self._functions[launch.kernel], launch.grid, launch.block, launch.arguments, stream
        )

    def free(self) -> None:
        """Release them; the context must be current and no launch under way."""
        self._functions = {}
        self._module.free()


def _require_parameters(function: CudaFunction) -> None:
    """Refuse a kernel of another build, which would take the arguments for others."""
    found = function.parameters()
    if found is None:
        return
    expected = _native().ROW_PARAMETERS[function.name]
    if found != expected:
        raise BackendError(
            f"the kernel {function.name} takes {found} (offset and size of each parameter), this "
            f"fasdk passes {expected}: reinstall fasdk, so that both are of one build"
        )


def frame_row(
    part: FramePart, spec: PreprocessSpec, *, frame: int, levels: int | None, out: int
) -> Launch:
    """Return the launch that makes a row of a part of a frame.

    Args:
        part: The part.
        spec: The modality's preprocessing.
        frame: Device address of the part's pixels, rows packed.
        levels: Device address of uint8 [65536], the level of every depth; None for images.
        out: Device address of the row, float32 [3, h, w].
    """
    height, width, channels = (*part.pixels.shape, 1)[:3]
    given: dict[str, Any] = {
        "frame": frame,
        "shape": (height, width, channels),
        "strides": (width * channels, channels, 1),
        "out": out,
        "out_size": (spec.height, spec.width),
    }
    if isinstance(part.view, Alignment):
        given |= {"to_frame": part.view.to_frame, "window": (*part.corner, *part.frame_size)}
    else:
        given["region"] = part.view
    packer = _packer(spec)
    if levels is None:
        kernel, arguments = _IMAGE, packer.image(**given)
    else:
        kernel, arguments = _DEPTH, packer.depth(**given, levels=levels)
    grid = -(-spec.width // _TILE[0]), -(-spec.height // _TILE[1]), 1
    return Launch(kernel, grid, _TILE, arguments)


def constant_row(spec: PreprocessSpec, out: int) -> Launch:
    """Return the launch that fills an absent modality's row, at device address `out`."""
    count = 3 * spec.height * spec.width
    arguments = _native().constant_row(out=out, count=count, value=spec.missing_value)
    return Launch(_CONSTANT, (-(-count // _LINE[0]), 1, 1), _LINE, arguments)


def present_row(presence: tuple[Modality, ...], held: tuple[Modality, ...], out: int) -> Launch:
    """Return the launch that marks the modalities a capture holds, at device address `out`.

    Args:
        presence: Column order of the presence input.
        held: Modalities of the capture.
        out: Device address of the row, float32 [modalities].
    """
    bits = sum(1 << column for column, modality in enumerate(presence) if modality in held)
    arguments = _native().present_row(out=out, count=len(presence), present=bits)
    return Launch(_PRESENT, (1, 1, 1), _LINE, arguments)


def _native() -> Any:
    module = native_module()
    if module is None:
        raise BackendError("the native module is gone")
    return module


@lru_cache(maxsize=64)
def _packer(spec: PreprocessSpec) -> Any:
    return _native().RowPacker(**native_rules(spec))

"""Preprocessing kernels on a CUDA driver, from the fatbin that was built or by NVRTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends.nvrtc import compiled
from fasdk.errors import BackendError
from fasdk.preprocess.device_rows import row_parameters
from fasdk.preprocess.native import native_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from fasdk.backends.cuda_api import CudaDriver, CudaFunction, CudaModule, CudaStream
    from fasdk.preprocess.device_rows import RowLaunch

_FOLDER = "kernels"  # where CMake installs them in the package
_FATBIN = "preprocess.fatbin"
_SOURCE = "preprocess.cu"


class KernelSource(str, Enum):
    """Origin of the kernels that a device runs."""

    FATBIN = "fatbin"
    """Built with fasdk, by nvcc."""
    NVRTC = "nvrtc"
    """Compiled on the device when they were opened."""
    NONE = "none"
    """There are none; preprocessing stays on the host."""


class RowKernels:
    """Kernels that write rows of an engine's inputs; see `fasdk.preprocess.device_rows`.

    The context must be current for every call.

    Args:
        driver: GPU that runs them.
        module: Kernels as loaded on it.

    Raises:
        BackendError: One is missing, or takes other arguments than this fasdk passes.
    """

    def __init__(self, driver: CudaDriver, module: CudaModule) -> None:
        self._driver = driver
        self._module = module
        self._functions: dict[str, CudaFunction] = {}
        for name, expected in row_parameters().items():
            function = module.function(name)
            found = function.parameters()
            if found is not None and found != expected:
                raise BackendError(
                    f"the kernel {name} takes {found} (offset and size of each parameter), this "
                    f"fasdk passes {expected}: reinstall fasdk, so that both are of one build"
                )
            self._functions[name] = function

    def launch(self, row: RowLaunch, stream: CudaStream) -> None:
        """Enqueue, or capture, what writes one row.

        Raises:
            BackendError: The driver refuses it, or the device is lost.
        """
        function = self._functions[row.kernel]
        self._driver.launch(function, row.grid, row.block, row.arguments, stream)

    def free(self) -> None:
        """Release them; no launch may be under way."""
        self._module.free()


@dataclass(frozen=True)
class DeviceKernels:
    """Kernels of a device, or why it has none.

    Attributes:
        source: Origin of the kernels.
        kernels: The kernels; None where there are none.
        reason: Why there are none, or why NVRTC had to compile them; "" for a fatbin.
    """

    source: KernelSource
    kernels: RowKernels | None
    reason: str = ""

    def describe(self) -> str:
        """Return the origin in words, such as "fatbin" or "none: NVRTC is not installed"."""
        return f"{self.source.value}: {self.reason}" if self.reason else self.source.value


def open_kernels(driver: CudaDriver) -> DeviceKernels:
    """Load the kernels onto a device: those of the fatbin where they fit it, else NVRTC's.

    The context must be current. Nothing is raised where there are none, since the host writes the
    same rows to the bit.
    """
    if native_module() is None:
        return DeviceKernels(KernelSource.NONE, None, "fasdk's native module was not built here")
    reasons = []
    ways: tuple[tuple[KernelSource, Callable[[CudaDriver], bytes]], ...] = (
        (KernelSource.FATBIN, _fatbin),
        (KernelSource.NVRTC, _compiled_here),
    )
    for source, image_of in ways:
        try:
            kernels = _loaded(driver, image_of(driver))
        except BackendError as error:
            reasons.append(str(error))
            continue
        return DeviceKernels(source, kernels, "; ".join(reasons))
    return DeviceKernels(KernelSource.NONE, None, "; ".join(reasons))


def _loaded(driver: CudaDriver, image: bytes) -> RowKernels:
    module = driver.module(image)
    try:
        return RowKernels(driver, module)
    except BackendError:
        module.free()
        raise


def _fatbin(_driver: CudaDriver) -> bytes:
    return _read(_FATBIN)


def _compiled_here(driver: CudaDriver) -> bytes:
    source = _read(_SOURCE).decode("utf-8")
    folder = _file(_SOURCE).parent
    headers = {f"fasdk/{path.name}": path.read_text("utf-8") for path in folder.glob("*.hpp")}
    return compiled(source, headers, driver.device.compute_capability)


def _read(name: str) -> bytes:
    try:
        return _file(name).read_bytes()
    except OSError as error:
        raise BackendError(f"{name} cannot be read: {error}") from error


def _file(name: str) -> Path:
    """Return a file of the kernels, which CMake installs beside the native module.

    Raises:
        BackendError: It was not built.
    """
    beside = getattr(native_module(), "__file__", None)
    path = Path(beside or "").parent / _FOLDER / name
    if beside is None or not path.is_file():
        raise BackendError(f"{name} was not built with this fasdk")
    return path

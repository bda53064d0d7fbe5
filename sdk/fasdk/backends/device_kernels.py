"""Images of the preprocessing kernels: the fatbin that was built, or what NVRTC compiles here."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.backends.nvrtc import compiled, require_nvrtc
from fasdk.errors import BackendError
from fasdk.preprocess.native import native_module

if TYPE_CHECKING:
    from fasdk.backends.cuda_api import CudaDevice

_FOLDER = "kernels"  # beside the native module, where CMake installs them
_FATBIN = "preprocess.fatbin"
_SOURCE = "preprocess.cu"


class KernelSource(str, Enum):
    """Origin of the kernels that a device runs; the first that fits is taken."""

    FATBIN = "fatbin"
    """Built with fasdk, by nvcc."""
    NVRTC = "nvrtc"
    """Compiled on the device when they are opened."""


def kernel_image(source: KernelSource, device: CudaDevice) -> bytes:
    """Return an image to load onto a device; the driver says whether a fatbin has code for it.

    Raises:
        BackendError: It was not built, or NVRTC is not installed or cannot compile for this GPU.
    """
    if source is KernelSource.FATBIN:
        return _file(_FATBIN).read_bytes()
    main = _file(_SOURCE)
    headers = {f"fasdk/{path.name}": path.read_text() for path in main.parent.glob("*.hpp")}
    return compiled(main.read_text(), headers, device.compute_capability)


def kernels_here() -> KernelSource:
    """Return the origin of the kernels that a GPU of this machine would get, before one is opened.

    Raises:
        BackendError: No fatbin was built, and NVRTC or the kernels' source is not installed.
    """
    try:
        _file(_FATBIN)
    except BackendError:
        _file(_SOURCE)
        require_nvrtc()
        return KernelSource.NVRTC
    return KernelSource.FATBIN


def _file(name: str) -> Path:
    beside = getattr(native_module(), "__file__", None)
    path = Path(beside or "").parent / _FOLDER / name
    if beside is None or not path.is_file():
        raise BackendError(f"{name} was not built with this fasdk")
    return path

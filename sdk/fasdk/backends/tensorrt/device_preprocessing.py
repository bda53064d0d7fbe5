"""Choice of where the tensors of captures are made, and the kernels that make them on a GPU."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.backends.device_kernels import KernelSource, kernel_image
from fasdk.backends.engine import Preprocessing
from fasdk.backends.tensorrt.row_kernels import CaptureInputs, RowKernels
from fasdk.errors import BackendError

if TYPE_CHECKING:
    from fasdk.backends.cuda_api import CudaDriver
    from fasdk.bundle.manifest import Manifest

_log = logging.getLogger("fasdk.tensorrt")


@dataclass(frozen=True)
class DevicePreprocessing:
    """What lanes need to make the tensors of captures on the device.

    Attributes:
        kernels: The kernels, loaded onto the device.
        captures: Inputs as captures fill them.
    """

    kernels: RowKernels
    captures: CaptureInputs


def open_preprocessing(
    driver: CudaDriver, manifest: Manifest, asked: Preprocessing
) -> DevicePreprocessing | None:
    """Return what the device needs to preprocess, or None where the host does; the log says which.

    Raises:
        BackendError: The device was asked for and cannot, or is lost.
    """
    captures = CaptureInputs(manifest.inputs, manifest.presence_order)
    name = driver.device.name
    if asked is Preprocessing.HOST:
        _log.info("%s: frames are preprocessed on the host, as asked", name)
        return None
    try:
        kernels, origin = load_kernels(driver, captures)
    except BackendError as error:
        if asked is Preprocessing.DEVICE:
            raise BackendError(
                f"cannot preprocess on {name}: {error}; or open with preprocess='host'"
            ) from error
        _log.info("%s: frames are preprocessed on the host: %s", name, error)
        return None
    _log.info("%s: frames are preprocessed on the device, by %s", name, origin)
    if captures.on_host:
        _log.info(
            "%s: %s is preprocessed on the host, which draws its HOG and PLGF maps",
            name,
            ", ".join(m.value for m in captures.on_host),
        )
    return DevicePreprocessing(kernels, captures)


def load_kernels(driver: CudaDriver, captures: CaptureInputs) -> tuple[RowKernels, str]:
    """Return the kernels, loaded onto the device, and where they came from.

    The fatbin's are taken where they fit the GPU, else NVRTC's.

    Raises:
        BackendError: None fit this GPU or this model, or the device is lost.
    """
    if not captures.on_device:
        raise BackendError("every input of this model draws HOG and PLGF maps")
    device = driver.device
    try:
        image = kernel_image(KernelSource.FATBIN, device)
        return RowKernels(driver, image), KernelSource.FATBIN.value
    except BackendError as error:
        no_fatbin = error
    try:
        image = kernel_image(KernelSource.NVRTC, device)
        return RowKernels(driver, image), KernelSource.NVRTC.value
    except BackendError as error:
        raise BackendError(f"fatbin: {no_fatbin}; nvrtc: {error}") from no_fatbin

"""Choice of where the tensors of captures are made, and the kernels that make them on a GPU."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.backends.device_kernels import open_kernels
from fasdk.backends.engine import Preprocessing
from fasdk.errors import BackendError
from fasdk.preprocess import IrComposite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.backends.cuda_api import CudaDriver
    from fasdk.backends.device_kernels import RowKernels
    from fasdk.bundle.manifest import Manifest
    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec

_log = logging.getLogger("fasdk.tensorrt")


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
        kernels, origin = _kernels(driver, captures)
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


def _kernels(driver: CudaDriver, captures: CaptureInputs) -> tuple[RowKernels, str]:
    if not captures.on_device:
        raise BackendError("every input of this model draws HOG and PLGF maps")
    found = open_kernels(driver)
    if found.kernels is None:
        raise BackendError(found.reason)
    return found.kernels, found.describe()

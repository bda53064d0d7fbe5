"""Memory that host and device both use: mapped where they share one, two buffers elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

    from fasdk.backends.cuda_api import CudaDriver, CudaStream, DeviceBuffer, HostBuffer


@dataclass(frozen=True)
class MappedAddress:
    """Mapped host memory as the device sees it, released with the host's buffer.

    Attributes:
        address: Where it is, on the device.
    """

    address: int

    def free(self) -> None:
        """Do nothing: the host's buffer is released."""


@dataclass(frozen=True)
class SharedMemory:
    """Page-locked memory of the host with what it is on the device.

    On an integrated GPU both are one memory, and nothing is ever copied.

    Attributes:
        host: Memory of the host.
        device: The same on the device, mapped; else memory of the device's own, as large.
        is_mapped: Whether both are one.
    """

    host: HostBuffer
    device: DeviceBuffer
    is_mapped: bool

    @classmethod
    def allocate(
        cls,
        driver: CudaDriver,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        hold: Callable[[HostBuffer | DeviceBuffer], None],
    ) -> SharedMemory:
        """Allocate it; its content is undefined.

        Args:
            driver: The GPU, whose context is current.
            shape: Shape of the host's array.
            dtype: Data type of it.
            hold: Receiver of each buffer as soon as there is one, which releases it.

        Raises:
            BackendError: There is no memory left, or the device is lost.
        """
        if driver.device.is_integrated:
            host = driver.host_buffer(shape, dtype, mapped=True)
            hold(host)
            return cls(host, MappedAddress(host.device_address), is_mapped=True)
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        device = driver.device_buffer(size_bytes)
        hold(device)
        host = driver.host_buffer(shape, dtype)
        hold(host)
        return cls(host, device, is_mapped=False)

    @property
    def array(self) -> NDArray[Any]:
        """The host's array."""
        return self.host.array

    def upload(self, driver: CudaDriver, first: int, end: int, stream: CudaStream) -> None:
        """Enqueue a copy of rows [first, end) to the device; nothing where there is one memory."""
        if not self.is_mapped and end > first:
            rows = self.array[first:end]
            offset_bytes = first * (self.array.nbytes // len(self.array))
            driver.copy_to_device(self.device, rows, stream, offset_bytes)

    def download(self, driver: CudaDriver, count: int, stream: CudaStream) -> None:
        """Enqueue a copy of the first rows to the host; nothing where there is one memory."""
        if not self.is_mapped:
            driver.copy_to_host(self.array[:count], self.device, stream)

"""Page-locked memory that holds the frames of one call as they go to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.tensorrt.memory import SharedMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.backends.cuda_api import CudaDriver, CudaStream, DeviceBuffer, HostBuffer

# A frame's part begins here: at a whole sample, and in a sector of the GPU's memory of its own.
_ALIGNMENT_BYTES = 64


class Staging:
    """Parts of frames, packed one after another; one copy takes all of them to the device.

    Args:
        driver: The GPU, whose context is current.
        capacity_bytes: Its size.

    Attributes:
        capacity_bytes: Its size.

    Raises:
        BackendError: There is no memory left, or the device is lost.
    """

    def __init__(self, driver: CudaDriver, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._driver = driver
        self._held: list[HostBuffer | DeviceBuffer] = []
        try:
            self._memory = SharedMemory.allocate(
                driver, (capacity_bytes,), np.uint8, self._held.append
            )
        except BaseException:
            self.free()
            raise

    @property
    def address(self) -> int:
        """Where it is, on the device."""
        return self._memory.device.address

    def pack(self, pixels: NDArray[Any], after: int) -> tuple[int, int] | None:
        """Copy pixels behind the first `after` bytes, rows packed.

        Args:
            pixels: uint8 or uint16 [h, w] or [h, w, 3]; any strides.
            after: Bytes that are taken.

        Returns:
            Where they begin and end in bytes, or None where they do not fit.
        """
        start, end = self.place_of(pixels, after)
        if end > self.capacity_bytes:
            return None
        memory = self._memory.array[start:end].view(pixels.dtype).reshape(pixels.shape)
        np.copyto(memory, pixels)
        return start, end

    @staticmethod
    def place_of(pixels: NDArray[Any], after: int) -> tuple[int, int]:
        """Return where pixels would begin and end behind the first `after` bytes."""
        start = -(-after // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        return start, start + pixels.nbytes

    def upload(self, used_bytes: int, stream: CudaStream) -> None:
        """Enqueue a copy of the first bytes to the device; nothing where there is one memory."""
        self._memory.upload(self._driver, 0, used_bytes, stream)

    def free(self) -> None:
        """Release it; the context must be current and no work may use it."""
        while self._held:
            self._held.pop().free()

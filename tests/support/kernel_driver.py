"""Protocol of a CUDA driver, as a library that launches kernels sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Access:
    """Memory that a kernel reads or writes."""

    address: int
    size_bytes: int
    writes: bool


class KernelDriver(Protocol):
    """Calls that the stand-in TensorRT makes to the driver under it."""

    def has_context(self) -> bool:
        """Whether a context is current on this thread."""
        ...

    def is_capturing(self, stream_handle: int) -> bool:
        """Whether a stream records rather than runs."""
        ...

    def device_array(self, address: int, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return device memory as an array, to be read and written by a running kernel alone."""
        ...

    def play(
        self,
        stream_handle: int,
        name: str,
        kernel: Callable[[], None],
        accesses: Sequence[Access],
    ) -> str | None:
        """Enqueue, or capture, host code that plays a kernel.

        Args:
            stream_handle: The stream, which runs it behind what it already holds.
            name: Name of the kernel in reports.
            kernel: Function called when the stream gets there, and at every replay if it was
                captured.
            accesses: The memory it works on.

        Returns:
            Why it was refused, or None.
        """
        ...

    def violation(self, text: str) -> None:
        """Report that a rule of the library was broken."""
        ...

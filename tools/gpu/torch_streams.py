"""PyTorch on the memory and streams of another library: the GPU's, or the simulated driver's."""

from __future__ import annotations

import ctypes
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor


class TorchStreams(Protocol):
    """PyTorch's way into streams and memory that it did not make.

    Attributes:
        device: Device that modules must be on.
    """

    device: torch.device

    def synchronize(self) -> None:
        """Wait for what PyTorch has put on the device; lanes' streams do not."""
        ...

    def tensor(self, address: int, shape: tuple[int, ...]) -> Tensor:
        """Return float32 memory of the driver as a tensor, which owns nothing."""
        ...

    def enqueue(
        self,
        stream_handle: int,
        work: Callable[[], None],
        *,
        reads: Sequence[tuple[int, int]],
        writes: Sequence[tuple[int, int]],
    ) -> str | None:
        """Put work into a stream, or into what it captures.

        Args:
            stream_handle: The driver's own handle.
            work: Function that computes on tensors of `tensor`.
            reads: Address and bytes of what it reads.
            writes: Address and bytes of what it writes.

        Returns:
            Why it was refused, or None.
        """
        ...


class _DeviceMemory:
    """Memory by the CUDA array interface, version 3, which PyTorch takes without a copy."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {
            "version": 3,
            "data": (address, False),
            "shape": shape,
            "typestr": "<f4",
        }


class GpuStreams:
    """PyTorch on a real GPU; see `TorchStreams`.

    Float32 products are not rounded to TensorFloat-32, and float16 ones add up in float32.
    """

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cuda", 0)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False

    def synchronize(self) -> None:
        """See `TorchStreams.synchronize`."""
        import torch

        torch.cuda.synchronize(self.device)

    def tensor(self, address: int, shape: tuple[int, ...]) -> Tensor:
        """See `TorchStreams.tensor`."""
        import torch

        return torch.as_tensor(_DeviceMemory(address, shape), device=self.device)

    def enqueue(
        self,
        stream_handle: int,
        work: Callable[[], None],
        *,
        reads: Sequence[tuple[int, int]],  # noqa: ARG002 - the GPU knows
        writes: Sequence[tuple[int, int]],  # noqa: ARG002
    ) -> str | None:
        """See `TorchStreams.enqueue`."""
        import torch

        make: Any = torch.cuda.ExternalStream  # it has no types
        stream = make(stream_handle, device=self.device)
        with torch.no_grad(), torch.cuda.stream(stream):
            work()
        return None


class SimulatedStreams:
    """PyTorch on the CPU, run by the simulated driver's streams; see `TorchStreams`.

    Args:
        simulator: The loaded driver, of the tests' `support.cuda_sim`.
    """

    def __init__(self, simulator: Any) -> None:
        import torch

        self.device = torch.device("cpu")
        self._simulator = simulator
        self._access: Any = import_module("support.kernel_driver").Access

    def synchronize(self) -> None:
        """See `TorchStreams.synchronize`."""

    def tensor(self, address: int, shape: tuple[int, ...]) -> Tensor:
        """See `TorchStreams.tensor`."""
        import torch

        memory = (ctypes.c_float * prod(shape)).from_address(address)
        return torch.from_numpy(np.ctypeslib.as_array(memory).reshape(shape))

    def enqueue(
        self,
        stream_handle: int,
        work: Callable[[], None],
        *,
        reads: Sequence[tuple[int, int]],
        writes: Sequence[tuple[int, int]],
    ) -> str | None:
        """See `TorchStreams.enqueue`."""
        import torch

        def quietly() -> None:
            with torch.no_grad():
                work()

        accesses = [self._access(*each, writes=False) for each in reads]
        accesses += [self._access(*each, writes=True) for each in writes]
        refusal: str | None = self._simulator.play(stream_handle, "pytorch", quietly, accesses)
        return refusal

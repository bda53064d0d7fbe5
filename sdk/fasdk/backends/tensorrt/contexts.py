"""Execution contexts, each with the batch its shapes are set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.backends.cuda_api import CudaStream
    from fasdk.backends.tensorrt import api


@dataclass
class Execution:
    """An execution context and the batch its input shapes are set to, None before they are."""

    context: api.IExecutionContext
    batch: int | None = None

    def set_batch(self, batch: int, inputs: Mapping[str, tuple[int, ...]]) -> bool:
        """Set the shapes unless they are set already; return whether TensorRT takes them."""
        if self.batch != batch:
            self.batch = None
            for name, shape in inputs.items():
                if not self.context.set_input_shape(name, (batch, *shape)):
                    return False
            self.batch = batch
        return True

    def enqueue(self, stream: CudaStream) -> bool:
        """Enqueue one execution; return whether TensorRT took it."""
        return self.context.execute_async_v3(stream.handle)

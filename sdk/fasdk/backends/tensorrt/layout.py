"""Tensor layout of a plan, and the check that a plan has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.errors import PlanError

if TYPE_CHECKING:
    from fasdk.backends.tensorrt import api
    from fasdk.backends.tensorrt.module import TensorRt
    from fasdk.bundle.manifest import Manifest


@dataclass(frozen=True)
class TensorLayout:
    """The tensors a plan must have: float32, batch axis first and symbolic.

    Attributes:
        inputs: (C, H, W), or (values,), by input name.
        outputs: (values,) by output name.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int]]

    @classmethod
    def of(cls, manifest: Manifest) -> TensorLayout:
        """Return what the manifest promises of the graph."""
        return cls(manifest.input_shapes, manifest.output_shapes)


def check_tensors(trt: TensorRt, engine: api.ICudaEngine, layout: TensorLayout, name: str) -> int:
    """Check a plan's tensors and return the largest batch of its profile.

    Raises:
        PlanError: They are not those of the bundle.
    """
    found: dict[str, str] = {}
    batches: list[int] = []
    for index in range(int(engine.num_io_tensors)):
        tensor = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(tensor) == trt.TensorIOMode.INPUT
        dtype = engine.get_tensor_dtype(tensor)
        precision = "float32" if dtype == trt.DataType.FLOAT else str(dtype)
        shape = [int(size) for size in engine.get_tensor_shape(tensor)]
        found[tensor] = f"{'input' if is_input else 'output'} {precision} {shape}"
        if is_input:
            largest = list(engine.get_tensor_profile_shape(tensor, 0)[2])
            batches.append(int(largest[0]))
    expected = {n: f"input float32 {[-1, *shape]}" for n, shape in layout.inputs.items()}
    expected |= {n: f"output float32 {[-1, *shape]}" for n, shape in layout.outputs.items()}
    if found != expected:
        odd = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
        raise PlanError(
            f"{name}: the plan's tensor {odd[0]} is {found.get(odd[0], 'absent')}, the bundle asks "
            f"for {expected.get(odd[0], 'none of that name')}: delete the plan, it is not its own"
        )
    return min(batches)

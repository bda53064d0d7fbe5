"""ONNX graph as a PyTorch module, operator by operator in the types of the graph.

It shows what half precision does on a GPU: every value has the type that the bundle's graph gives
it, its float32 islands included. Only the operators of the models of a proof are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    Attributes = dict[str, Any]
    Operands = list[Any]  # tensors; None for one that is left out
    Operator = Callable[[Operands, Attributes], "Tensor | tuple[Tensor, ...]"]

_HOST_BYTES = 4096  # constants up to here are also kept on the host, where shapes are read


class UnknownOperatorError(Exception):
    """A graph holds an operator that has no counterpart here."""


@dataclass(frozen=True)
class _Node:
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    is_on_host: bool


class OnnxInTorch:
    """A graph on a device; calling it runs it.

    Args:
        graph: Serialized ONNX model.
        device: Device of weights and values.

    Attributes:
        inputs: Names of the inputs in order.
        outputs: Names of the outputs in order.

    Raises:
        UnknownOperatorError: It holds an operator that is not known.
    """

    def __init__(self, graph: bytes | memoryview, device: torch.device) -> None:
        import onnx

        model = onnx.load_from_string(bytes(graph))
        self.inputs = tuple(value.name for value in model.graph.input)
        self.outputs = tuple(value.name for value in model.graph.output)
        self._on_device: dict[str, Tensor] = {}
        self._on_host: dict[str, Tensor] = {}
        for initializer in model.graph.initializer:
            constant = torch.from_numpy(onnx.numpy_helper.to_array(initializer).copy())
            self._on_device[initializer.name] = constant.to(device)
            if constant.nbytes <= _HOST_BYTES:
                self._on_host[initializer.name] = constant
        self._nodes = _nodes_of(model, set(self._on_device))

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Return the outputs in order; inputs likewise, on the device."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for node in self._nodes:
            arguments = [
                self._value(values, name, on_host=node.is_on_host or _is_setting(node, place))
                for place, name in enumerate(node.inputs)
            ]
            found = _OPERATORS[node.operator](arguments, node.attributes)
            rows = found if isinstance(found, tuple) else (found,)
            values |= zip(node.outputs, rows, strict=False)
        return [values[name] for name in self.outputs]

    def _value(self, values: dict[str, Tensor], name: str, *, on_host: bool) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        return self._on_host[name] if on_host else self._on_device[name]


def _nodes_of(model: onnx.ModelProto, constants: set[str]) -> list[_Node]:
    """Return the nodes; those that compute on shapes alone run on the host."""
    import onnx

    host_values: set[str] = set()
    nodes = []
    for node in model.graph.node:
        if node.op_type not in _OPERATORS or node.domain not in ("", "ai.onnx"):
            raise UnknownOperatorError(f"{node.name}: no counterpart of {node.op_type} is known")
        computed = [
            name
            for place, name in enumerate(node.input)
            if name not in constants and place not in _SETTINGS.get(node.op_type, ())
        ]
        is_on_host = bool(computed) and host_values.issuperset(computed)
        if is_on_host or node.op_type == "Shape":
            host_values.update(node.output)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = list(node.input)
        while inputs and not inputs[-1]:  # an operand that is left out
            inputs.pop()
        nodes.append(
            _Node(
                node.name,
                node.op_type,
                tuple(inputs),
                tuple(node.output),
                attributes,
                is_on_host,
            )
        )
    return nodes


def _is_setting(node: _Node, place: int) -> bool:
    return place in _SETTINGS.get(node.operator, ())


def _integers(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.flatten().tolist()]


def _clip(x: Operands, _: Attributes) -> Tensor:
    low, high = (None if bound is None else float(bound) for bound in [*x[1:], None, None][:2])
    clipped: Tensor = x[0].clamp(low, high)
    return clipped


def _conv(x: Operands, given: Attributes) -> Tensor:
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    padded = functional.pad(x[0], (left, right, top, bottom))
    return functional.conv2d(
        padded,
        x[1],
        x[2] if len(x) > 2 else None,
        stride=tuple(given.get("strides", (1, 1))),
        dilation=tuple(given.get("dilations", (1, 1))),
        groups=given.get("group", 1),
    )


def _gather(x: Operands, given: Attributes) -> Tensor:
    data: Tensor = x[0]
    indices, axis = x[1], given.get("axis", 0)
    positive = torch.where(indices < 0, indices + data.shape[axis], indices)
    rows = torch.index_select(data, axis, positive.flatten())
    axis %= data.ndim
    return rows.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])


def _gemm(x: Operands, given: Attributes) -> Tensor:
    left = x[0].T if given.get("transA", 0) else x[0]
    right = x[1].T if given.get("transB", 0) else x[1]
    alpha, beta = given.get("alpha", 1.0), given.get("beta", 1.0)
    return torch.addmm(x[2], left, right, alpha=alpha, beta=beta)


def _layer_norm(x: Operands, given: Attributes) -> Tensor:
    over = x[0].shape[given.get("axis", -1) :]
    return functional.layer_norm(x[0], over, x[1], x[2], given.get("epsilon", 1e-5))


def _pad(x: Operands, _: Attributes) -> Tensor:
    ends = _integers(x[1])
    axes = x[0].ndim
    pairs = [size for axis in reversed(range(axes)) for size in (ends[axis], ends[axes + axis])]
    return functional.pad(x[0], pairs, value=float(x[2]) if len(x) > 2 else 0.0)


def _reduced(
    reduce: Callable[..., Tensor],
) -> Callable[[Operands, Attributes], Tensor]:
    def run(x: Operands, given: Attributes) -> Tensor:
        axes = _integers(x[1]) if len(x) > 1 else given["axes"]
        return reduce(x[0], dim=list(axes), keepdim=bool(given.get("keepdims", 1)))

    return run


def _reshape(x: Operands, given: Attributes) -> Tensor:
    shape = _integers(x[1])
    if not given.get("allowzero", 0):
        shape = [size or x[0].shape[axis] for axis, size in enumerate(shape)]
    reshaped: Tensor = x[0].reshape(shape)
    return reshaped


def _slice(x: Operands, _: Attributes) -> Tensor:
    data: Tensor = x[0]
    starts, ends = _integers(x[1]), _integers(x[2])
    axes = _integers(x[3]) if len(x) > 3 else list(range(len(starts)))
    steps = _integers(x[4]) if len(x) > 4 else [1] * len(starts)
    if min(steps) < 1:
        raise UnknownOperatorError("no counterpart of a Slice that goes backward is known")
    places = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        places[axis] = slice(start, end, step)
    return data[tuple(places)]


def _squeeze(x: Operands, _: Attributes) -> Tensor:
    squeezed: Tensor = x[0].squeeze(tuple(_integers(x[1])))
    return squeezed


def _top_k(x: Operands, given: Attributes) -> tuple[Tensor, ...]:
    axis, largest = given.get("axis", -1), bool(given.get("largest", 1))
    return tuple(torch.topk(x[0], int(x[1]), dim=axis, largest=largest, sorted=True))


def _unsqueeze(x: Operands, _: Attributes) -> Tensor:
    data: Tensor = x[0]
    axes = _integers(x[1])
    rank = data.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _plain(function: Callable[..., Tensor]) -> Operator:
    return lambda x, _: function(*x)


# By onnx.TensorProto.DataType, a fixed part of the file format.
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}

# Operands that say how to compute rather than on what; a graph that can be captured has them on
# the host.
_SETTINGS: dict[str, Sequence[int]] = {
    "Clip": (1, 2),
    "Pad": (1, 2),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}

_OPERATORS: dict[str, Operator] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "Cast": lambda x, given: x[0].to(_TYPES[given["to"]]),
    "Clip": _clip,
    "Concat": lambda x, given: torch.cat(x, given["axis"]),
    "Conv": _conv,
    "Div": _plain(torch.div),
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Gather": _gather,
    "GatherElements": lambda x, given: torch.gather(x[0], given.get("axis", 0), x[1]),
    "Gemm": _gemm,
    "Greater": _plain(torch.gt),
    "LayerNormalization": _layer_norm,
    "Less": _plain(torch.lt),
    "MatMul": _plain(torch.matmul),
    "Mul": _plain(torch.mul),
    "Pad": _pad,
    "ReduceL2": _reduced(torch.linalg.vector_norm),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Reshape": _reshape,
    "Shape": lambda x, _: torch.tensor(x[0].shape, dtype=torch.int64),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda x, given: torch.softmax(x[0], given.get("axis", -1)),
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "TopK": _top_k,
    "Transpose": lambda x, given: x[0].permute(given["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}

"""First layer whose values differ between two graphs of one model.

Both graphs run on Polygraphy's ONNX Runtime runner with their intermediate values as outputs, a
chunk of values at a time so that a full model's activations never lie in memory at once. Plans are
never loaded: deserializing one is running code.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.backends.onnxruntime import Optimization, open_session
from fasdk.errors import BackendError, ParityError
from fasdk_engines.graph.editing import expose_values
from fasdk_engines.graph.emulation import emulated_model
from fasdk_engines.graph.types import infer_types, parse_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx
    from numpy.typing import NDArray

# onnx.TensorProto.DataType, a fixed part of the file format
_FLOAT16 = 10
_CHUNK_BYTES = 256 << 20  # of one graph's values; both graphs' are held together


@dataclass(frozen=True)
class Divergence:
    """The first value on which two graphs disagree.

    Attributes:
        tensor: Name of the value, the same in both graphs.
        operator: Operator type of the node that writes it in the first graph.
        node: Name of that node.
        max_abs: Largest absolute difference; infinity where only one of the two is finite.
        relative: `max_abs` over the value's largest magnitude in the first graph.
        compared: Number of values compared, this one included.
    """

    tensor: str
    operator: str
    node: str
    max_abs: float
    relative: float
    compared: int


def first_divergence(
    first: bytes,
    second: bytes,
    inputs: Mapping[str, NDArray[np.float32]],
    *,
    tolerance: float = 1e-3,
) -> Divergence | None:
    """Compare the values two graphs share by name, in the first graph's order.

    A graph that holds float16 is run with every operator's output rounded to float16, see
    `emulation`: ONNX Runtime's own float16 results would hide what half precision does.

    Args:
        first: Reference graph, a serialized ONNX model.
        second: Another graph of the same model, such as its half-precision form.
        inputs: float32 arrays by input name.
        tolerance: Largest difference allowed, relative to the value's largest magnitude.

    Returns:
        The first value out of tolerance, or None when all agree.

    Raises:
        ParityError: The graphs share no intermediate value or output, or shapes differ, so that
            they are not two forms of one model; or ONNX Runtime cannot run one of them.
    """
    graphs = tuple(_comparable(graph) for graph in (first, second))
    given = {name: array.ndim for name, array in inputs.items()}
    for number, graph in enumerate(graphs, start=1):
        taken = {v.name: len(v.type.tensor_type.shape.dim) for v in graph.graph.input}
        if taken != given:
            raise ParityError(
                f"graph {number} takes inputs of these ranks: {taken}, found {given}: "
                "give both graphs of one model its own inputs"
            )
    writers = {name: node for node in graphs[0].graph.node for name in node.output}
    written_by_second = {name for node in graphs[1].graph.node for name in node.output}
    shared = [name for name in writers if name and name in written_by_second]
    for number, graph in enumerate(graphs, start=1):
        missing = {value.name for value in graph.graph.output} - set(shared)
        if missing:
            raise ParityError(
                f"output {min(missing)!r} of graph {number} is not written in the other: "
                "give two graphs of one model"
            )
    compared = 0
    for chunk in _chunks(graphs[0], shared, inputs):
        results = _compare(graphs, chunk, inputs, tolerance)
        for name in chunk:
            compared += 1
            difference = results[name]
            if difference:
                continue
            node = writers[name]
            return Divergence(
                tensor=name,
                operator=node.op_type,
                node=node.name,
                max_abs=difference.max_abs,
                relative=difference.relative,
                compared=compared,
            )
    return None


@dataclass(frozen=True)
class _Difference:
    """Difference of one value; true where it is within tolerance, as Polygraphy's results are."""

    max_abs: float
    relative: float
    tolerance: float

    def __bool__(self) -> bool:
        return self.relative <= self.tolerance

    @classmethod
    def between(cls, first: NDArray[Any], second: NDArray[Any], tolerance: float) -> _Difference:
        a, b = first.astype(np.float64), second.astype(np.float64)
        # Equal infinities agree; anything else that is not finite in one alone does not.
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0.0, np.abs(a - b))
        max_abs = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0.0))
        scale = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        relative = 0.0 if max_abs == 0.0 else max_abs / scale if scale > 0.0 else math.inf
        return cls(max_abs, relative, tolerance)


def _comparable(graph: bytes) -> onnx.ModelProto:
    model = parse_graph(graph)
    types = infer_types(model)
    if any(value.element == _FLOAT16 for value in types.values()):
        del model
        return emulated_model(graph)
    return model


def _chunks(
    model: onnx.ModelProto, names: list[str], inputs: Mapping[str, NDArray[np.float32]]
) -> Iterator[list[str]]:
    """Split values, in order, so that each part's arrays fit into `_CHUNK_BYTES`."""
    types = infer_types(model, {name: array.shape for name, array in inputs.items()})
    chunk: list[str] = []
    size = 0
    for name in names:
        shape = types[name].shape if name in types else None
        # An extent that inference does not know is taken for a batch axis.
        batch = max(len(array) for array in inputs.values())
        elements = math.prod(batch if extent is None else extent for extent in shape or (1 << 20,))
        if chunk and size + 4 * elements > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(name)
        size += 4 * elements
    if chunk:
        yield chunk


def _compare(
    graphs: tuple[onnx.ModelProto, ...],
    names: list[str],
    inputs: Mapping[str, NDArray[np.float32]],
    tolerance: float,
) -> dict[str, _Difference]:
    """Return how each value differs between the two graphs."""
    from polygraphy.backend.onnxrt import OnnxrtRunner
    from polygraphy.comparator import Comparator
    from polygraphy.logger import G_LOGGER

    def differences(first: Any, second: Any) -> OrderedDict[str, _Difference]:
        found: OrderedDict[str, _Difference] = OrderedDict()
        for name in names:
            if first[name].shape != second[name].shape:
                raise ParityError(
                    f"value {name!r} has shape {first[name].shape} in one graph and "
                    f"{second[name].shape} in the other: give two graphs of one model"
                )
            found[name] = _Difference.between(first[name], second[name], tolerance)
        return found

    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        runners = [
            OnnxrtRunner(_Session(graph, names), name=f"graph {number}")
            for number, graph in enumerate(graphs, start=1)
        ]
        try:
            # Streaming hands over the arrays themselves; otherwise every one is copied.
            stream = Comparator.run(runners, data_loader=[dict(inputs)], streaming=True)
            accuracy = Comparator.compare_accuracy(stream, compare_func=differences)
        except ParityError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ParityError(f"the graphs cannot be compared: {reason}") from error
    [result] = accuracy
    [[comparison]] = result.values()
    found: dict[str, _Difference] = comparison
    return found


@dataclass(frozen=True)
class _Session:
    """Opens a graph with chosen values as its outputs when Polygraphy's runner asks for it."""

    model: onnx.ModelProto
    names: list[str]

    def __call__(self) -> Any:
        del self.model.graph.output[:]
        expose_values(self.model, self.names)
        try:
            # A fused layer would no longer write the values that are compared.
            return open_session(
                self.model.SerializeToString(), optimization=Optimization.NONE, prepack=False
            )
        except BackendError as error:
            raise ParityError(str(error)) from error

"""Every tensor of a model, and the check of its extents against its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.bundle.tensor_size import TensorSize
from fasdk.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx

# Fields that hold numbers or strings, one an element; the rest is bookkeeping.
_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_MAX_DENSE_ELEMENTS = 2**28
_MAX_DEPTH = 64


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: of graphs in graphs, local functions and training, too.

    Raises:
        ExportError: Graphs are nested too deep.
    """
    yield from _of_graph(model.graph, 0)
    for function in model.functions:
        yield from _of_nodes(function.node, 0)
        yield from _of_attributes(function.attribute_proto, 0)
    for training in model.training_info:
        yield from _of_graph(training.initialization, 0)
        yield from _of_graph(training.algorithm, 0)


def require_sound_tensors(model: onnx.ModelProto) -> None:
    """Check that every tensor has extents that its bytes fill.

    Raises:
        ExportError: It names the tensor, its extents and what it holds.
    """
    for tensor in all_tensors(model):
        held = [name for name in _TYPED if len(getattr(tensor, name))]
        raw = len(tensor.raw_data) if tensor.HasField("raw_data") else None
        size = TensorSize(
            data_type=tensor.data_type,
            dims=tensor.dims,
            raw_bytes=raw if raw or not held else None,
            numbers=sum(len(getattr(tensor, name)) for name in held),
            fields=len(held) + bool(raw),
        )
        fault = size.fault()
        if fault is not None:
            raise ExportError(
                f"weight {tensor.name[:60]!r} has {fault}: the file is damaged, export it again"
            )
    for graph in _graphs(model.graph, 0):
        for sparse in graph.sparse_initializer:
            _require_sound_sparse(sparse)


def _require_sound_sparse(sparse: onnx.SparseTensorProto) -> None:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    where = f"sparse weight {sparse.values.name[:60]!r}"
    elements = 1
    for extent in sparse.dims:
        elements *= max(extent, 0)
    if not sparse.dims or min(sparse.dims) < 1 or elements > _MAX_DENSE_ELEMENTS:
        raise ExportError(
            f"{where} has extents {[*sparse.dims][:16]}, expected 1 to {_MAX_DENSE_ELEMENTS} "
            "elements: export it dense"
        )
    count = len(sparse.values.dims) == 1 and sparse.values.dims[0]
    if sparse.indices.data_type != TensorProto.INT64 or count is False:
        raise ExportError(f"{where} has no list of values and int64 indices: export it dense")
    indices = numpy_helper.to_array(sparse.indices)
    flat = indices.ndim == 1
    limits = np.array([elements] if flat else sparse.dims)
    rows = indices.reshape(-1, 1) if flat else indices
    fits = rows.shape == (count, len(limits)) and bool(((rows >= 0) & (rows < limits)).all())
    if not fits:
        raise ExportError(f"{where} has an index outside its extents: export it dense")


def _graphs(graph: onnx.GraphProto, depth: int) -> Iterator[onnx.GraphProto]:
    _require_shallow(depth)
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _inner(attribute):
                yield from _graphs(inner, depth + 1)


def _of_graph(graph: onnx.GraphProto, depth: int) -> Iterator[onnx.TensorProto]:
    _require_shallow(depth)
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node, depth)


def _of_nodes(nodes: Iterable[onnx.NodeProto], depth: int) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        yield from _of_attributes(node.attribute, depth)


def _of_attributes(
    attributes: Iterable[onnx.AttributeProto], depth: int
) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for one in (*sparse, *attribute.sparse_tensors):
            yield from (one.values, one.indices)
        for inner in _inner(attribute):
            yield from _of_graph(inner, depth + 1)


def _inner(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _require_shallow(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ExportError(f"graphs nested deeper than {_MAX_DEPTH}: export without control flow")

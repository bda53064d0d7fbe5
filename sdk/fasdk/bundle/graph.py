"""Checks of a bundle's ONNX graph before any backend reads it, without the onnx package.

Backends differ in what they do with a hostile graph: some releases follow weights to absolute
paths or raw addresses, some believe extents that the bytes do not fill. So what a bundle may hold
is decided here, on the bytes that were verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.bundle.members import GRAPH, MANIFEST
from fasdk.bundle.tensor_size import TensorSize
from fasdk.bundle.wire import FIXED32, FIXED64, LENGTH, VARINT, WireError, WireReader, signed
from fasdk.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fasdk.bundle.manifest import Manifest

MAX_BATCH_KEY = "fasdk.max_batch"
"""Key of the ONNX metadata of a graph that takes but so many captures in one call: 1."""

_FLOAT = 1  # onnx.TensorProto.FLOAT
_FLATBUFFERS = (b"ORTM", b"TFL3")  # marks at byte 4 by which libraries take a file for another kind
_BUILD_AGAIN = "build it again with `fasdk build-engine`"
_SHOWN = 60  # characters of a name in a message


class _Message(Enum):
    """ONNX messages that a check reads (onnx.proto)."""

    MODEL = "ModelProto"
    GRAPH = "GraphProto"
    TRAINING = "TrainingInfoProto"
    FUNCTION = "FunctionProto"
    NODE = "NodeProto"
    ATTRIBUTE = "AttributeProto"
    SPARSE_TENSOR = "SparseTensorProto"
    TENSOR = "TensorProto"
    VALUE = "ValueInfoProto"
    TYPE = "TypeProto"
    TENSOR_TYPE = "TypeProto.Tensor"
    SHAPE = "TensorShapeProto"
    EXTENT = "TensorShapeProto.Dimension"
    ENTRY = "StringStringEntryProto"


# Wire types of the fields that a check reads; protobuf never changes a field's number or type.
_LISTED = frozenset([VARINT, LENGTH])  # a list of integers, packed or not
_WIRES: dict[_Message, dict[int, frozenset[int]]] = {
    _Message.MODEL: dict.fromkeys((7, 14, 20, 25), frozenset([LENGTH])) | {1: frozenset([VARINT])},
    _Message.GRAPH: dict.fromkeys((1, 5, 11, 12, 13, 15), frozenset([LENGTH])),
    _Message.TRAINING: dict.fromkeys((1, 2), frozenset([LENGTH])),
    _Message.FUNCTION: dict.fromkeys((7, 11), frozenset([LENGTH])),
    _Message.NODE: dict.fromkeys((3, 4, 5, 7), frozenset([LENGTH])),
    _Message.ATTRIBUTE: dict.fromkeys((5, 6, 10, 11, 22, 23), frozenset([LENGTH])),
    _Message.SPARSE_TENSOR: dict.fromkeys((1, 2), frozenset([LENGTH])),
    _Message.TENSOR: {
        1: _LISTED,
        2: frozenset([VARINT]),
        4: frozenset([FIXED32, LENGTH]),
        5: _LISTED,
        6: frozenset([LENGTH]),
        7: _LISTED,
        8: frozenset([LENGTH]),
        9: frozenset([LENGTH]),
        10: frozenset([FIXED64, LENGTH]),
        11: _LISTED,
    },
    _Message.VALUE: dict.fromkeys((1, 2), frozenset([LENGTH])),
    _Message.TYPE: {1: frozenset([LENGTH])},
    _Message.TENSOR_TYPE: {1: frozenset([VARINT]), 2: frozenset([LENGTH])},
    _Message.SHAPE: {1: frozenset([LENGTH])},
    _Message.EXTENT: {1: frozenset([VARINT]), 2: frozenset([LENGTH])},
    _Message.ENTRY: dict.fromkeys((1, 2), frozenset([LENGTH])),
}
# Fields of one value: readers merge a second one into the first, which would hide extents.
_SINGLE: dict[_Message, frozenset[int]] = {
    _Message.MODEL: frozenset([1, 7]),
    _Message.TRAINING: frozenset([1, 2]),
    _Message.NODE: frozenset([3, 4, 7]),
    _Message.ATTRIBUTE: frozenset([5, 6, 22]),
    _Message.SPARSE_TENSOR: frozenset([1, 2]),
    _Message.TENSOR: frozenset([2, 8, 9]),
    _Message.VALUE: frozenset([1, 2]),
    _Message.TYPE: frozenset([1]),
    _Message.TENSOR_TYPE: frozenset([1, 2]),
    _Message.EXTENT: frozenset([1, 2]),
    _Message.ENTRY: frozenset([1, 2]),
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_OUTSIDE = (
    "it reads weights from another file, whose digest is not checked: export it with all weights "
    "inside"
)


@dataclass(frozen=True)
class GraphValue:
    """Input or output as a graph declares it.

    Attributes:
        name: Its name.
        element: Element type, a member of `onnx.TensorProto.DataType`; 0 where it is no tensor.
        shape: Extents, a name or None for one that is not fixed; None where no shape is declared.
    """

    name: str
    element: int
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{_shown(self.name)} of no shape"
        extents = ["?" if e is None else str(e)[:_SHOWN] for e in self.shape]
        of = "float32" if self.element == _FLOAT else f"element type {self.element}"
        return f"{_shown(self.name)} {of} [{', '.join(extents)}]"


@dataclass
class GraphSummary:
    """What a graph declares.

    Attributes:
        inputs: Inputs in its order, weights left out.
        outputs: Outputs in its order.
        metadata: Metadata of the model.
    """

    inputs: list[GraphValue] = field(default_factory=list)
    outputs: list[GraphValue] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


def require_self_contained(graph: bytes | memoryview) -> None:
    """Check that an ONNX file holds all its weights, each filling its extents.

    Raises:
        BundleError: A tensor's values lie in another file or do not fill its extents, or this is no
            ONNX file.
    """
    _read(graph)


def require_fits_manifest(graph: memoryview, manifest: Manifest, name: str) -> None:
    """Check a bundle's graph by itself, then against the manifest.

    Args:
        graph: The graph's verified bytes.
        manifest: The bundle's manifest.
        name: Name of the bundle in error messages.

    Raises:
        BundleError: The graph is not self-contained, holds what no bundle does, or declares other
            inputs, outputs, shapes, types or batch than the manifest states.
    """
    try:
        found = _read(graph, deployed=True)
    except BundleError as error:
        raise BundleError(f"{name}: {GRAPH}: {error}") from error
    where = f"{name}: {GRAPH} contradicts {MANIFEST}"
    _require_values(where, "input", found.inputs, manifest.input_shapes)
    _require_values(where, "output", found.outputs, manifest.output_shapes)
    single = found.metadata.get(MAX_BATCH_KEY) == "1"
    if single and manifest.max_batch != 1:
        raise BundleError(
            f"{where}: it takes one capture in a call, the manifest says max_batch "
            f"{manifest.max_batch}: {_BUILD_AGAIN}"
        )


def _require_values(
    where: str, what: str, found: list[GraphValue], expected: Mapping[str, tuple[int, ...]]
) -> None:
    names = [value.name for value in found]
    if sorted(names) != sorted(expected):
        raise BundleError(
            f"{where}: its {what}s are {', '.join(map(_shown, names[:8])) or 'none'}, expected "
            f"{', '.join(map(repr, expected))}: {_BUILD_AGAIN}"
        )
    for value in found:
        shape = value.shape or ()
        fixed = tuple(shape[1:])
        # Fixed, the batch would be another than the one that is asked for.
        batch_is_open = bool(shape) and not isinstance(shape[0], int)
        if value.element != _FLOAT or not batch_is_open or fixed != expected[value.name]:
            extents = ", ".join(["batch", *map(str, expected[value.name])])
            raise BundleError(
                f"{where}: {what} {value}, expected float32 [{extents}]: {_BUILD_AGAIN}"
            )


def _read(graph: bytes | memoryview, *, deployed: bool = False) -> GraphSummary:
    data = memoryview(graph)
    if bytes(data[4:8]) in _FLATBUFFERS:
        raise BundleError(f"not an ONNX file: it is marked {bytes(data[4:8]).decode()}")
    walk = _Walk(deployed=deployed)
    try:
        walk.model(data)
    except WireError as error:
        raise BundleError(f"not an ONNX file: {error}") from error
    return walk.summary


class _Walk:
    """One pass over a model's messages.

    Attributes:
        summary: What the graph declares, once the pass is done.

    Args:
        deployed: Whether what no bundle holds is refused, too.
    """

    def __init__(self, *, deployed: bool) -> None:
        self.summary = GraphSummary()
        self._deployed = deployed
        self._reader = WireReader()

    def _fields(
        self, data: memoryview, message: _Message, depth: int
    ) -> Iterator[tuple[int, int | memoryview]]:
        wires, single = _WIRES[message], _SINGLE.get(message, frozenset())
        seen: set[int] = set()
        for number, wire, value in self._reader.fields(data, depth):
            if number in wires and wire not in wires[number]:
                raise WireError(f"field {number} of {message.value} has wire type {wire}")
            if number in single:
                if number in seen:
                    raise WireError(f"field {number} of {message.value} occurs twice")
                seen.add(number)
            yield number, value

    def _refuse(self, what: str) -> None:
        if self._deployed:
            raise BundleError(f"it holds {what}, which no bundle does: {_BUILD_AGAIN}")

    def model(self, data: memoryview) -> None:
        """Read a whole model."""
        fields = self._fields(data, _Message.MODEL, 0)
        if next(fields, (0, 0))[0] != 1:
            raise WireError("it does not start with its IR version")
        holds_graph = False
        for number, value in fields:
            if number == 7:
                self._graph(_bytes(value), 1, self.summary)
                holds_graph = True
            elif number == 14:
                key, text = self._entry(_bytes(value), 1)
                self.summary.metadata[key] = text
            elif number == 20:
                for inner, part in self._fields(_bytes(value), _Message.TRAINING, 1):
                    if inner in (1, 2):
                        self._graph(_bytes(part), 2)
                self._refuse("a graph for training")
            elif number == 25:
                for inner, part in self._fields(_bytes(value), _Message.FUNCTION, 1):
                    if inner == 7:
                        self._node(_bytes(part), 2)
                    elif inner == 11:
                        self._attribute(_bytes(part), 2)
                self._refuse("a local function")
        if not holds_graph:
            raise WireError("it holds no graph")

    def _graph(self, data: memoryview, depth: int, summary: GraphSummary | None = None) -> None:
        weights = set()
        inputs: list[GraphValue] = []
        for number, value in self._fields(data, _Message.GRAPH, depth):
            if number == 1:
                self._node(_bytes(value), depth + 1)
            elif number == 5:
                weights.add(self._tensor(_bytes(value), depth + 1))
            elif number == 15:
                self._sparse_tensor(_bytes(value), depth + 1)
            elif number in (11, 12) and summary is not None:
                declared = self._value(_bytes(value), depth + 1)
                (inputs if number == 11 else summary.outputs).append(declared)
        if summary is not None:
            summary.inputs.extend(one for one in inputs if one.name not in weights)

    def _node(self, data: memoryview, depth: int) -> None:
        domain = ""
        for number, value in self._fields(data, _Message.NODE, depth):
            if number == 5:
                self._attribute(_bytes(value), depth + 1)
            elif number == 7:
                domain = _text(value)
        if domain not in ("", "ai.onnx"):
            self._refuse(f"an operator of domain {_shown(domain)}")

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, value in self._fields(data, _Message.ATTRIBUTE, depth):
            if number in (5, 10):
                self._tensor(_bytes(value), depth + 1)
            elif number in (22, 23):
                self._sparse_tensor(_bytes(value), depth + 1)
            elif number in (6, 11):
                self._graph(_bytes(value), depth + 1)
                self._refuse("control flow")

    def _sparse_tensor(self, data: memoryview, depth: int) -> None:
        for number, value in self._fields(data, _Message.SPARSE_TENSOR, depth):
            if number in (1, 2):
                self._tensor(_bytes(value), depth + 1)
        self._refuse("sparse weights")

    def _tensor(self, data: memoryview, depth: int) -> str:
        """Check a tensor and return its name."""
        name, data_type, numbers = "", 0, 0
        raw: int | None = None
        dims: list[int] = []
        held: set[int] = set()
        for number, value in self._fields(data, _Message.TENSOR, depth):
            if number in (_EXTERNAL_DATA, _DATA_LOCATION):
                if value != 0:
                    raise BundleError(_OUTSIDE)
            elif number == 1:
                packed = [value] if isinstance(value, int) else self._reader.integers(value)
                dims += [signed(extent) for extent in packed]
            elif number == 2 and isinstance(value, int):
                data_type = value
            elif number == 8:
                name = _text(value)
            elif number == 9:
                raw = len(_bytes(value))
            elif number in _NUMBER_BYTES:
                numbers += _count(number, value)
            else:
                continue
            if number in _NUMBER_BYTES or number == 9:
                held.add(number)
        size = TensorSize(data_type, dims, raw, numbers, len(held))
        fault = size.fault()
        if fault is not None:
            raise BundleError(f"tensor {_shown(name)} has {fault}")
        return name

    def _value(self, data: memoryview, depth: int) -> GraphValue:
        name, element = "", 0
        shape: tuple[int | str | None, ...] | None = None
        for number, value in self._fields(data, _Message.VALUE, depth):
            if number == 1:
                name = _text(value)
            elif number == 2:
                for kind, one in self._fields(_bytes(value), _Message.TYPE, depth + 1):
                    if kind == 1:
                        element, shape = self._tensor_type(_bytes(one), depth + 2)
        return GraphValue(name, element, shape)

    def _tensor_type(
        self, data: memoryview, depth: int
    ) -> tuple[int, tuple[int | str | None, ...] | None]:
        element = 0
        shape: tuple[int | str | None, ...] | None = None
        for number, value in self._fields(data, _Message.TENSOR_TYPE, depth):
            if number == 1 and isinstance(value, int):
                element = value
            elif number == 2:
                dims = self._fields(_bytes(value), _Message.SHAPE, depth + 1)
                shape = tuple(
                    self._extent(_bytes(one), depth + 2) for kind, one in dims if kind == 1
                )
        return element, shape

    def _extent(self, data: memoryview, depth: int) -> int | str | None:
        found: int | str | None = None
        for number, value in self._fields(data, _Message.EXTENT, depth):
            if number == 1 and isinstance(value, int):
                found = signed(value)
            elif number == 2:
                found = _text(value)
        return found

    def _entry(self, data: memoryview, depth: int) -> tuple[str, str]:
        fields = dict(self._fields(data, _Message.ENTRY, depth))
        return _text(fields.get(1, memoryview(b""))), _text(fields.get(2, memoryview(b"")))


# Bytes of a number by the typed field that holds it; 0 where its length varies.
_NUMBER_BYTES = {4: 4, 5: 0, 6: 0, 7: 0, 10: 8, 11: 0}


def _count(number: int, value: int | memoryview) -> int:
    """Return how many numbers or strings one occurrence of a typed field holds."""
    if isinstance(value, int) or number == 6:
        return 1
    width = _NUMBER_BYTES[number]
    if width:
        if len(value) % width:
            raise WireError(f"field {number} of TensorProto is cut short")
        return len(value) // width
    # The last byte of each packed integer has no continuation bit.
    return int(np.count_nonzero(np.frombuffer(value, np.uint8) < 0x80))


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a message is a number")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode("utf-8", "replace")


def _shown(name: str) -> str:
    return f"{name[:_SHOWN]!r}{'...' if len(name) > _SHOWN else ''}"

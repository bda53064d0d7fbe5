"""Check of ONNX files for weights that lie in other files."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from fasdk.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Message(Enum):
    """ONNX messages on the way to a tensor (onnx.proto3)."""

    MODEL = "ModelProto"
    GRAPH = "GraphProto"
    FUNCTION = "FunctionProto"
    NODE = "NodeProto"
    ATTRIBUTE = "AttributeProto"
    SPARSE_TENSOR = "SparseTensorProto"
    TENSOR = "TensorProto"


# Field numbers whose value is a message that may hold a tensor; they never change.
_CHILDREN = {
    _Message.MODEL: {7: _Message.GRAPH, 25: _Message.FUNCTION},
    _Message.GRAPH: {1: _Message.NODE, 5: _Message.TENSOR, 15: _Message.SPARSE_TENSOR},
    _Message.FUNCTION: {7: _Message.NODE, 11: _Message.ATTRIBUTE},
    _Message.NODE: {5: _Message.ATTRIBUTE},
    _Message.ATTRIBUTE: {
        5: _Message.TENSOR,
        6: _Message.GRAPH,
        10: _Message.TENSOR,
        11: _Message.GRAPH,
        22: _Message.SPARSE_TENSOR,
        23: _Message.SPARSE_TENSOR,
    },
    _Message.SPARSE_TENSOR: {1: _Message.TENSOR, 2: _Message.TENSOR},
    _Message.TENSOR: {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100


def require_self_contained(graph: bytes) -> None:
    """Check that an ONNX file holds all its weights: only verified bytes may run.

    Raises:
        BackendError: A tensor's values lie in another file, or this is no ONNX file.
    """
    try:
        _walk(memoryview(graph), _Message.MODEL, 0)
    except (IndexError, ValueError) as error:
        raise BackendError(f"not an ONNX file: {error}") from error


def _walk(data: memoryview, message: _Message, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"graphs nested deeper than {_MAX_DEPTH}")
    for number, value in _fields(data):
        if message is _Message.TENSOR and number in (_EXTERNAL_DATA, _DATA_LOCATION):
            if value != 0:
                raise BackendError(
                    "it reads weights from another file, whose digest is not "
                    "checked: export it with all weights inside"
                )
        elif number in _CHILDREN[message]:
            if isinstance(value, int):
                raise ValueError(f"field {number} of {message.value} is a number")
            _walk(value, _CHILDREN[message][number], depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield a message's fields: number, and the bytes or the integer it holds."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == _LENGTH:
            size, place = _varint(data, place)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + size > len(data):
            raise ValueError(f"field {number} ends after its message")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError(f"number too long at byte {place}")

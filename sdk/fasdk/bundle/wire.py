"""Reader of protobuf messages in bounded depth and work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types of fields; groups (3 and 4) are obsolete and never occur in ONNX."""

_MAX_KEY = 2**32 - 1  # readers keep 32 bits of a key: a longer one is another field to each
_MAX_DEPTH = 100  # as protobuf's own readers
_MAX_FIELDS = 500_000  # the largest published graph has some 16,000


class WireError(ValueError):
    """Bytes are no protobuf message, or one nested too deep or of too many fields."""


class WireReader:
    """Reader of one file's messages, which counts their fields together."""

    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def fields(self, data: memoryview, depth: int) -> Iterator[tuple[int, int, int | memoryview]]:
        """Yield a message's fields: number, wire type, and the integer or bytes it holds.

        Args:
            data: Bytes of the message.
            depth: Number of messages around it.

        Raises:
            WireError: The bytes are no message, or the file's depth or number of fields is beyond
                what any model needs.
        """
        if depth > _MAX_DEPTH:
            raise WireError(f"messages nested deeper than {_MAX_DEPTH}")
        place, end = 0, len(data)
        while place < end:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"more than {_MAX_FIELDS} fields")
            key = data[place]
            if key < 0x80:  # as nearly every key; a call would take most of the time
                place += 1
            else:
                key, place = read_varint(data, place)
            number, wire = key >> 3, key & 7
            if number < 1 or key > _MAX_KEY:
                raise WireError(f"field number {number}")
            if wire == VARINT:
                value, place = read_varint(data, place)
                yield number, wire, value
                continue
            if wire == LENGTH:
                size, place = read_varint(data, place)
            elif wire in (FIXED64, FIXED32):
                size = 8 if wire == FIXED64 else 4
            else:
                raise WireError(f"wire type {wire}")
            if size > end - place:
                raise WireError(f"field {number} ends after its message")
            yield number, wire, data[place : place + size]
            place += size

    def integers(self, data: memoryview) -> Iterator[int]:
        """Yield the integers of a packed field.

        Raises:
            WireError: They are cut short, or the file's number of fields is beyond what any model
                needs.
        """
        place = 0
        while place < len(data):
            self._left -= 1
            if self._left < 0:
                raise WireError(f"more than {_MAX_FIELDS} fields")
            value, place = read_varint(data, place)
            yield value


def read_varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return the unsigned integer at a place, and the place after it.

    Raises:
        WireError: It is cut short or longer than 64 bits.
    """
    value = shift = 0
    end = len(data)
    while place < end:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            if value >> 64:
                break
            return value, place
        shift += 7
        if shift > 63:
            break
    raise WireError("an integer is cut short or too long")


def signed(value: int) -> int:
    """Return a 64-bit integer as protobuf's int32, int64 and enum fields read it."""
    return value - (1 << 64) if value >> 63 else value

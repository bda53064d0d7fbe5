"""Rule between the extents of an ONNX tensor and the bytes it brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_RANK = 16
MAX_ELEMENTS = 2**31 - 1
"""Largest number of elements of a tensor: a protobuf message ends at 2 GiB."""

# Bits of an element by onnx.TensorProto.DataType, whose numbers never change.
_BITS = {
    1: 32,  # FLOAT
    2: 8,  # UINT8
    3: 8,  # INT8
    4: 16,  # UINT16
    5: 16,  # INT16
    6: 32,  # INT32
    7: 64,  # INT64
    9: 8,  # BOOL
    10: 16,  # FLOAT16
    11: 64,  # DOUBLE
    12: 32,  # UINT32
    13: 64,  # UINT64
    14: 64,  # COMPLEX64
    15: 128,  # COMPLEX128
    16: 16,  # BFLOAT16
    17: 8,  # FLOAT8E4M3FN
    18: 8,  # FLOAT8E4M3FNUZ
    19: 8,  # FLOAT8E5M2
    20: 8,  # FLOAT8E5M2FNUZ
    21: 4,  # UINT4
    22: 4,  # INT4
    23: 4,  # FLOAT4E2M1
    24: 8,  # FLOAT8E8M0
    25: 2,  # UINT2
    26: 2,  # INT2
}
_STRING = 8
_COMPLEX = (14, 15)  # two numbers of a typed field an element


@dataclass(frozen=True)
class TensorSize:
    """What a tensor says of its size, and what it brings.

    Attributes:
        data_type: Element type, a member of `onnx.TensorProto.DataType`.
        dims: Extents.
        raw_bytes: Bytes of `raw_data`; None where it has none.
        numbers: Numbers or strings in its typed field (`float_data` and the like).
        fields: Fields among `raw_data` and the typed ones that hold something.
    """

    data_type: int
    dims: Sequence[int]
    raw_bytes: int | None
    numbers: int
    fields: int

    def fault(self) -> str | None:
        """Return what is wrong with the tensor's size, or None where its bytes fill its extents."""
        shown = f"extents {[*self.dims][:MAX_RANK]}"
        if len(self.dims) > MAX_RANK:
            return f"{len(self.dims)} extents, expected at most {MAX_RANK}"
        if any(extent < 0 for extent in self.dims):
            return f"{shown}, expected none below 0"
        elements = 1
        for extent in self.dims:
            elements *= extent
        if elements > MAX_ELEMENTS or max(self.dims, default=0) > MAX_ELEMENTS:
            return f"{shown}, expected at most {MAX_ELEMENTS} elements"
        if self.fields > 1:
            return f"its values in {self.fields} fields, expected one"
        return self._fault_of_content(elements, shown)

    def _fault_of_content(self, elements: int, shown: str) -> str | None:
        bits = _BITS.get(self.data_type)
        if self.data_type == _STRING:
            if self.raw_bytes:
                return "strings as raw bytes"
            expected, found, unit = elements, self.numbers, "strings"
        elif bits is None:
            return f"element type {self.data_type}, which ONNX does not define"
        elif self.raw_bytes is not None:
            expected, found, unit = (elements * bits + 7) // 8, self.raw_bytes, "bytes"
        else:
            packed = elements if bits >= 8 else (elements * bits + 7) // 8
            expected = 2 * elements if self.data_type in _COMPLEX else packed
            found, unit = self.numbers, "numbers"
        return None if found == expected else f"{found} {unit}, but {shown} need {expected}"

"""Golden captures: raw frames with the logits ONNX Runtime gave for them."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_GOLDEN = 64
"""Largest number of golden captures of a bundle."""
MAX_CAPTURE_BYTES = 48 * 2**20
"""Largest size of one golden capture's arrays: color, depth and infrared in 3840 x 2160."""
MAX_TOTAL_BYTES = 256 * 2**20
"""Largest size of all golden captures' arrays together."""
_MAX_DIRECTORY = 4096  # bytes; six short names need some 400
_DIRECTORY_END = struct.Struct("<4s4H2IH")
_MAX_HEADER = 1024  # bytes; NumPy pads the headers of such arrays to 128
_MAX_CLASSES = 4096

# Array by name: dtype, number of axes, extents of those that are fixed, from the last one back.
_ARRAYS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    Modality.RGB.value: ("|u1", 3, (3,)),
    Modality.DEPTH.value: ("<u2", 2, ()),
    Modality.IR.value: ("|u1", 2, ()),
    "face": ("<i4", 1, (4,)),
    "landmarks": ("<f4", 2, (5, 2)),
    "logits": ("<f4", 1, ()),
}


@dataclass(frozen=True, eq=False)
class GoldenCapture:
    """A capture with the answer the workstation gave, so that a device can prove itself.

    Attributes:
        capture: Raw frames of the capture.
        logits: float32 [classes], from the bundle's own graph on ONNX Runtime.
    """

    capture: Capture
    logits: np.ndarray[Any, np.dtype[np.float32]]

    def to_bytes(self) -> bytes:
        """Return the capture as an npz file of plain arrays."""
        arrays: dict[str, np.ndarray[Any, Any]] = {
            m.value: self.capture.frame(m) for m in self.capture.present
        }
        arrays["logits"] = self.logits
        if self.capture.face is not None:
            face = FaceBox.of(self.capture.face)
            arrays["face"] = np.array([face.x, face.y, face.width, face.height], np.int32)
        if self.capture.landmarks is not None:
            arrays["landmarks"] = np.asarray(self.capture.landmarks, np.float32)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, name: str) -> GoldenCapture:
        """Read `to_bytes` back.

        Raises:
            BundleError: It is not an npz of the expected plain arrays.
        """
        arrays = _read_arrays(data, name)
        try:
            frames = {m: arrays[m.value] for m in Modality if m.value in arrays}
            face = arrays.get("face")
            box = None if face is None else face.tolist()
            return cls(Capture.of(frames, box, arrays.get("landmarks")), arrays["logits"])
        except Exception as error:
            raise BundleError(f"{name}: not a golden capture: {error}") from error


def require_small(golden: Mapping[str, bytes | memoryview], classes: int, name: str) -> None:
    """Check the headers of a bundle's golden captures, before anything of them is inflated.

    Args:
        golden: Contents by member name.
        classes: Number of labels in the manifest.
        name: Name of the bundle in error messages.

    Raises:
        BundleError: There are too many, one is no golden capture, has logits for other labels than
            the manifest's, or they are larger than any camera's frames.
    """
    if len(golden) > MAX_GOLDEN:
        raise BundleError(f"{name}: {len(golden)} golden captures, expected at most {MAX_GOLDEN}")
    total = 0
    for member, content in golden.items():
        where = f"{name}: {member}"
        headers = _headers(content, where)
        if headers["logits"].shape != (classes,):
            raise BundleError(
                f"{where}: {headers['logits'].shape[0]} logits, the manifest has {classes} labels: "
                "build it again"
            )
        total += sum(header.size for header in headers.values())
    if total > MAX_TOTAL_BYTES:
        raise BundleError(
            f"{name}: its golden captures hold {total} bytes, expected at most {MAX_TOTAL_BYTES}: "
            "build it with smaller frames"
        )


@dataclass(frozen=True)
class _Header:
    """What one array of an npz file says of itself.

    Attributes:
        shape: Extents.
        dtype: Type of its elements.
        start: Length of the header in bytes.
        size: Size of the elements in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    size: int


def _read_arrays(data: bytes | memoryview, name: str) -> dict[str, np.ndarray[Any, Any]]:
    headers = _headers(data, name)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for array, header in headers.items():
                with archive.open(f"{array}.npy") as file:
                    content = file.read(header.start + header.size)
                    if file.read(1):
                        raise ValueError(f"{array} is longer than its header says")
                elements = np.frombuffer(content, header.dtype, offset=header.start)
                arrays[array] = elements.reshape(header.shape).copy()
    except Exception as error:
        raise BundleError(f"{name}: not a golden capture: {error}") from error
    return arrays


def _headers(data: bytes | memoryview, name: str) -> dict[str, _Header]:
    """Return the headers of a golden capture's arrays, having inflated nothing else."""
    try:
        _require_short_directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = {}
            for entry in archive.infolist():
                array = entry.filename.removesuffix(".npy")
                if array not in _ARRAYS or entry.filename != f"{array}.npy" or array in found:
                    raise ValueError(f"it holds {entry.filename[:60]!r} besides, or twice")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{array} is compressed by method {entry.compress_type}")
                if entry.flag_bits & 0x1:
                    raise ValueError(f"{array} is encrypted")
                if entry.file_size > MAX_CAPTURE_BYTES + _MAX_HEADER:
                    raise ValueError(
                        f"{array} is {entry.file_size} bytes, expected at most {MAX_CAPTURE_BYTES}"
                    )
                with archive.open(entry) as file:
                    found[array] = _header(array, file.read(_MAX_HEADER), entry.file_size)
        if "logits" not in found or not any(m.value in found for m in Modality):
            raise ValueError(f"it holds {', '.join(found) or 'nothing'}: a frame and logits needed")
        total = sum(header.size for header in found.values())
        if total > MAX_CAPTURE_BYTES:
            raise ValueError(f"its arrays are {total} bytes, expected at most {MAX_CAPTURE_BYTES}")
    except Exception as error:
        raise BundleError(f"{name}: not a golden capture: {error}") from error
    return found


def _require_short_directory(data: bytes | memoryview) -> None:
    """Refuse a zip file whose directory, which a reader keeps whole, is not that of a few names."""
    end = bytes(data[-_DIRECTORY_END.size :])
    if len(end) < _DIRECTORY_END.size or not end.startswith(b"PK\x05\x06"):
        raise ValueError("it does not end in a zip directory without a comment")
    locator = len(data) - _DIRECTORY_END.size - 20
    if locator >= 0 and bytes(data[locator : locator + 4]) == b"PK\x06\x07":
        raise ValueError("its directory is a zip64 one")
    directory_bytes = _DIRECTORY_END.unpack(end)[5]
    if directory_bytes > _MAX_DIRECTORY:
        raise ValueError(
            f"its directory is {directory_bytes} bytes, expected at most {_MAX_DIRECTORY}"
        )


def _header(array: str, start: bytes, file_size: int) -> _Header:
    """Return an array's header from its first bytes.

    Raises:
        ValueError: It is none, or says another type, another rank or another size than is there.
    """
    file = io.BytesIO(start)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{array} is of another version than 1.0 of the npy format")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
    kind, axes, fixed = _ARRAYS[array]
    extents = ["*"] * (axes - len(fixed)) + [str(extent) for extent in fixed]
    if dtype != np.dtype(kind) or len(shape) != axes or shape[axes - len(fixed) :] != fixed:
        raise ValueError(
            f"{array} is {dtype} {list(shape)}, expected {np.dtype(kind)} [{', '.join(extents)}]"
        )
    if by_column and axes > 1:
        raise ValueError(f"{array} is in Fortran order, expected C order")
    if min(shape) < 1 or (array == "logits" and shape[0] > _MAX_CLASSES):
        raise ValueError(f"{array} has extents {list(shape)}")
    size = math.prod(shape) * dtype.itemsize
    if file.tell() + size != file_size:
        raise ValueError(f"{array} says {size} bytes and brings {file_size - file.tell()}")
    return _Header(shape, dtype, file.tell(), size)

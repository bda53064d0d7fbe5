"""Reading of an ONNX file, with the weights it keeps in files beside it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.bounded_file import FileKind, open_bounded, read_rest
from fasdk.errors import ExportError
from fasdk_engines.graph.tensors import all_tensors, require_sound_tensors
from fasdk_engines.graph.types import parse_graph

if TYPE_CHECKING:
    import onnx

_LARGEST = 2**31 - 2**20  # bytes; a protobuf message ends at 2 GiB


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """An ONNX file with all its weights.

    Attributes:
        path: File it was read from.
        sha256: SHA-256, in hexadecimal, of the file's bytes followed by those of every file of
            weights, in order of their names.
        model: Model, with no external data.
    """

    path: Path
    sha256: str
    model: onnx.ModelProto


def read_onnx_file(path: Path) -> OnnxFile:
    """Read an ONNX file and the weights in files of its own folder.

    Raises:
        ExportError: It is no ONNX file or larger than 2 GiB, its weights are missing, cut short or
            outside its folder, or a tensor's bytes do not fill its extents.
    """
    data = _read(path, path)
    try:
        model = parse_graph(data)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error
    digest = sha256(data)
    del data
    outside = [tensor for tensor in all_tensors(model) if _is_outside(tensor)]
    files: dict[str, bytes] = {}
    embedded = 0
    for tensor in outside:
        location = _entry(tensor, "location")
        if location not in files:
            files[location] = _read(_inside(path, tensor.name, location), path)
            if sum(map(len, files.values())) > _LARGEST:
                raise ExportError(_too_large(path))
        _embed_weights(path, tensor, files[location])
        embedded += len(tensor.raw_data)  # many tensors may name the same bytes
        if embedded > _LARGEST:
            raise ExportError(_too_large(path))
    for location in sorted(files):
        digest.update(files[location])
    if model.ByteSize() > _LARGEST:
        raise ExportError(_too_large(path))
    try:
        require_sound_tensors(model)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error
    return OnnxFile(path, digest.hexdigest(), model)


def _read(path: Path, owner: Path) -> bytes:
    try:
        with open_bounded(path, FileKind.GRAPH) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST:
                raise ExportError(_too_large(owner))
            return read_rest(file, path, FileKind.GRAPH)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ExportError(_too_large(owner)) from error
        where = f"cannot read {path}" if path == owner else f"{owner}: cannot read weights {path}"
        raise ExportError(f"{where}: {error.strerror or error}") from error


def _too_large(path: Path) -> str:
    return (
        f"{path} with its weights exceeds 2 GiB, which one ONNX file cannot: give a smaller model"
    )


def _is_outside(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's values lie in another file."""
    return bool(tensor.external_data) or tensor.data_location != 0


def _entry(tensor: onnx.TensorProto, key: str, default: str = "") -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == key), default)


def _inside(path: Path, tensor: str, location: str) -> Path:
    """Return the path of a file of weights, which must be below the ONNX file's own folder."""
    folder = path.resolve().parent
    try:
        found = (folder / location).resolve() if location else folder
    except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, a loop of links
        found = folder
    if not found.is_relative_to(folder) or found == folder or ".." in Path(location).parts:
        raise ExportError(
            f"{path}: weight {tensor!r} lies outside its folder, in {location!r}: "
            "put the file of weights beside it, or save one file"
        )
    return found


def _embed_weights(path: Path, tensor: onnx.TensorProto, data: bytes) -> None:
    """Copy a tensor's part of a file of weights into the tensor."""
    try:
        start = int(_entry(tensor, "offset", "0"))
        length = int(_entry(tensor, "length", str(len(data) - start)))
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > len(data):
        raise ExportError(
            f"{path}: weight {tensor.name!r} reaches past the end of {_entry(tensor, 'location')!r}"
            f" ({len(data)} bytes): copy both files again"
        )
    tensor.raw_data = data[start : start + length]
    tensor.ClearField("data_location")
    del tensor.external_data[:]

"""Kinds of files that are given for a checkpoint, told by their bytes."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
import zipfile
from pathlib import Path

from fasdk.bounded_file import is_folder
from fasdk.errors import CheckpointError
from fasdk.file_signatures import FirstBytes
from fasdk.numpy_file import bounded_zip
from fasdk_engines.checkpoints.conversion import Loader, conversion

_SCAN = 4096  # bytes at the start that tell a text's kind
_EXPORT = "build from the PyTorch checkpoint, or export it to ONNX and use --model onnx"
_UNPACK = {
    FirstBytes.GZIP: ("gzip", "gunzip -k"),
    FirstBytes.BZIP2: ("bzip2", "bunzip2 -k"),
    FirstBytes.XZ: ("xz", "unxz -k"),
    FirstBytes.ZSTD: ("zstd", "unzstd -k"),
    b"7z\xbc\xaf": ("7-Zip", "7z x"),
    b"Rar!": ("RAR", "unrar x"),
}
_OTHERS = {
    FirstBytes.HDF5: "an HDF5 file, as Keras writes",
    b"GGUF": "a GGUF file",
    b"ftrt": "a TensorRT plan",
    b"ptrt": "a TensorRT plan",
    FirstBytes.EMPTY_ZIP: "an empty zip archive",
    b"7767517": "an ncnn description",
    FirstBytes.PNG: "a PNG image",
    FirstBytes.JPEG: "a JPEG image",
    FirstBytes.PDF: "a PDF document",
}
_TAR_LEGACY = {"sys_info", "pickle", "storages", "tensors"}


def refuse_folder(path: Path) -> None:
    """Raise a CheckpointError that names the file to give, where a path is a folder."""
    if not is_folder(path):
        return
    if (path / ".metadata").is_file() and any(path.glob("*.distcp")):
        raise CheckpointError(
            f"{path} is a distributed checkpoint: `python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {shlex.quote(str(path))} "
            f"{shlex.quote(path.name + '.pth')}` writes it as one file"
        )
    if (path / "saved_model.pb").is_file():
        raise CheckpointError(f"{path} is a TensorFlow SavedModel: {_EXPORT}")
    wanted = (
        "*.safetensors.index.json",
        "*.bin.index.json",
        "*.safetensors",
        "*.bin",
        "*.pt*",
        "*.ckpt",
    )
    found = next((file for glob in wanted for file in sorted(path.glob(glob))), None)
    if (path / "zero_to_fp32.py").is_file():
        raise CheckpointError(
            f"{path} is a DeepSpeed checkpoint: `python {shlex.quote(str(path))}/zero_to_fp32.py "
            f"{shlex.quote(str(path))} {shlex.quote(path.name)}-fp32` writes its weights"
        )
    advice = f"give a file, such as {found}" if found else "give a checkpoint file"
    raise CheckpointError(f"{path} is a folder: {advice}")


def refuse_other_kind(path: Path, data: bytes) -> None:
    """Raise a CheckpointError where bytes are of a known kind that holds no PyTorch checkpoint."""
    if not data:
        raise CheckpointError(f"{path} is empty, which is truncated to nothing: copy it again")
    for magic, (kind, command) in _UNPACK.items():
        if data.startswith(magic):
            raise CheckpointError(
                f"{path} is compressed ({kind}): unpack it with "
                f"`{command} {shlex.quote(str(path))}` and give what is in it"
            )
    for magic, kind in _OTHERS.items():
        if data.startswith(magic):
            raise CheckpointError(f"{path} is {kind}, no PyTorch checkpoint: {_EXPORT}")
    if data[4:8] == b"TFL3":
        raise CheckpointError(f"{path} is a TensorFlow Lite model: {_EXPORT}")
    if data[4:8] in (b"ET12", b"ORTM"):
        raise CheckpointError(f"{path} is an exported program, no PyTorch checkpoint: {_EXPORT}")
    if data.startswith(b"\x93NUMPY"):
        raise CheckpointError(f"{path} is one NumPy array, without names: give a state dict")
    _refuse_text(path, data)
    _refuse_onnx(path, data)
    _refuse_tar(path, data)


def refuse_other_archive(path: Path, names: list[str]) -> None:
    """Raise a CheckpointError where a zip archive was not written by torch.

    Args:
        path: The archive.
        names: Names of its members.
    """
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return
    quoted = shlex.quote(str(path))
    if any(name.endswith(("saved_exported_program.json", "models/model.json")) for name in names):
        raise CheckpointError(
            f"{path} is a program of torch.export: {_EXPORT}, or save its weights: `python -c "
            f'"import sys, torch; torch.save(dict(torch.export.load(sys.argv[1]).state_dict), '
            f'sys.argv[2])" {quoted} weights.pth`'
        )
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{path} is a NumPy archive (.npz): {conversion(path, Loader.NUMPY)}")
    if "model.weights.h5" in names:
        raise CheckpointError(f"{path} is a Keras model, no PyTorch checkpoint: {_EXPORT}")
    inside = next((n for n in names if n.lower().endswith((".pth", ".pt", ".safetensors"))), None)
    advice = f"unpack it with `unzip {quoted}` and give {inside or 'the checkpoint in it'}"
    raise CheckpointError(f"{path} is a zip archive without a torch checkpoint's parts: {advice}")


def _refuse_text(path: Path, data: bytes) -> None:
    start = data[:_SCAN].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` where it is"
        )
    if start[:1] == b"<":
        kind = "an OpenVINO model" if b"<net " in start else "a web page or other markup"
        raise CheckpointError(
            f"{path} is {kind}, no PyTorch checkpoint: download it again, or {_EXPORT}"
        )
    if not _is_text(data[:_SCAN]):
        return
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        kind = "a text file"
    else:
        kind = "JSON without a weight_map"
    raise CheckpointError(f"{path} is {kind}, no PyTorch checkpoint: give the file with weights")


def _is_text(start: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in start) and start.isascii()


def _refuse_onnx(path: Path, data: bytes) -> None:
    """Refuse ONNX: field 1, the IR version, and a graph; pickles begin otherwise."""
    if path.suffix.lower() == ".onnx" or (data[0] == 0x08 and _parses_as_onnx(data)):
        raise CheckpointError(
            f"{path} is an ONNX file, no PyTorch checkpoint: use --model onnx for it"
        )


def _parses_as_onnx(data: bytes) -> bool:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return len(onnx.load_from_string(data).graph.node) > 0
    except DecodeError:
        return False


def _refuse_tar(path: Path, data: bytes) -> None:
    if data[257:262] != b"ustar":
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = set(archive.getnames())
    except tarfile.TarError:
        names = set()
    if names >= _TAR_LEGACY:
        raise CheckpointError(
            f"{path} is in torch's tar format of before 2017, which only loading that may run "
            f"code reads: {conversion(path, Loader.TORCH)}"
        )
    raise CheckpointError(
        f"{path} is a tar archive: unpack it with `tar xf {shlex.quote(str(path))}` and give the "
        "checkpoint in it"
    )


def zip_members(data: bytes) -> list[zipfile.ZipInfo] | None:
    """Return the members of a zip archive, or None for other bytes or a damaged archive."""
    # A tar archive may end in a zip archive, which zipfile finds there.
    if not data.startswith(b"PK"):
        return None
    try:
        with bounded_zip(data) as archive:
            return archive.infolist()
    except ValueError:
        return None

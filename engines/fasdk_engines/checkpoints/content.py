"""Content of a checkpoint file, read as data whatever the file is called."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from fasdk.bounded_file import FileKind, is_file, open_bounded, read_bounded, read_rest
from fasdk.errors import CheckpointError
from fasdk_engines.checkpoints.conversion import Loader, conversion
from fasdk_engines.checkpoints.kinds import (
    refuse_folder,
    refuse_other_archive,
    refuse_other_kind,
    zip_members,
)
from fasdk_engines.checkpoints.placeholders import placeholder

_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_INDEX_KEY = "weight_map"
# Modules whose functions act on the machine or run what they are given.
_HARMFUL = re.compile(
    r"(os|posix|nt|sys|subprocess|shutil|socket|runpy|importlib|pty|ctypes|code|codeop|asyncio|"
    r"multiprocessing|pickle|marshal|webbrowser|urllib|http|requests|pip|tempfile|commands)\.|"
    r"builtins\.(eval|exec|compile|open|setattr|__import__|globals|locals|input|apply)$"
)
_DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)
_HEAD_BYTES = 2**16
_MAX_OTHER_BYTES = 2**26  # of what is no file of weights, such as an index or a page of text
_PROTOCOL = 2  # of the pickles that torch.save writes
_MAX_NAMES = 256  # distinct classes beside the weights; more are no settings


@dataclass(frozen=True)
class Content:
    """What a checkpoint file holds.

    Attributes:
        sha256: SHA-256 of the file, in hexadecimal; of an index, over it and its shards in order.
        value: Nested mappings and lists with tensors and settings, as the file has them.
        metadata: Metadata of a safetensors file; empty for others.
    """

    sha256: str
    value: object = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_content(path: Path) -> Content:
    """Read a checkpoint by what its bytes are: safetensors, a torch file, or an index of shards.

    Raises:
        CheckpointError: No such file, it is of another kind, truncated, or contains code; the
            message has the command that helps.
    """
    data = _read(path)
    shards = _shards(path, data)
    if shards is not None:
        return _read_shards(path, data, shards)
    _refuse_shard(path)
    return _read_one(path, data)


def _read_one(path: Path, data: bytes) -> Content:
    digest = sha256(data).hexdigest()
    if _is_safetensors(data) or (path.suffix.lower() == ".safetensors" and not _is_torch(data)):
        tensors, metadata = _from_safetensors(path, data)
        return Content(digest, tensors, metadata)
    return Content(digest, _from_torch(path, data))


def _read(path: Path) -> bytes:
    refuse_folder(path)
    try:
        with open_bounded(path, FileKind.CHECKPOINT) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
            if size <= _MAX_OTHER_BYTES or _may_be_weights(head, size):
                return head + read_rest(file, path, FileKind.CHECKPOINT)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    refuse_other_kind(path, head)
    raise CheckpointError(_damaged(path))


def _may_be_weights(head: bytes, size: int) -> bool:
    """Whether a file of this size that begins so may hold tensors: a torch file, or safetensors."""
    header = int.from_bytes(head[:8], "little")
    return _is_torch(head) or (head[8:9] == b"{" and 2 <= header <= size - 8)


def _shards(path: Path, data: bytes) -> tuple[str, ...] | None:
    """Return the files an index lists, in order, or None where bytes are no index.

    Raises:
        CheckpointError: It names a file that is not beside it.
    """
    if data[:1] not in (b"{", b" ", b"\n", b"\r", b"\xef") or _is_safetensors(data):
        return None
    try:
        index: Any = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    files = index.get(_INDEX_KEY) if isinstance(index, dict) else None
    if not isinstance(files, dict):
        return None
    names = tuple(dict.fromkeys(str(name) for name in files.values()))
    for name in names:
        if PurePosixPath(name).name != name or name in ("", ".", "..") or "\\" in name:
            raise CheckpointError(f"{path} names the shard {name!r}: expected a file beside it")
    return names


def _refuse_shard(path: Path) -> None:
    """Raise a CheckpointError where an index beside a file lists it as one of several shards."""
    for index in sorted(path.parent.glob("*.index.json")):
        try:
            names = _shards(index, read_bounded(index, FileKind.CONFIG))
        except (OSError, CheckpointError):
            continue
        if names is not None and len(names) > 1 and path.name in names:
            raise CheckpointError(f"{path} is one of {len(names)} shards: give {index}")


def _read_shards(path: Path, data: bytes, names: tuple[str, ...]) -> Content:
    digest = sha256(data)
    tensors: dict[object, object] = {}
    for name in names:
        shard = path.parent / name
        if not is_file(shard):
            raise CheckpointError(
                f"{path} lists the shard {name}, which is not beside it: copy every shard there"
            )
        content = _read_one(shard, _read(shard))
        if not isinstance(content.value, Mapping):
            raise CheckpointError(f"{shard} holds no tensors by name: copy that shard again")
        twice = next((key for key in content.value if key in tensors), None)
        if twice is not None:
            raise CheckpointError(f"{path}: two shards hold {twice}: copy the shards again")
        tensors.update(content.value)
        digest.update(bytes.fromhex(content.sha256))
    return Content(digest.hexdigest(), tensors)


def _is_safetensors(data: bytes) -> bool:
    """Whether bytes begin with the length of a JSON header that lies inside the file."""
    length = int.from_bytes(data[:8], "little")
    return data[8:9] == b"{" and 2 <= length <= len(data) - 8


def _is_torch(data: bytes) -> bool:
    return data[:2] == b"PK" or data[:1] == b"\x80"


def _from_safetensors(path: Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    import safetensors.torch

    if not _is_safetensors(data):
        if len(data) > 9 and data[8:9] != b"{":
            refuse_other_kind(path, data)
        raise CheckpointError(f"{path} is truncated or no safetensors file: copy it again")
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}: copy it again") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, dict(header.get("__metadata__") or {})


def _from_torch(path: Path, data: bytes) -> object:
    members = zip_members(data)
    if members is None:
        refuse_other_kind(path, data)
        if data[:1] == b"\x80" and _LEGACY_MAGIC not in data[:64]:
            _refuse_plain_pickle(path, data)
        return _load(path, data, Loader.TORCH)
    names = [member.filename for member in members]
    refuse_other_archive(path, names)
    is_script = any(PurePosixPath(name).name == "constants.pkl" for name in names)
    loader = Loader.TORCHSCRIPT if is_script else Loader.TORCH
    read = [member for member in members if not is_script or _is_data(member.filename)]
    if any(m.compress_type != zipfile.ZIP_STORED for m in read) or (
        sum(m.file_size for m in read) > len(data)
    ):
        raise CheckpointError(
            f"{path} has compressed members, which torch.save does not write: "
            f"{conversion(path, loader)}"
        )
    return _load(path, _without_code(path, data) if is_script else data, loader)


def _load(path: Path, data: bytes, loader: Loader) -> object:
    """Load with `weights_only=True` and inert placeholders; there is no fallback.

    Raises:
        CheckpointError: The file names a class that has no placeholder, or it is damaged.
    """
    allowed = {name: _placeholder(path, name, loader) for name in _listed_globals(data)}
    for _ in range(_MAX_NAMES):
        try:
            return _load_with(data, allowed)
        except pickle.UnpicklingError as error:
            name = _refused_global(str(error))
            if name is None:
                raise CheckpointError(_unreadable(path, data, str(error), loader)) from error
        except Exception as error:
            # Damaged pickles surface as almost any exception.
            raise CheckpointError(_damaged(path)) from error
        if name in allowed:
            raise CheckpointError(_code(path, name, loader))
        allowed[name] = _placeholder(path, name, loader)
    raise CheckpointError(
        f"{path} contains {_MAX_NAMES} classes beside its weights: {conversion(path, loader)}"
    )


def _listed_globals(data: bytes) -> list[str]:
    """Return the classes and functions that an archive names and torch does not allow by itself.

    Torch lists none of the older format; loading refuses those one by one.
    """
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)))
    except Exception:  # noqa: BLE001 - loading says what is wrong
        return []


def _placeholder(path: Path, name: str, loader: Loader) -> Callable[..., Any]:
    """Return what stands for a class or function; see `placeholder`.

    Raises:
        CheckpointError: It is none of the settings that are known.
    """
    found = placeholder(name, script=loader is Loader.TORCHSCRIPT)
    if found is None:
        raise CheckpointError(_code(path, name, loader))
    return found


def _code(path: Path, name: str, loader: Loader) -> str:
    if _HARMFUL.match(name):
        return (
            f"{path} contains code ({name}) that no checkpoint needs: do not load it anywhere; get "
            "the weights from their author again, best as .safetensors"
        )
    return (
        f"{path} contains code ({name}) and is not loaded: give its bare state dict; "
        f"{conversion(path, loader)}"
    )


def _load_with(data: bytes, allowed: Mapping[str, Any]) -> object:
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (stand_in, name) for name, stand_in in allowed.items()
    ]
    with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
        warnings.simplefilter("ignore")  # of protocols and storages, which nobody can act on
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _refused_global(message: str) -> str | None:
    """Return the full name of the class or function that torch's unpickler refused."""
    found = re.search(r"GLOBAL (\S+)", message)
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"


def _unreadable(path: Path, data: bytes, message: str, loader: Loader) -> str:
    protocol = _protocol(data)
    if protocol is not None and protocol != _PROTOCOL:
        return (
            f"{path} is pickled with protocol {protocol}, of which torch reads only "
            f"{_PROTOCOL} as data: {conversion(path, loader)}"
        )
    if any(text in message for text in ("Can only", "unrecognized function", "DTensor", "nested")):
        return f"{path} contains objects beside tensors: {conversion(path, loader)}"
    return _damaged(path)


def _protocol(data: bytes) -> int | None:
    """Return the protocol of the pickle in a torch file, or None where there is none."""
    members = zip_members(data)
    if members is not None:
        name = next((m.filename for m in members if m.filename.endswith("data.pkl")), None)
        if name is None:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(name) as member:
                data = member.read(2)
        except _DAMAGED_ZIP:
            return None
    return data[1] if data[:1] == b"\x80" and len(data) > 1 else None


def _refuse_plain_pickle(path: Path, data: bytes) -> None:
    """Refuse what pickle.dump wrote, whose tensors are pickles that run code."""
    if data.rstrip(b"\n")[-1:] != b".":
        raise CheckpointError(_damaged(path))
    raise CheckpointError(
        f"{path} is a plain pickle, not written by torch.save: {conversion(path, Loader.PICKLE)}"
    )


def _damaged(path: Path) -> str:
    return f"{path} is truncated, damaged or no PyTorch checkpoint: copy or save it again"


def _without_code(path: Path, data: bytes) -> bytes:
    """Return a TorchScript archive without its program: what is left is a torch file.

    Raises:
        CheckpointError: It is damaged.
    """
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(out, "w") as kept:
            for member in given.infolist():
                if _is_data(member.filename):
                    kept.writestr(member.filename, given.read(member.filename))
    except _DAMAGED_ZIP as error:
        raise CheckpointError(_damaged(path)) from error
    return out.getvalue()


def _is_data(name: str) -> bool:
    """Whether a member of a TorchScript archive holds tensors or the names of them."""
    parts = PurePosixPath(name).parts
    inside = parts[1] if len(parts) > 1 else parts[0]
    return inside in ("data.pkl", "data", "version", "byteorder")

"""Reading, writing and loading of checkpoints, without running code in them."""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fasdk.atomic import atomic_write
from fasdk.errors import CheckpointError, ModelError
from fasdk_engines.models.base import Family, ModelConfig

_log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_MODEL_KEY, _CONFIG_KEY = "fasdk.model", "fasdk.config"


@dataclass(frozen=True)
class Checkpoint:
    """Weights of one file, as they were read.

    Attributes:
        path: File they were read from.
        sha256: SHA-256 of the file's bytes, in hexadecimal.
        tensors: Weights by name, a common `module.` prefix removed.
        metadata: Metadata of the file; only safetensors has any.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a .safetensors file, or a .pth or .pt file that holds nothing but tensors and settings.

    A state dict is found bare or under `state_dict`, `model_state_dict` or `model`.

    Raises:
        CheckpointError: No such file, it is truncated, it contains code, or it holds no weights.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _TORCH_SUFFIXES:
        raise CheckpointError(
            f"{path} is not called like a checkpoint: expected .safetensors, "
            f"{', '.join(_TORCH_SUFFIXES)}"
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    digest = sha256(data).hexdigest()
    if suffix == ".safetensors":
        tensors, metadata = _from_safetensors(path, data)
    else:
        tensors, metadata = _state_dict(path, _from_torch(path, data)), {}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors: give a trained model's state dict")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return Checkpoint(path, digest, tensors, metadata)


def load_into(module: nn.Module, checkpoint: Checkpoint, family: Family) -> None:
    """Copy a checkpoint's weights into a module of `family`: all of them, or none.

    Weights that the family lists as research-only are dropped, with a log line.

    Raises:
        CheckpointError: A weight is missing, unknown, of another shape or type, or not finite; the
            module is unchanged.
    """
    tensors = _renamed(checkpoint, family)
    dropped = {n: value for n, value in tensors.items() if family.is_research_only(n)}
    tensors = {name: value for name, value in tensors.items() if name not in dropped}
    own = module.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    misshapen = [
        f"{name} is {list(value.shape)}, expected {list(own[name].shape)}"
        for name, value in tensors.items()
        if name in own and value.shape != own[name].shape
    ]
    complaints = [
        f"{len(names)} {what}: {_some(names)}"
        for what, names in (("missing", missing), ("unknown", unknown), ("misshapen", misshapen))
        if names
    ]
    if complaints:
        raise CheckpointError(
            f"{checkpoint.path} does not fit this {family.name}: {'; '.join(complaints)}"
            f"{_hint(checkpoint, module)}"
        )
    for name, value in tensors.items():
        if value.is_floating_point() != own[name].is_floating_point() or value.is_complex():
            raise CheckpointError(
                f"{checkpoint.path}: {name} is {value.dtype}, expected {own[name].dtype}"
            )
        if not torch.isfinite(value.to(own[name].dtype)).all():
            raise CheckpointError(
                f"{checkpoint.path}: {name} holds NaN or infinity: the training diverged, or the "
                "file is damaged"
            )
    if dropped:
        _log.info(
            "%s: dropped %s; %s parameters that %s does not use once trained",
            checkpoint.path,
            _by_stem(dropped),
            f"{sum(value.numel() for value in dropped.values()):,}",
            family.name,
        )
    module.load_state_dict(tensors)


def resolve_config(
    family: Family, checkpoint: Checkpoint, requested: str | Path | None = None
) -> ModelConfig:
    """Return the settings a checkpoint was trained with.

    Args:
        family: Model the checkpoint is loaded into.
        checkpoint: Weights and metadata of the checkpoint.
        requested: Name of a config, or path of a JSON file with the settings that differ from the
            published ones. None takes the config in the checkpoint's metadata, else the published
            one.

    Raises:
        ModelError: There is no such config, or its fields do not fit the model.
        CheckpointError: Its metadata names another model.
    """
    trained_as = checkpoint.metadata.get(_MODEL_KEY, family.name)
    if trained_as != family.name:
        raise CheckpointError(
            f"{checkpoint.path} holds {trained_as!r}, not {family.name!r}: use --model {trained_as}"
        )
    if requested is not None:
        return find_config(family, requested)
    if _CONFIG_KEY in checkpoint.metadata:
        return _config(family, checkpoint.metadata[_CONFIG_KEY], str(checkpoint.path))
    return family.default_config


def find_config(family: Family, requested: str | Path) -> ModelConfig:
    """Return a family's settings by name, or from a JSON file with those that differ.

    Raises:
        ModelError: There is no such config, or its fields do not fit the model.
    """
    named = family.configs.get(str(requested))
    return named if named is not None else _config_from_file(family, Path(requested))


def save_checkpoint(
    path: Path | str,
    module: nn.Module,
    family: Family,
    config: ModelConfig,
    research: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a module's weights as safetensors, with the model's name and settings.

    Args:
        path: File to write, or to replace.
        module: Published form whose weights are written.
        family: Model of the module.
        config: Settings of the model.
        research: Weights that only training needs, under the published names.

    Raises:
        FasdkError: The file cannot be written; whatever was there before is untouched.
    """
    import safetensors.torch

    both = {**(research or {}), **module.state_dict()}
    tensors = {name: value.contiguous().cpu() for name, value in both.items()}
    metadata = {_MODEL_KEY: family.name, _CONFIG_KEY: config.model_dump_json()}
    data = _in_order(safetensors.torch.save(tensors, metadata))
    with atomic_write(Path(path)) as file:
        file.write(data)


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted; the library shuffles it at every call."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]


def _from_safetensors(path: Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    import safetensors.torch

    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}: copy it again") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, dict(header.get("__metadata__") or {})


def _from_torch(path: Path, data: bytes) -> object:
    _refuse_compressed(path, data)
    try:
        # There is no fallback: what this refuses would run code.
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise CheckpointError(
                f"{path} contains code ({found[1]}) and is not loaded: "
                "save the bare state dict, best as .safetensors"
            ) from None
        raise CheckpointError(_damaged(path)) from error
    except Exception as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path} is a TorchScript program, which is code, and is not loaded: "
                "save the state dict, best as .safetensors"
            ) from None
        # Damaged pickles surface as almost any exception.
        raise CheckpointError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return f"{path} is truncated, damaged or no PyTorch checkpoint: copy or save it again"


def _refuse_compressed(path: Path, data: bytes) -> None:
    """Refuse compressed members, which torch.save never writes and which inflate to any size."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(_damaged(path)) from error
    if any(m.compress_type != zipfile.ZIP_STORED for m in members) or (
        sum(m.file_size for m in members) > len(data)
    ):
        raise CheckpointError(
            f"{path} has compressed members, which torch.save does not write: save it again"
        )


def _state_dict(path: Path, loaded: object) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(loaded.get(wrapper), Mapping):
                loaded = loaded[wrapper]
                break
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{path} holds no tensors by name but a {type(loaded).__name__}: "
            f"give a state dict, bare or under {', '.join(_WRAPPERS)}"
        )
    others = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(
            f"{path} holds {len(others)} entries that are no tensors ({_some(others)}): "
            f"give a state dict, bare or under {', '.join(_WRAPPERS)}"
        )
    odd = [str(name) for name, value in loaded.items() if value.layout != torch.strided]
    if odd:
        raise CheckpointError(f"{path} holds tensors that are not dense: {_some(odd)}")
    return {str(name): value for name, value in loaded.items()}


def _renamed(checkpoint: Checkpoint, family: Family) -> dict[str, Tensor]:
    """Return the tensors under the family's own spelling of their names."""
    renamed: dict[str, Tensor] = {}
    for name, value in checkpoint.tensors.items():
        current = family.own_name(name)
        if current in renamed:
            raise CheckpointError(f"{checkpoint.path} holds {current} twice, under two spellings")
        renamed[current] = value
    return renamed


def _config_from_file(family: Family, path: Path) -> ModelConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise ModelError(
            f"{family.name} has no config {str(path)!r}: "
            f"choose {', '.join(family.configs)} or a JSON file"
        ) from None
    except UnicodeDecodeError:
        raise ModelError(f"{path} is not a JSON file: it is not UTF-8 text") from None
    return _config(family, text, str(path))


def _config(family: Family, text: str, source: str) -> ModelConfig:
    try:
        return family.config_type.model_validate_json(text)
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(family.config_type.model_fields) or "none"
        raise ModelError(
            f"{source}: {family.name} config{f' field {where!r}' if where else ''}: "
            f"{first['msg']} (known fields: {known})"
        ) from None


def _hint(checkpoint: Checkpoint, module: nn.Module) -> str:
    """Return the part of an error that names the registered model and config that fit best."""
    from fasdk_engines.models.matching import nearest_model

    shapes = {name: tuple(value.shape) for name, value in checkpoint.tensors.items()}
    nearest = nearest_model(shapes, module)
    return "" if nearest is None else f"; {nearest}"


def _by_stem(names: Iterable[str]) -> str:
    """Return tensor names grouped by their first two parts, each with its count."""
    stems = Counter(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(f"{stem} ({n} tensors)" if n > 1 else stem for stem, n in stems.items())


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""Reading, writing and loading of checkpoints, without running code in them."""

from __future__ import annotations

import json
import logging
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, read_bounded
from fasdk.errors import CheckpointError, ModelError
from fasdk_engines.checkpoints.content import read_content
from fasdk_engines.checkpoints.tensors import named_tensors
from fasdk_engines.checkpoints.weight_sets import NamedWeights
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.models.weight_choice import Choice, Fit, choose_weights

_log = logging.getLogger(__name__)

_MODEL_KEY, _CONFIG_KEY = "fasdk.model", "fasdk.config"
_CONSTANT_SHARE = 0.5  # of the matrices and kernels; a trained network has hardly any


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of one file, as they were read.

    Attributes:
        path: File they were read from.
        sha256: SHA-256 of the file's bytes, in hexadecimal; of an index, over it and its shards.
        tensors: Every tensor by full name, the keys of nested mappings joined by dots.
        metadata: Metadata of the file; only safetensors has any.
        owners: Full name of the mapping that each tensor stands in; a name without an entry is at
            the top of the file.
        weights: Which of several sets of weights to load: a key in the file, "ema", "raw", or None
            to find the one that fits.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict, repr=False)
    weights: str | None = None


def load_checkpoint(path: Path | str, weights: str | None = None) -> Checkpoint:
    """Read a checkpoint: safetensors, a torch file or TorchScript archive, or an index of shards.

    The bytes decide, not the name. Nothing in the file is run, imported or called.

    Args:
        path: File to read.
        weights: Which of several sets of weights `load_into` takes: a key in the file, "ema",
            "raw", or None.

    Raises:
        CheckpointError: No such file, it is of another kind or truncated, it contains code, or it
            holds no weights; the message has the command that helps.
    """
    path = Path(path)
    content = read_content(path)
    tensors, owners = named_tensors(path, content.value)
    return Checkpoint(path, content.sha256, tensors, content.metadata, owners, weights)


def load_into(module: nn.Module, checkpoint: Checkpoint, family: Family) -> tuple[str, ...]:
    """Copy a checkpoint's weights into a module of `family`: all of them, or none.

    The weights are found by content: under whatever prefix the module's names stand. Weights that
    the family lists as research-only, and other modules beside it, are dropped.

    Returns:
        What was chosen, renamed, filled in, converted or dropped, a sentence each; also logged.

    Raises:
        CheckpointError: A weight is missing, unknown, of another shape or type, or not finite;
            most are constant; or several sets fit. The module is unchanged.
    """
    own = module.state_dict()
    given = NamedWeights(
        checkpoint.path, checkpoint.tensors, checkpoint.owners, checkpoint.metadata
    )
    choice = choose_weights(given, own, family, checkpoint.weights)
    fit = choice.fit
    if not fit.is_exact:
        raise CheckpointError(
            f"{checkpoint.path} does not fit this {family.name}: {_misfits(fit)}"
            f"{_hint(fit, given, module, family)}"
        )
    for name, value in fit.tensors.items():
        _require_usable(checkpoint, name, value, own[name])
    constant = _constant_weights(checkpoint, choice)
    notes = (
        *choice.notes,
        *fit.notes,
        *_conversions(fit, own),
        *constant,
        *_dropped(fit, family),
    )
    for note in notes:
        _log.info("%s: %s", checkpoint.path, note)
    module.load_state_dict(dict(fit.tensors))
    return notes


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


def _misfits(fit: Fit) -> str:
    unknown = tuple(fit.unknown)
    lists = (("missing", fit.missing), ("unknown", unknown), ("misshapen", fit.misshapen))
    return "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in lists if names)


def _require_usable(checkpoint: Checkpoint, name: str, value: Tensor, own: Tensor) -> None:
    """Refuse a tensor whose numbers a module cannot take.

    Raises:
        CheckpointError: It is sparse, quantized or without data, of another type, or not finite.
    """
    where = f"{checkpoint.path}: {name}"
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        kind = "quantized" if value.is_quantized else "without data" if value.is_meta else "sparse"
        raise CheckpointError(f"{where} is {kind}: save the float weights, dense")
    if value.is_floating_point() != own.is_floating_point() or value.is_complex():
        raise CheckpointError(
            f"{where} is {value.dtype}, expected {own.dtype}: save the float weights, before any "
            "quantization"
        )
    try:
        is_finite = bool(torch.isfinite(value.to(own.dtype)).all())
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{where} is {value.dtype}, which torch does not convert: save the float weights"
        ) from error
    if not is_finite:
        raise CheckpointError(
            f"{where} holds NaN or infinity: the training diverged, or the file is damaged"
        )


def _constant_weights(checkpoint: Checkpoint, choice: Choice) -> tuple[str, ...]:
    """Return a note on constant matrices and kernels.

    Raises:
        CheckpointError: Most are constant, such as all zero: nothing was trained or saved there.
    """
    fit = choice.fit
    kernels = {n: v for n, v in fit.tensors.items() if v.dim() >= 2 and v.numel() > 1}
    constant = sorted(n for n, v in kernels.items() if bool((v == v.flatten()[0]).all()))
    if constant and len(constant) >= _CONSTANT_SHARE * len(kernels):
        raise CheckpointError(
            f"{checkpoint.path}: {len(constant)} of {len(kernels)} weight matrices"
            f"{f' under {fit.key!r}' if fit.key else ''} are constant: these are no trained "
            f"weights; {_advice(choice.others)}"
        )
    if not constant:
        return ()
    return (f"constant weight matrices: {_some(constant)}",)


def _advice(others: Sequence[str]) -> str:
    if others:
        first = shlex.quote(others[0])
        return f"the file also holds {', '.join(others)}: choose with --weights {first}"
    return "give the file that the training wrote last"


def _conversions(fit: Fit, own: Mapping[str, Tensor]) -> tuple[str, ...]:
    counts = Counter(
        (value.dtype, own[name].dtype)
        for name, value in fit.tensors.items()
        if value.dtype != own[name].dtype
    )
    return tuple(
        f"{count} tensors are converted from {_type(a)} to {_type(b)}"
        for (a, b), count in counts.items()
        if a.is_floating_point
    )


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dropped(fit: Fit, family: Family) -> tuple[str, ...]:
    dropped = {**fit.siblings, **fit.research_only}
    if not dropped:
        return ()
    parameters = sum(value.numel() for value in dropped.values())
    return (
        f"dropped {_by_stem(dropped)}; {parameters:,} parameters that {family.name} does not use "
        "once trained",
    )


def _config_from_file(family: Family, path: Path) -> ModelConfig:
    try:
        text = read_bounded(path, FileKind.CONFIG).decode("utf-8-sig")
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


def _hint(fit: Fit, given: NamedWeights, module: nn.Module, family: Family) -> str:
    """Return the part of an error that names the settings, or the model and config, that fit."""
    from fasdk_engines.models.matching import fitting_settings, nearest_model

    found = {name: tuple(v.shape) for name, v in {**fit.tensors, **fit.unknown}.items()}
    settings = fitting_settings(family, found)
    if settings is not None:
        return f"; {settings}"
    names = {name: tuple(value.shape) for name, value in given.largest_mapping().items()}
    for shapes in (found, *_without_common_parts(names)):
        nearest = nearest_model(shapes, module)
        if nearest is not None:
            return f"; {nearest}"
    if fit.unknown and not (fit.missing or fit.misshapen):
        return "; if only the training uses what is unknown, save the file without it"
    return ""


def _without_common_parts(
    shapes: Mapping[str, tuple[int, ...]],
) -> Iterable[Mapping[str, tuple[int, ...]]]:
    """Yield shapes by name, then by the names without each part that all begin with."""
    yield shapes
    while len({name.partition(".")[0] for name in shapes}) == 1 and all("." in n for n in shapes):
        shapes = {name.partition(".")[2]: shape for name, shape in shapes.items()}
        yield shapes


def _by_stem(names: Iterable[str]) -> str:
    """Return tensor names grouped by their first two parts, each with its count."""
    stems = Counter(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(f"{stem} ({n} tensors)" if n > 1 else stem for stem, n in stems.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

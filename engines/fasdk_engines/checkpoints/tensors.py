"""Tensors of a checkpoint's content by full name, and the prefixes that names fit under."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path

from torch import Tensor

from fasdk.errors import CheckpointError
from fasdk_engines.checkpoints.conversion import Loader, conversion
from fasdk_engines.checkpoints.placeholders import Array, ScriptModule

_MAX_DEPTH = 12  # of nested mappings; deeper ones are no wrappers
# Parts that wrappers of a module put into the names of its tensors.
WRAPPER_PARTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def named_tensors(path: Path, value: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return every tensor of a checkpoint's content, and the mapping that each stands in.

    Args:
        path: File, for messages.
        value: Content of the file.

    Returns:
        Tensors by full name, the keys of nested mappings joined by dots; and by the same names the
        full name of the mapping, "" at the top.

    Raises:
        CheckpointError: There are none, or two have the same full name.
    """
    tensors: dict[str, Tensor] = {}
    owners: dict[str, str] = {}
    arrays = 0
    for owner, name, leaf in _leaves(value, "", 0):
        if isinstance(leaf, Array):
            arrays += 1
            continue
        if name in tensors:
            raise CheckpointError(f"{path} holds {name} twice: give one of the state dicts alone")
        tensors[name], owners[name] = leaf, owner
    if arrays and not tensors:
        raise CheckpointError(
            f"{path} holds {arrays} NumPy arrays and no tensors: {conversion(path, Loader.TORCH)}"
        )
    if not tensors and isinstance(value, ScriptModule):
        raise CheckpointError(
            f"{path} is a frozen TorchScript program, whose weights have no names: save the module "
            "before torch.jit.freeze, best its state dict"
        )
    if not tensors:
        what = "" if isinstance(value, Mapping) else f" by name but a {type(value).__name__}"
        raise CheckpointError(f"{path} holds no tensors{what}: give a trained model's state dict")
    return tensors, owners


def _leaves(value: object, owner: str, depth: int) -> Iterator[tuple[str, str, Tensor | Array]]:
    if depth > _MAX_DEPTH:
        return
    for key, entry in _entries(value):
        name = f"{owner}.{key}" if owner else key
        if isinstance(entry, Tensor):
            if not isinstance(value, (list, tuple)):
                yield owner, name, entry
        elif isinstance(entry, Array):
            yield owner, name, entry
        else:
            yield from _leaves(entry, name, depth + 1)


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """Yield what a mapping, a list or a TorchScript module holds, by name."""
    if isinstance(value, ScriptModule):
        value = value.attributes
    if isinstance(value, Mapping):
        yield from ((key, entry) for key, entry in value.items() if isinstance(key, str))
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), entry) for index, entry in enumerate(value))


def prefixes(
    names: Mapping[str, object] | Set[str],
    own: Set[str],
    own_name: Callable[[str], str] = lambda name: name,
) -> Counter[str]:
    """Count, by prefix, the own names that stand under it.

    Args:
        names: Full names in a checkpoint.
        own: Names of a module's tensors.
        own_name: Function that turns another spelling of a name into the module's.

    Returns:
        Number of own names by prefix; a prefix is "" or ends in a dot.
    """
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            if own_name(name[start:]) in own:
                counts[name[:start]] += 1
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return counts


def without_parts(name: str, parts: Set[str]) -> str:
    """Return a full name without the parts that a wrapper put into it."""
    return ".".join(part for part in name.split(".") if part not in parts)

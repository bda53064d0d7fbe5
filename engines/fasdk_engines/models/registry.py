"""Registry of model families: built-in ones, and those that other distributions register.

Anyone's model takes part by one entry point a family in its distribution's metadata:

    [project.entry-points."fasdk.models"]
    my-model = "my_package.my_module:FAMILIES"

The name is what `--model` takes. The object is a `Family` of that name, or a tuple that holds one.
`base.py` defines a family: `build` returns a `PublishedModule` whose state dict has the
checkpoint's own keys, whose `forward` takes float32 [B, 3, H, W] per modality in model order and
returns (logits,) or (logits, certainty), and whose `deployed()` computes the same function
faster; `preprocess` returns a `PreprocessSpec` per modality. Every check of a build then holds for
it as for a built-in: whole state dict, parity of the two forms and of the graph, batch
independence, precision, lint, golden captures. `tools/examples/cdcn` is a complete example.

A family is imported on use, so a broken distribution does not stop other models.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from fasdk.errors import ModelError
from fasdk_engines.models.base import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "fasdk.models"
ONNX_IMPORT = "onnx"  # model name of an imported ONNX file; see the package `onnx_import`

_MODULES = {
    "mmdg": "fasdk_engines.models.mmdg.family",
    "mmda": "fasdk_engines.models.mmda.family",
    "mmdgpp": "fasdk_engines.models.mmdgpp.family",
    "bigmoe": "fasdk_engines.models.bigmoe.family",
    "minifasnet-v2": "fasdk_engines.models.minifasnet.family",
    "minifasnet-v1se": "fasdk_engines.models.minifasnet.family",
}

__all__ = [
    "GROUP",
    "ONNX_IMPORT",
    "broken_families",
    "family_names",
    "get_family",
]


def family_names() -> tuple[str, ...]:
    """Return the registered names, built-ins first; nothing is imported for it."""
    others = sorted({e.name for e in entry_points(group=GROUP)} - {*_MODULES, ONNX_IMPORT})
    return (*_MODULES, *others)


def get_family(name: str) -> Family:
    """Return a model family by name.

    Raises:
        ModelError: There is none of that name, or the distribution that registers it is broken.
    """
    if name in _MODULES:
        families: tuple[Family, ...] = import_module(_MODULES[name]).FAMILIES
        return next(family for family in families if family.name == name)
    registered = [e for e in entry_points(group=GROUP) if e.name == name and name != ONNX_IMPORT]
    if not registered:
        raise ModelError(
            f"unknown model {name!r}: choose one of {', '.join(family_names())}, "
            f"or {ONNX_IMPORT} with --preprocess for an ONNX file"
        )
    if len(registered) > 1:
        raise ModelError(
            f"model {name!r} is registered by {' and '.join(map(_described, registered))}: "
            "uninstall all but one"
        )
    return _outside_family(registered[0])


def broken_families() -> dict[str, str]:
    """Return an error message for each entry point that gives no family, by its name.

    Every registered family is imported.
    """
    problems = {}
    for entry in entry_points(group=GROUP):
        if entry.name in (*_MODULES, ONNX_IMPORT):
            problems[entry.name] = (
                f"{_described(entry)} takes the built-in name {entry.name!r} and is left out: "
                "rename it there"
            )
            continue
        try:
            get_family(entry.name)
        except ModelError as error:
            problems[entry.name] = str(error)
    return problems


def _outside_family(entry: EntryPoint) -> Family:
    """Import another distribution's family and check that a build can use it."""
    try:
        found = entry.load()
    except Exception as error:  # anything may happen in another's module
        first = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"{_described(entry)} cannot be imported: {type(error).__name__}: {first}; "
            "fix or uninstall that distribution"
        ) from error
    families: Any = [found] if isinstance(found, Family) else found
    if not isinstance(families, (list, tuple)) or not all(isinstance(f, Family) for f in families):
        raise ModelError(
            f"{_described(entry)} is {_kind(found)}, expected a fasdk_engines.models.Family or a "
            "tuple of them"
        )
    named: list[Family] = [family for family in families if family.name == entry.name]
    if len(named) != 1:
        held = ", ".join(family.name for family in families) or "none"
        raise ModelError(
            f"{_described(entry)} holds {len(named)} families named {entry.name!r} "
            f"(it holds {held}): name the entry point as its family"
        )
    try:
        problems = list(_problems(named[0]))
    except Exception as error:
        raise ModelError(
            f"{_described(entry)}: {type(error).__name__}: {error}: fix that distribution"
        ) from error
    if problems:
        raise ModelError(f"{_described(entry)}: {'; '.join(problems)}: fix that distribution")
    return named[0]


def _problems(family: Family) -> Iterator[str]:
    """Yield every fault that keeps a family from being built."""
    if not family.modalities or len(set(family.modalities)) != len(family.modalities):
        yield "modalities must name at least one, each once"
    if not set(family.required) <= set(family.modalities):
        yield "required names a modality that modalities lacks"
    if len(set(family.labels)) != len(family.labels) or len(family.labels) < 2:
        yield "labels must name at least two classes, each once"
    if not 0 <= family.live_index < len(family.labels):
        yield f"live_index {family.live_index} is outside labels {family.labels}"
    if not family.configs:
        yield "configs is empty: give at least the published settings"
    for name, config in family.configs.items():
        if not isinstance(config, family.config_type):
            yield f"config {name!r} is {_kind(config)}, expected {family.config_type.__name__}"
        elif set(family.preprocess(config)) != set(family.modalities):
            yield f"preprocess of config {name!r} and modalities name different modalities"


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"


def _described(entry: EntryPoint) -> str:
    distribution = "an unknown distribution" if entry.dist is None else entry.dist.name
    return f"entry point {entry.name!r} ({entry.value}) of {distribution}"

"""The model registry: one file a published model, imported when asked for."""

from __future__ import annotations

from importlib import import_module

from fasdk.errors import ModelError
from fasdk_engines.models.base import Family, ModelConfig, PublishedModule

_MODULES = {
    "mmdg": "fasdk_engines.models.mmdg",
    "minifasnet-v2": "fasdk_engines.models.minifasnet",
    "minifasnet-v1se": "fasdk_engines.models.minifasnet",
}

__all__ = ["Family", "ModelConfig", "PublishedModule", "family_names", "get_family"]


def family_names() -> tuple[str, ...]:
    """Return the registered names."""
    return tuple(_MODULES)


def get_family(name: str) -> Family:
    """Return a model family by name.

    Raises:
        ModelError: There is none of that name.
    """
    if name not in _MODULES:
        raise ModelError(f"unknown model {name!r}: choose one of {', '.join(_MODULES)}")
    families: tuple[Family, ...] = import_module(_MODULES[name]).FAMILIES
    return next(family for family in families if family.name == name)

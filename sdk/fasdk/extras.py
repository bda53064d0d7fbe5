"""Instruction for installing an extra of this distribution."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Return how to install an extra, for messages: no registry has this distribution.

    Args:
        extra: Name of an optional dependency group of pyproject.toml, such as "cuda".
    """
    return f"`pip install '.[{extra}]'` in a checkout of fasdk"

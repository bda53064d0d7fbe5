"""Reference of the settings that systems were published with."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from markup import GENERATED, table

from fasdk_engines.models.registry import get_family
from fasdk_engines.training import TrainingSettings, published_systems, published_training


def render(_root: Path) -> str:
    """Return the page: a table of settings and sources for each system."""
    parts = [
        GENERATED,
        "# Published training settings\n",
        "What `fasdk train --method published` trains a system of its published size with, and "
        "where each setting is stated (repository, revision, file). A configuration of another "
        "size takes fasdk's own settings; an option takes the place of either. `fasdk train ... "
        "--show-settings` prints the table of one training. [The guide](../guide/train.md) says "
        "more.\n",
    ]
    for name in published_systems():
        found = published_training(get_family(name))
        parts.append(f"## {name}\n")
        if found.note:
            parts.append(f"{found.note}.\n")
        rows = [
            (
                setting.name.replace("_", " "),
                _text(setting.value),
                _text(TrainingSettings.model_fields[setting.name].get_default()),
                setting.source,
            )
            for setting in found.settings
        ]
        rows += [(s.name, _text(s.value), "", s.source) for s in found.rest]
        parts.append(table(("setting", "published", "fasdk's own", "stated in"), rows))
    return "\n".join(parts)


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)

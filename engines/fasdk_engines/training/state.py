"""State of a training on disk, from which a killed run resumes to the same weights."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from fasdk.atomic import atomic_write
from fasdk.bounded_file import FileKind, open_bounded
from fasdk.errors import TrainingError
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.training.data import TrainingCapture
from fasdk_engines.training.settings import TrainingSettings

_VERSION = 1


def fingerprint(
    family: Family,
    config: ModelConfig,
    method: str,
    settings: TrainingSettings,
    captures: Sequence[TrainingCapture],
    development: Sequence[TrainingCapture],
    start: str,
    frozen: Sequence[str],
    sentences: str,
) -> dict[str, str]:
    """Return what must be equal for a training to be resumed, by name.

    `start` identifies the initial weights, `frozen` the parameters that keep them, `sentences` a
    file of them. How often the state is saved may differ.
    """
    return {
        "model": family.name,
        "configuration": config.model_dump_json(),
        "method": method,
        "settings": settings.model_dump_json(exclude={"save_every"}),
        "training captures": _digest(captures),
        "development captures": _digest(development),
        "initial weights": start,
        "frozen parameters": json.dumps(list(frozen)),
        "sentences": sentences,
        "torch": torch.__version__.split("+")[0],
    }


def write_state(path: Path, prints: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Write a training's state; a reader sees either the old state or the complete new one.

    Raises:
        FasdkError: It cannot be written.
    """
    whole = {"version": _VERSION, "fingerprint": dict(prints), "state": dict(state)}
    with atomic_write(path) as file:
        torch.save(whole, file)


def read_state(path: Path, prints: Mapping[str, str]) -> dict[str, Any]:
    """Return a training's state.

    Raises:
        TrainingError: There is no state, it is damaged, or it belongs to another training.
    """
    try:
        with open_bounded(path, FileKind.CHECKPOINT) as file:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(
            f"nothing to resume: {path} does not exist; leave out --resume to start again"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is damaged or no training state ({type(error).__name__}): "
            "delete it and start again"
        ) from error
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise TrainingError(
            f"{path} is no training state of version {_VERSION}: delete it and start again"
        )
    kept = found["fingerprint"]
    other = [name for name, value in prints.items() if kept.get(name) != value]
    if other:
        named = ", ".join(_difference(name, kept.get(name), prints[name]) for name in other)
        raise TrainingError(
            f"{path} is of a training with another {named}: give what it was started "
            "with, or delete it and start again"
        )
    state: dict[str, Any] = found["state"]
    return state


def _difference(name: str, kept: object, given: str) -> str:
    """Return what differs, with its values where they are few."""
    if name == "frozen parameters" and isinstance(kept, str):
        return f"{name} ({_listed(json.loads(kept))}, not {_listed(json.loads(given))})"
    if name != "settings" or not isinstance(kept, str):
        return name
    old, new = json.loads(kept), json.loads(given)
    fields = [
        f"{field.replace('_', ' ')} {json.dumps(old.get(field))}, not {json.dumps(value)}"
        for field, value in new.items()
        if field not in old or old[field] != value
    ]
    return f"{name} ({'; '.join(fields)})"


def _listed(names: Sequence[str]) -> str:
    return " ".join(names) or "none"


def _digest(captures: Sequence[TrainingCapture]) -> str:
    """Return a digest of which captures these are, their labels included, frames not."""
    lines = "\n".join(
        f"{c.id}\t{c.label.value}\t{c.domain}\t{c.subject}\t{c.presentation}" for c in captures
    )
    return sha256(lines.encode()).hexdigest()

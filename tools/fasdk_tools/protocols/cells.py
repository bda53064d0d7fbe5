"""Protocol cell: one training of one system, its test results, and the file that keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fasdk.atomic import atomic_write
from fasdk.errors import UsageError
from fasdk.progress import Progress
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.protocols import (
    DomainCaptures,
    DomainSplit,
    Missing,
    Outcome,
    compute_outcome,
    without,
)
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import TrainingSettings, score_captures, train


@dataclass(frozen=True)
class System:
    """One row of the tables.

    Attributes:
        name: Name of the table row and of the system's files.
        title: Description of the system.
        family: Registered name of the model.
        method: Name of the training method.
        frozen: Regular expressions of parameters kept as they start.
        against: Name of the system that lacks only what this one adds, or of the baseline.
    """

    name: str
    title: str
    family: str
    method: str
    frozen: tuple[str, ...] = ()
    against: str | None = "baseline"

    @property
    def recipe(self) -> str:
        """Everything its training depends on, in words."""
        kept = f", {' '.join(self.frozen)} frozen" if self.frozen else ""
        return f"{self.family} by {self.method}{kept}"


SYSTEMS = (
    # A fresh adapter adds exactly nothing: frozen, MMDG is a ViT with one classifier.
    System(
        "baseline", "MMDG without adapters, cross-entropy", "mmdg", "plain", (r"adapter_.*",), None
    ),
    System("u-adapter", "baseline + U-Adapter", "mmdg", "plain"),
    System("regrad", "U-Adapter + SSP + ReGrad (MMDG)", "mmdg", "mmdg", against="u-adapter"),
    System("mmdgpp", "MMDG++", "mmdgpp", "mmdgpp"),
    System("mmda", "MMDA", "mmda", "mmda"),
    System("bigmoe", "BIG-MoE", "bigmoe", "bigmoe"),
)


class ProtocolSettings(BaseModel):
    """Size of a run.

    Attributes:
        train: Training captures of each domain.
        development: Development captures of each domain.
        test: Test captures of each domain.
        config: Named settings that every family is trained in.
        training: Settings every system is trained with; each seed replaces its own. The rate is
            the best of a few by the development captures of CPS->W with one seed, for all systems
            together; single ones do better at others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(default=96, ge=12)
    development: int = Field(default=48, ge=12)
    test: int = Field(default=120, ge=12)
    config: str = "tiny"
    training: TrainingSettings = TrainingSettings(epochs=14, batch=32, learning_rate=1e-3)


@dataclass(frozen=True)
class Cell:
    """One training and its tests.

    Attributes:
        system: The trained system and its training method.
        split: Name of the split.
        seed: Seed of captures, weights and order.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were evaluated.
        development_auc: Area under the development captures' ROC curve then.
        seconds: Wall-clock time of training and tests.
        outcomes: Error rates of each test, by the names of the modalities missing.
    """

    system: System
    split: str
    seed: int
    epochs: int
    best_epoch: int
    development_auc: float
    seconds: float
    outcomes: dict[str, Outcome]


def claim_folder(out: Path, described: Mapping[str, Any]) -> None:
    """Mark `out` as holding cells of these settings, or refuse if it holds others."""
    path = out / "settings.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot use {out} for cells: {error}; choose another --out") from error
    if found is None:
        write_document(path, described)
        return
    for field in sorted(set(found) | set(described)):
        if found.get(field) != described.get(field):
            raise UsageError(
                f"{out} holds cells of other settings: {field} differs; "
                "choose another --out or delete it"
            )


def read_cell(path: Path, system: System) -> Cell | None:
    """Return a finished cell, or None where there is none yet."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        outcomes = {name: Outcome(**values) for name, values in found.pop("outcomes").items()}
        trained = found.pop("system")
        trained = System(**{**trained, "frozen": tuple(trained["frozen"])})
        cell = Cell(system=trained, outcomes=outcomes, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        names = ", ".join(field.name for field in fields(Cell))
        raise UsageError(
            f"{path} is no finished cell ({error}); it should hold {names}: delete it"
        ) from error
    if trained.recipe != system.recipe:
        raise UsageError(f"{path} holds {trained.recipe}, asked for is {system.recipe}: delete it")
    return cell


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a cell or the settings, whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(document, indent=1) + "\n").encode())


def run_cell(
    system: System,
    split: DomainSplit,
    seed: int,
    settings: ProtocolSettings,
    captures: DomainCaptures,
    tests: Mapping[str, Missing],
    progress: Progress,
) -> Cell:
    """Train one system on one split with one seed, and test it with each set of modalities missing.

    Raises:
        FasdkError: The training or a test failed.
    """
    start = time.perf_counter()
    family = get_family(system.family)
    config = family.configs[settings.config]
    result = train(
        family,
        config,
        system.method,
        captures.train,
        captures.development,
        settings.training.model_copy(update={"seed": seed}),
        frozen=system.frozen,
        on_epoch=lambda epoch: progress.update("epochs", epoch.number, epoch.of),
    )

    def score(part: Sequence[LabeledCapture], missing: Missing) -> tuple[Any, Any]:
        seen = [without(item, missing) for item in part]
        live = np.array([item.is_bona_fide for item in seen])
        return score_captures(result.module, family, config, seen), live

    outcomes = {
        name: compute_outcome(*score(captures.development, missing), *score(captures.test, missing))
        for name, missing in tests.items()
    }
    return Cell(
        system=system,
        split=split.name,
        seed=seed,
        epochs=len(result.history),
        best_epoch=result.best.number,
        development_auc=result.best.development_auc,
        seconds=round(time.perf_counter() - start, 2),
        outcomes=outcomes,
    )

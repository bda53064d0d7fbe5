"""What each part of a method does: one part more a row, on clean and on degraded targets.

A cell is one training: a row, a split, a seed, a learning rate. Its file is written when it is
finished, so that a run that was stopped goes on where it was, and several processes may share the
work: each takes the next cell that no other holds. Every row trains at the rate with the largest
AUC on the development captures of the first split and seed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from fasdk import __version__
from fasdk.errors import StateError, UsageError
from fasdk.file_lock import take_lock
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.protocols import PROTOCOLS, DomainCaptures, Outcome, compute_outcome, gather
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import TrainingSettings, score_captures, train
from fasdk_tools.protocols.cells import claim_folder, write_document

_WAIT_S = 1.0  # between two looks at the cells that other processes hold
_SPLITS = {split.name: split for split in PROTOCOLS[0].splits}


@dataclass(frozen=True)
class Part:
    """One row of the table.

    Attributes:
        name: Name of the row and of its cells.
        title: What is trained.
        family: Registered name of the model.
        method: Name of the training method.
        against: Name of the row that lacks only what this one adds, or of the first.
        frozen: Regular expressions of parameters kept as they start.
        update: Settings of the model that differ from its tiny ones.
    """

    name: str
    title: str
    family: str
    method: str
    against: str | None
    frozen: tuple[str, ...] = ()
    update: Mapping[str, float] = field(default_factory=dict)


PARTS = (
    # A fresh adapter adds exactly nothing: frozen, MMDG is a ViT with one classifier.
    Part("baseline", "no adapters", "mmdg", "plain", None, (r"adapter_.*",)),
    Part(
        *("certainty-1", "adapters, certainty 1", "mmdg", "plain", "baseline"),
        update={"exp_rate": 1e-9},
    ),
    Part("u-adapter", "U-Adapter", "mmdg", "plain", "certainty-1"),
    Part("ssp", "U-Adapter + SSP", "mmdg", "mmdg-ssp", "u-adapter"),
    Part("regrad", "U-Adapter + SSP + ReGrad (MMDG)", "mmdg", "mmdg", "ssp"),
    Part("mmdgpp", "MMDG++", "mmdgpp", "mmdgpp", "baseline"),
    Part("mmda", "MMDA", "mmda", "mmda", "baseline"),
    Part("bigmoe", "BIG-MoE", "bigmoe", "bigmoe", "baseline"),
)


class Target(str, Enum):
    """What was done to the sensors of the domain that is tested on."""

    CLEAN = "clean"
    DEPTH = "depth"
    IR = "ir"
    BOTH = "both"


def degraded(scene: SceneSettings, target: Target) -> SceneSettings:
    """Return a scene with failing sensors: the same people, poses and attacks.

    Depth: ten times the noise, distances a quarter too long and in steps of 12 mm. Infrared:
    daylight up to three times the illuminator, saturation at half the level, eight times the noise.
    """
    sensors, light = scene.sensors, scene.light
    if target in (Target.DEPTH, Target.BOTH):
        sensors = replace(
            sensors,
            depth_noise=10.0 * sensors.depth_noise,
            depth_scale=1.25,
            depth_step_mm=12,
        )
    if target in (Target.IR, Target.BOTH):
        sensors = replace(sensors, nir_noise=8.0 * sensors.nir_noise, nir_full=0.5)
        light = replace(light, nir_ambient=3.0)
    return replace(scene, sensors=sensors, light=light)


class PartsSettings(BaseModel):
    """Size of a run.

    Attributes:
        parts: Names of the rows.
        splits: Splits, by name; the first chooses learning rates.
        seeds: Seeds of captures, weights and order; the first chooses learning rates.
        rates: Learning rates to choose from.
        epochs: Passes over the training captures; all are run, the best by development is kept.
        batch: Captures per step.
        train: Training captures of each domain.
        development: Development captures of each domain.
        test: Test captures of each domain and target.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[str, ...] = tuple(part.name for part in PARTS)
    splits: tuple[str, ...] = tuple(_SPLITS)
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    epochs: int = Field(default=56, ge=1)
    batch: int = Field(default=32, ge=1)
    train: int = Field(default=96, ge=12)
    development: int = Field(default=48, ge=12)
    test: int = Field(default=120, ge=12)

    def rows(self) -> tuple[Part, ...]:
        """Return the rows.

        Raises:
            UsageError: A row or a split is unknown, or there is nothing to do.
        """
        by_name = {part.name: part for part in PARTS}
        for kind, names, known in (("row", self.parts, by_name), ("split", self.splits, _SPLITS)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise UsageError(f"unknown {kind} {unknown[0]!r}: choose of {', '.join(known)}")
        if not (self.parts and self.splits and self.seeds and self.rates):
            raise UsageError("the table needs a row, a split, a seed and a learning rate")
        return tuple(by_name[name] for name in self.parts)


@dataclass(frozen=True)
class Job:
    """One training to be run.

    Attributes:
        part: Name of its row.
        split: Name of its split.
        seed: Seed of captures, weights and order.
        rate: Learning rate.
    """

    part: str
    split: str
    seed: int
    rate: float

    def file(self, out: Path) -> Path:
        """Return the file of the finished cell."""
        return out / f"{self.part}.{self.split.replace('->', '-')}.{self.seed}.{self.rate:g}.json"


@dataclass(frozen=True)
class PartCell:
    """One finished training and its tests.

    Attributes:
        job: The training.
        best_epoch: Epoch whose weights were tested.
        development_auc: Area under the development captures' ROC curve then.
        seconds: Wall-clock time of training and tests.
        outcomes: Error rates by target.
    """

    job: Job
    best_epoch: int
    development_auc: float
    seconds: float
    outcomes: Mapping[str, Outcome]


def run_parts(
    out: Path, settings: PartsSettings, say: Callable[[str], None], *, processes: int = 1
) -> list[PartCell]:
    """Train what no process has trained yet, and return the cells of the table.

    Args:
        out: Folder for the cells; another process or a later run with the same settings takes up
            those it finds.
        settings: Size of the run.
        say: Receives a line after each training, with the time that is left.
        processes: Number of processes that share the folder, for the time that is left.

    Raises:
        UsageError: `out` holds cells of other settings, or a cell that is damaged.
        FasdkError: A training or a test failed, or the folder is not writable.
    """
    rows = settings.rows()
    claim_folder(out, _describe(settings))
    first = (settings.splits[0], settings.seeds[0])
    trials = [Job(part.name, *first, rate) for part in rows for rate in settings.rates]
    rest = len(rows) * (len(settings.splits) * len(settings.seeds) - 1)
    total = len(trials) + rest
    say(f"{total} trainings, {len(trials)} of them to choose learning rates")
    tried = _finish(out, settings, trials, say, processes, after=rest)
    rates = chosen_rates(tried)
    jobs = [
        Job(part.name, split, seed, rates[part.name])
        for seed in settings.seeds
        for split in settings.splits
        for part in rows
    ]
    return _finish(out, settings, jobs, say, processes)


def chosen_rates(cells: Sequence[PartCell]) -> dict[str, float]:
    """Return the learning rate of each row: the largest development AUC, of equals the smallest."""
    order = sorted(cells, key=lambda cell: (cell.development_auc, -cell.job.rate))
    return {cell.job.part: cell.job.rate for cell in order}


def read_part_cell(path: Path) -> PartCell | None:
    """Return a finished cell, or None where there is none yet.

    Raises:
        UsageError: It is damaged.
    """
    try:
        found = json.loads(path.read_text())
        outcomes = {name: Outcome(**values) for name, values in found.pop("outcomes").items()}
        return PartCell(job=Job(**found.pop("job")), outcomes=outcomes, **found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} is no finished cell ({error}): delete it") from error


def _finish(
    out: Path,
    settings: PartsSettings,
    jobs: Sequence[Job],
    say: Callable[[str], None],
    processes: int,
    *,
    after: int = 0,
) -> list[PartCell]:
    """Return the cells of all jobs; those that another process runs are waited for.

    Args:
        out: Folder of the cells.
        settings: Size of the run.
        jobs: Trainings.
        say: Receives a line after each.
        processes: Number of processes that share the work.
        after: Number of trainings that follow these.
    """
    cells: dict[Job, PartCell] = {}
    while len(cells) < len(jobs):
        found_work = False
        for job in jobs:
            if job in cells:
                continue
            cell = read_part_cell(job.file(out))
            if cell is None:
                with _held(job.file(out)) as free:
                    if not free:
                        continue
                    # Another may have finished it since it was looked for.
                    cell = read_part_cell(job.file(out)) or _run_job(job, settings)
                    write_document(job.file(out), asdict(cell))
                found_work = True
                say(_left(job, [*cells.values(), cell], len(jobs) + after, processes))
            cells[job] = cell
        if not found_work and len(cells) < len(jobs):
            time.sleep(_WAIT_S)
    return [cells[job] for job in jobs]


def _left(job: Job, done: Sequence[PartCell], total: int, processes: int) -> str:
    seconds = float(np.mean([cell.seconds for cell in done]))
    minutes = (total - len(done)) * seconds / max(processes, 1) / 60.0
    return (
        f"{len(done)} of {total}: {job.part} {job.split} seed {job.seed} rate {job.rate:g}, "
        f"{done[-1].seconds:.0f} s; about {minutes:.0f} min left"
    )


@contextmanager
def _held(cell: Path) -> Iterator[bool]:
    """Hold a cell against other processes; False where one of them has it. A dead one has none."""
    descriptor = os.open(cell.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            take_lock(descriptor, cell, wait_s=0.0)
        except StateError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _run_job(job: Job, settings: PartsSettings) -> PartCell:
    start = time.perf_counter()
    part = next(part for part in PARTS if part.name == job.part)
    split = _SPLITS[job.split]
    family = get_family(part.family)
    tiny = family.configs["tiny"].model_dump()
    config = family.config_type.model_validate({**tiny, **part.update})
    gathered = {
        target: gather(split, _captures(job.seed, settings, target, split.test))
        for target in Target
    }
    clean = gathered[Target.CLEAN]
    training = TrainingSettings(
        epochs=settings.epochs,
        batch=settings.batch,
        learning_rate=job.rate,
        patience=None,
        seed=job.seed,
    )
    result = train(
        *(family, config, part.method, clean.train, clean.development, training),
        frozen=part.frozen,
    )

    def scored(captures: Sequence[LabeledCapture]) -> tuple[Any, Any]:
        live = np.array([item.is_bona_fide for item in captures])
        return score_captures(result.module, family, config, captures), live

    development = scored(clean.development)
    outcomes = {
        target.value: compute_outcome(*development, *scored(captures.test))
        for target, captures in gathered.items()
    }
    seconds = round(time.perf_counter() - start, 2)
    return PartCell(job, result.best.number, result.best.development_auc, seconds, outcomes)


def _captures(
    seed: int, settings: PartsSettings, target: Target, tested: Sequence[str]
) -> dict[str, DomainCaptures]:
    """Return every domain's captures, those of the tested domains as `target` says."""
    return {
        domain.letter: DomainCaptures(
            _drawn(seed, domain.letter, Split.TRAIN, settings.train, Target.CLEAN),
            _drawn(seed, domain.letter, Split.DEVELOPMENT, settings.development, Target.CLEAN),
            _drawn(seed, domain.letter, Split.HELD_OUT, settings.test, target)
            if domain.letter in tested
            else (),
        )
        for domain in DOMAINS
    }


@lru_cache(maxsize=24)  # a seed's: two sets and four targets of four domains
def _drawn(
    seed: int, letter: str, split: Split, count: int, target: Target
) -> tuple[LabeledCapture, ...]:
    domain = next(domain for domain in DOMAINS if domain.letter == letter)
    scene = degraded(domain.scene, target)
    return tuple(generate_many(domain.population(seed), count, split, settings=scene, threads=1))


def _describe(settings: PartsSettings) -> dict[str, Any]:
    """Return everything a cell depends on but its job, as JSON takes it."""
    sizes = settings.model_dump(mode="json", include={"epochs", "batch", "train"})
    sizes |= settings.model_dump(mode="json", include={"development", "test"})
    described = sizes | {
        "fasdk": __version__,
        "torch": torch.__version__,
        "rows": {part.name: asdict(part) for part in PARTS},
        "domains": {domain.letter: asdict(domain.scene) for domain in DOMAINS},
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain

"""Train small variants of every system and judge them by protocols P1, P2 and P3.

Every training is one cell: a system, a split, a seed. A finished cell is kept as a file, so that a
run that was stopped goes on where it was; it knows fasdk's version, not its code, so delete the
files after a change of a model or a method. Over the synthetic domains the tables show that the
protocols and the training methods work; they say nothing about real attacks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from fasdk import __version__
from fasdk.atomic import atomic_write
from fasdk.errors import UsageError
from fasdk_calibration import protocols
from fasdk_calibration.datasets import LabelledCapture
from fasdk_calibration.protocols import (
    PROTOCOLS,
    DomainCaptures,
    DomainSplit,
    Missing,
    Outcome,
    gather,
    judge,
    missing_name,
    without,
)
from fasdk_calibration.synthetic import Split, generate_many
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_engines.models import get_family
from fasdk_engines.training import TrainingSettings, score_captures, train
from fasdk_tools.output import STDOUT, ProgressView, print_rows

_Item = TypeVar("_Item")
NOTE = (
    "HTER/AUC in per cent, mean over seeds ± standard deviation; against: the change of HTER with "
    "the same seed, and in how many seeds it is lower. The threshold comes from the "
    "training domains' development captures with the same modalities missing; published tables "
    "take it from the test set, which --json gives as test_eer. Tiny models on synthetic captures: "
    "no word about real attacks."
)


@dataclass(frozen=True)
class System:
    """One row of the tables.

    Attributes:
        name: Of the row and of its files.
        title: What it is.
        family: Model name.
        method: Training method name.
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
        """What its training depends on, in words."""
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
    """How large a run is.

    Attributes:
        train: Training captures of each domain.
        development: Development captures of each domain.
        test: Test captures of each domain.
        config: Named settings that every family is trained in.
        training: How every system is trained; each seed replaces its own. The learning rate is
            the best of a few by the development captures of CPS->W with one seed, for all systems
            together; single ones do better at others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(default=96, ge=12)
    development: int = Field(default=48, ge=12)
    test: int = Field(default=120, ge=12)
    config: str = "tiny"
    training: TrainingSettings = TrainingSettings(epochs=14, batch=32, learning_rate=1e-3)


class DomainSource(Protocol):
    """Where the domains' captures come from."""

    def describe(self) -> dict[str, Any]:
        """Return what tells this source from another, as JSON takes it."""
        ...

    def load(self, seed: int, view: ProgressView) -> Mapping[str, DomainCaptures]:
        """Return every domain's captures by letter; each seed may give others."""
        ...


class SyntheticSource:
    """The four synthetic domains; each seed draws other people and other captures of them."""

    def __init__(self, settings: ProtocolSettings, letters: Sequence[str] | None = None) -> None:
        self._counts = {
            Split.TRAIN: settings.train,
            Split.DEVELOPMENT: settings.development,
            Split.HELD_OUT: settings.test,
        }
        self._domains = [d for d in DOMAINS if letters is None or d.letter in letters]

    def describe(self) -> dict[str, Any]:
        """Return the domains' settings."""
        return {domain.letter: asdict(domain.scene) for domain in self._domains}

    def load(self, seed: int, view: ProgressView) -> dict[str, DomainCaptures]:
        """Return every domain's captures."""
        total = len(self._domains) * sum(self._counts.values())
        made: dict[str, list[list[LabelledCapture]]] = {}
        done = 0
        for domain in self._domains:
            parts: list[list[LabelledCapture]] = []
            for split, count in self._counts.items():
                parts.append([])
                population = domain.population(seed)
                for item in generate_many(
                    population, count, split, settings=domain.scene, threads=1
                ):
                    parts[-1].append(item)
                    done += 1
                    view.update(f"captures, seed {seed}", done, total)
            made[domain.letter] = parts
        return {letter: DomainCaptures(*parts) for letter, parts in made.items()}


@dataclass(frozen=True)
class Cell:
    """One training and its tests.

    Attributes:
        system: What was trained, and how.
        split: Name of the split.
        seed: Of captures, weights and order.
        epochs: How many were trained.
        best_epoch: Which one's weights were judged.
        development_auc: Area under the development captures' ROC curve then.
        seconds: Wall-clock time of training and tests.
        outcomes: How it did, by the name of what was missing.
    """

    system: System
    split: str
    seed: int
    epochs: int
    best_epoch: int
    development_auc: float
    seconds: float
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        mean: Over the seeds.
        deviation: Unbiased standard deviation; None of one seed.
        least: Of the seeds.
        greatest: Of the seeds.
    """

    mean: float
    deviation: float | None
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one value a seed."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), deviation, min(values), max(values))


@dataclass(frozen=True)
class Row:
    """One system in one protocol; each figure is first averaged over the protocol's tests.

    Attributes:
        protocol: P1, P2 or P3.
        system: Name of the system.
        title: What it is.
        columns: Mean HTER and AUC of each test, by its name.
        hter: Half total error rate at the development captures' threshold, in [0, 1].
        test_eer: Half total error rate where the test's own error rates meet.
        auc: Area under the ROC curve.
        against: What `change` compares with.
        change: HTER minus that of `against` with the same seed; below 0 is better.
        better_seeds: In how many seeds it is better.
        seeds: How many there are.
    """

    protocol: str
    system: str
    title: str
    columns: dict[str, tuple[float, float]]
    hter: Spread
    test_eer: Spread
    auc: Spread
    against: str | None
    change: Spread | None
    better_seeds: int | None
    seeds: int


@dataclass(frozen=True)
class ProtocolsReport:
    """Every cell and the tables made of them.

    Attributes:
        note: How to read the figures.
        settings: How large the run was, and on what.
        rows: One a protocol and system.
        cells: One a training.
        seconds: Wall-clock time of all trainings and tests, whenever they ran.
    """

    note: str
    settings: dict[str, Any]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    seconds: float


def run_named(
    out: Path,
    view: ProgressView,
    *,
    system_names: Sequence[str] = (),
    protocol_names: Sequence[str] = (),
    seeds: int = 3,
    train: int = 96,
    test: int = 120,
    epochs: int = 14,
) -> ProtocolsReport:
    """Run `run_protocols` over the synthetic domains as the command line asks for it.

    Args:
        out: Folder for the cells.
        view: Shows progress.
        system_names: Rows to make; none for all.
        protocol_names: Protocols to run; none for all.
        seeds: How many, from 0.
        train: Training captures of each domain; half as many choose epoch and threshold.
        test: Test captures of each domain.
        epochs: Passes over the training captures.

    Raises:
        UsageError: A name is unknown; see also `run_protocols`.
    """
    standard = ProtocolSettings()
    settings = ProtocolSettings(
        train=train,
        development=max(12, train // 2),
        test=test,
        training=standard.training.model_copy(update={"epochs": epochs}),
    )
    return run_protocols(
        out,
        settings,
        view,
        systems=_named("system", system_names, {system.name: system for system in SYSTEMS}),
        chosen=_named("protocol", protocol_names, {p.name: p for p in PROTOCOLS}),
        seeds=range(seeds),
    )


def _named(kind: str, names: Sequence[str], known: Mapping[str, _Item]) -> list[_Item]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown {kind} {unknown[0]!r}: choose of {', '.join(known)}")
    return [item for name, item in known.items() if not names or name in names]


def run_protocols(
    out: Path,
    settings: ProtocolSettings,
    view: ProgressView,
    *,
    source: DomainSource | None = None,
    systems: Sequence[System] = SYSTEMS,
    chosen: Sequence[protocols.Protocol] = PROTOCOLS,
    seeds: Sequence[int] = (0, 1, 2),
) -> ProtocolsReport:
    """Train what is not trained yet, test it, and return the tables.

    Args:
        out: Folder for the cells; a later run with the same settings takes up those it finds.
        settings: How large the run is.
        view: Shows progress.
        source: Where captures come from; the synthetic domains by default.
        systems: What is compared.
        chosen: Which protocols.
        seeds: Each gives other captures, initial weights and order.

    Raises:
        UsageError: `out` holds cells of other settings, or a cell that is not whole.
        FasdkError: A training or a test failed, or the folder is not writable.
    """
    if not (systems and chosen and seeds):
        raise UsageError("the protocols need at least one system, one protocol and one seed")
    source = source or SyntheticSource(settings)
    described = _describe(settings, source)
    _claim(out, described)
    conditions: dict[DomainSplit, dict[str, Missing]] = {}
    for protocol in chosen:
        for split in protocol.splits:
            tests = {missing_name(missing): missing for missing in protocol.missing}
            conditions.setdefault(split, {}).update(tests)
    total = len(seeds) * len(conditions) * len(systems)
    cells: list[Cell] = []
    for seed in seeds:
        domains: Mapping[str, DomainCaptures] | None = None
        for split, tests in conditions.items():
            for system in systems:
                view.update("trainings", len(cells), total)
                path = out / f"{system.name}.{split.name.replace('->', '-')}.{seed}.json"
                cell = _read(path, system)
                if cell is None or not set(tests) <= set(cell.outcomes):
                    domains = domains or source.load(seed, view)
                    captures = gather(split, domains)
                    cell = _run_cell(system, split, seed, settings, captures, tests, view)
                    _write(path, asdict(cell))
                cells.append(cell)
    view.update("trainings", total, total)
    return ProtocolsReport(
        note=NOTE,
        settings=described,
        rows=tuple(_rows(cells, systems, chosen, seeds)),
        cells=tuple(cells),
        seconds=round(sum(cell.seconds for cell in cells), 1),
    )


def _describe(settings: ProtocolSettings, source: DomainSource) -> dict[str, Any]:
    """Return everything a cell depends on but its system, split and seed, as JSON takes it."""
    described = settings.model_dump(mode="json") | {
        "fasdk": __version__,
        "torch": torch.__version__,
        "domains": source.describe(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def _claim(out: Path, described: Mapping[str, Any]) -> None:
    """Mark `out` as holding cells of these settings, or refuse if it holds others."""
    path = out / "settings.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot use {out} for cells: {error}; choose another --out") from error
    if found is None:
        _write(path, described)
        return
    for field in sorted(set(found) | set(described)):
        if found.get(field) != described.get(field):
            raise UsageError(
                f"{out} holds cells of other settings: {field} differs; "
                "choose another --out or delete it"
            )


def _read(path: Path, system: System) -> Cell | None:
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


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(document, indent=1) + "\n").encode())


def _run_cell(
    system: System,
    split: DomainSplit,
    seed: int,
    settings: ProtocolSettings,
    captures: DomainCaptures,
    tests: Mapping[str, Missing],
    view: ProgressView,
) -> Cell:
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
        on_epoch=lambda epoch: view.update("epochs", epoch.number, epoch.of),
    )

    def score(part: Sequence[LabelledCapture], missing: Missing) -> tuple[Any, Any]:
        seen = [without(item, missing) for item in part]
        live = np.array([item.is_bona_fide for item in seen])
        return score_captures(result.module, family, config, seen), live

    outcomes = {
        name: judge(*score(captures.development, missing), *score(captures.test, missing))
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


def _rows(
    cells: Sequence[Cell],
    systems: Sequence[System],
    chosen: Sequence[protocols.Protocol],
    seeds: Sequence[int],
) -> list[Row]:
    by_key = {(cell.system.name, cell.split, cell.seed): cell for cell in cells}
    names = {system.name for system in systems}

    def found(
        system: str, protocol: protocols.Protocol, seed: int
    ) -> dict[tuple[str, str], Outcome]:
        return {
            (split.name, missing_name(missing)): by_key[system, split.name, seed].outcomes[
                missing_name(missing)
            ]
            for split in protocol.splits
            for missing in protocol.missing
        }

    def over_seeds(
        system: str, protocol: protocols.Protocol, figure: Callable[[Outcome], float]
    ) -> list[float]:
        return [
            float(np.mean([figure(o) for o in found(system, protocol, seed).values()]))
            for seed in seeds
        ]

    rows: list[Row] = []
    for protocol in chosen:
        # P2 has one column a missing modality, averaged over the splits; the others one a split.
        column = 0 if len(protocol.missing) == 1 else 1
        for system in systems:
            everything = [
                (key[column], outcome)
                for seed in seeds
                for key, outcome in found(system.name, protocol, seed).items()
            ]
            hters = over_seeds(system.name, protocol, lambda o: o.hter)
            against = system.against if system.against in names else None
            changes = (
                None
                if against is None
                else [
                    ours - theirs
                    for ours, theirs in zip(
                        hters, over_seeds(against, protocol, lambda o: o.hter), strict=True
                    )
                ]
            )
            rows.append(
                Row(
                    protocol=protocol.name,
                    system=system.name,
                    title=system.title,
                    columns={
                        name: (
                            float(np.mean([o.hter for n, o in everything if n == name])),
                            float(np.mean([o.auc for n, o in everything if n == name])),
                        )
                        for name in dict(everything)
                    },
                    hter=Spread.of(hters),
                    test_eer=Spread.of(over_seeds(system.name, protocol, lambda o: o.test_eer)),
                    auc=Spread.of(over_seeds(system.name, protocol, lambda o: o.auc)),
                    against=against,
                    change=None if changes is None else Spread.of(changes),
                    better_seeds=None if changes is None else sum(c < 0 for c in changes),
                    seeds=len(seeds),
                )
            )
    return rows


def print_report(report: ProtocolsReport, chosen: Sequence[protocols.Protocol] = PROTOCOLS) -> None:
    """Print one table a protocol on stdout, and how to read them."""
    for protocol in chosen:
        rows = [row for row in report.rows if row.protocol == protocol.name]
        if not rows:
            continue
        columns = list(rows[0].columns)
        lead = "missing " if len(protocol.missing) > 1 else ""
        print_rows(
            f"{protocol.name}, {protocol.title}",
            ("system", *(lead + name for name in columns), "HTER", "AUC", "HTER against (better)"),
            [
                (
                    row.system,
                    *("{:.1f}/{:.1f}".format(*_percent(row.columns[name])) for name in columns),
                    _spread(row.hter),
                    _spread(row.auc),
                    _change(row),
                )
                for row in rows
            ],
        )
    titles = {row.system: row.title for row in report.rows}
    STDOUT.print("; ".join(f"{name}: {title}" for name, title in titles.items()))
    STDOUT.print(report.note)


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]


def _spread(spread: Spread) -> str:
    deviation = "" if spread.deviation is None else f" ±{100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def _change(row: Row) -> str:
    if row.change is None or row.against is None:
        return "-"
    return f"{row.against} {100 * row.change.mean:+.1f} ({row.better_seeds}/{row.seeds})"

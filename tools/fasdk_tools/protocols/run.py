"""Protocols P1, P2 and P3 over small variants of every system.

Every training is one cell: a system, a split, a seed. A finished cell is kept as a file, so that a
run that was stopped goes on where it was; it knows fasdk's version, not its code, so delete the
files after a change of a model or a method. Over the synthetic domains the tables show that the
protocols and the training methods work; they say nothing about real attacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from fasdk import __version__
from fasdk.errors import UsageError
from fasdk.progress import Progress
from fasdk_calibration import protocols
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.protocols import (
    PROTOCOLS,
    DomainCaptures,
    DomainSplit,
    Missing,
    gather,
    missing_name,
)
from fasdk_calibration.synthetic import Split, generate_many
from fasdk_calibration.synthetic.domains import DOMAINS
from fasdk_tools.protocols.cells import (
    SYSTEMS,
    Cell,
    ProtocolSettings,
    System,
    claim_folder,
    read_cell,
    run_cell,
    write_document,
)
from fasdk_tools.protocols.tables import Row, Spread, print_tables, rows_of
from fasdk_tools.terminal.output import print_notes

__all__ = [
    "SYSTEMS",
    "Cell",
    "DomainSource",
    "ProtocolSettings",
    "ProtocolsReport",
    "Row",
    "Spread",
    "SyntheticSource",
    "System",
    "print_report",
    "run_named",
    "run_protocols",
]
_Item = TypeVar("_Item")
NOTE = (
    "HTER and AUC are means over seeds ± standard deviation; "
    "the change of HTER is taken with the same seed; "
    "the threshold comes from the development captures of the training domains with the same "
    "modalities missing, where published tables take it from the test set (test_eer in --json); "
    "tiny models on synthetic captures: no evidence about real attacks"
)


class DomainSource(Protocol):
    """Source of the domains' captures."""

    def describe(self) -> dict[str, Any]:
        """Return the settings that identify this source, as JSON takes them."""
        ...

    def load(self, seed: int, progress: Progress) -> Mapping[str, DomainCaptures]:
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

    def load(self, seed: int, progress: Progress) -> dict[str, DomainCaptures]:
        """Return every domain's captures."""
        total = len(self._domains) * sum(self._counts.values())
        made: dict[str, list[list[LabeledCapture]]] = {}
        done = 0
        for domain in self._domains:
            parts: list[list[LabeledCapture]] = []
            for split, count in self._counts.items():
                parts.append([])
                population = domain.population(seed)
                for item in generate_many(
                    population, count, split, settings=domain.scene, threads=1
                ):
                    parts[-1].append(item)
                    done += 1
                    progress.update(f"captures, seed {seed}", done, total)
            made[domain.letter] = parts
        return {letter: DomainCaptures(*parts) for letter, parts in made.items()}


@dataclass(frozen=True)
class ProtocolsReport:
    """Every cell and the tables made of them.

    Attributes:
        note: Explanation of the figures.
        settings: Size of the run, versions and domains.
        rows: Results, one row a protocol and system.
        cells: Results of single trainings.
        seconds: Wall-clock time of all trainings and tests, whenever they ran.
    """

    note: str
    settings: dict[str, Any]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    seconds: float


def run_named(
    out: Path,
    progress: Progress,
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
        progress: Receiver of progress reports.
        system_names: Rows to make; none for all.
        protocol_names: Protocols to run; none for all.
        seeds: Number of seeds, counted from 0.
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
        progress,
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
    progress: Progress,
    *,
    source: DomainSource | None = None,
    systems: Sequence[System] = SYSTEMS,
    chosen: Sequence[protocols.Protocol] = PROTOCOLS,
    seeds: Sequence[int] = (0, 1, 2),
) -> ProtocolsReport:
    """Train what is not trained yet, test it, and return the tables.

    Args:
        out: Folder for the cells; a later run with the same settings takes up those it finds.
        settings: Size of the run.
        progress: Receiver of progress reports.
        source: Source of the captures; the synthetic domains by default.
        systems: Systems to compare.
        chosen: Protocols to run.
        seeds: Each gives other captures, initial weights and order.

    Raises:
        UsageError: `out` holds cells of other settings, or a cell that is not whole.
        FasdkError: A training or a test failed, or the folder is not writable.
    """
    if not (systems and chosen and seeds):
        raise UsageError("the protocols need at least one system, one protocol and one seed")
    source = source or SyntheticSource(settings)
    described = _describe(settings, source)
    claim_folder(out, described)
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
                progress.update("trainings", len(cells), total)
                path = out / f"{system.name}.{split.name.replace('->', '-')}.{seed}.json"
                cell = read_cell(path, system)
                if cell is None or not set(tests) <= set(cell.outcomes):
                    domains = domains or source.load(seed, progress)
                    captures = gather(split, domains)
                    cell = run_cell(system, split, seed, settings, captures, tests, progress)
                    write_document(path, asdict(cell))
                cells.append(cell)
    progress.update("trainings", total, total)
    return ProtocolsReport(
        note=NOTE,
        settings=described,
        rows=tuple(rows_of(cells, systems, chosen, seeds)),
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


def print_report(
    report: ProtocolsReport,
    chosen: Sequence[protocols.Protocol] = PROTOCOLS,
    *,
    wide: bool = False,
) -> None:
    """Print one table per protocol on stdout, and how to read them."""
    print_tables(report.rows, chosen, wide=wide)
    print_notes(report.note.split("; "))

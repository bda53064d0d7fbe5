"""Published tables, joined from the tests of every training: by rows and by presentations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fasdk_calibration.benchmarks import PublishedThreshold, Table, Target
from fasdk_calibration.error_rates import Unit
from fasdk_calibration.protocols import Missing, missing_name
from fasdk_tools.evaluation.joining import BundleTest
from fasdk_tools.protocols.tables import Spread
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_rows
from fasdk_tools.terminal.tables import Column

FindTest = Callable[[str, str, str, int, Unit], BundleTest | None]
"""Returns a test's figures by training, target, what is missing, seed and unit."""

MEAN = "mean"  # name of the last line of tables that have one


@dataclass(frozen=True)
class PublishedFigures:
    """Figures as the published code counts them: every row by itself.

    Attributes:
        threshold: Threshold that `hter` is taken at, such as "test EER".
        hter: Half total error rate, attacks of all species pooled, in [0, 1]; Flex-Modal and
            CASIA-SURF call it ACER.
        hter_at_development: The same at the development threshold.
        auc: Area under the ROC curve.
        tpr_at_fpr: Mean TPR by the share of all attacks accepted.
    """

    threshold: str
    hter: Spread
    hter_at_development: Spread
    auc: Spread
    tpr_at_fpr: dict[str, float]


@dataclass(frozen=True)
class StandardFigures:
    """Figures as ISO/IEC 30107-3 counts: presentations, at a threshold chosen beforehand.

    Attributes:
        threshold: Threshold of all rates but `hter_at_test_eer`.
        worst_apcer: APCER of the worst species, in [0, 1].
        worst_species: That species in each test and seed, each name once.
        bpcer: BPCER.
        hter: Half total error rate, attacks of all species pooled.
        hter_at_test_eer: The same where the test's own error rates meet.
        auc: Area under the ROC curve.
    """

    threshold: str
    worst_apcer: Spread
    worst_species: tuple[str, ...]
    bpcer: Spread
    hter: Spread
    hter_at_test_eer: Spread
    auc: Spread


@dataclass(frozen=True)
class TableLine:
    """One line of a table.

    Attributes:
        name: Test, what is missing, or "mean".
        tests: Number of tests that it is the mean of.
        rows: Number of rows in all its tests of one seed.
        presentations: Number of presentations likewise.
        published: Figures by rows.
        standard: Figures by presentations.
    """

    name: str
    tests: int
    rows: int
    presentations: int
    published: PublishedFigures
    standard: StandardFigures


@dataclass(frozen=True)
class PublishedTable:
    """One table.

    Attributes:
        name: Name, such as P1.
        title: Question it asks.
        lines: Its lines, the mean last where the published table has one.
        absent: Tests without figures, because a list lacks a class.
    """

    name: str
    title: str
    lines: tuple[TableLine, ...]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Test:
    """One test of a table; `group` is the name of the line it is part of."""

    group: str
    training: str
    target: Target
    missing: Missing

    @property
    def title(self) -> str:
        taken = f" without {missing_name(self.missing)}" if self.missing else ""
        return f"{self.training}->{self.target.name}{taken}"


def make_table(table: Table, find: FindTest, seeds: Sequence[int]) -> PublishedTable:
    """Return a table of the tests that were judged.

    Args:
        table: Table to make.
        find: Returns a test's figures.
        seeds: Seeds that are averaged; spreads are over them.
    """
    groups: dict[str, list[_Test]] = {}
    absent: list[str] = []
    for training in table.trainings:
        for target in training.targets:
            for missing in table.missing:
                # The published P2 has one column a missing modality, averaged over the splits.
                averaged = len(table.missing) > 1 and table.has_mean
                test = _Test("", training.name, target, missing)
                group = f"without {missing_name(missing)}" if averaged else test.title
                if any(_found(test, find, seed, unit) is None for seed in seeds for unit in Unit):
                    absent.append(test.title)
                    continue
                groups.setdefault(group, []).append(test)
    lines = [_line(name, tests, find, seeds) for name, tests in groups.items()]
    if table.has_mean and len(lines) > 1:
        everything = [test for tests in groups.values() for test in tests]
        lines.append(_line(MEAN, everything, find, seeds))
    return PublishedTable(table.name, table.title, tuple(lines), tuple(absent))


def _found(test: _Test, find: FindTest, seed: int, unit: Unit) -> BundleTest | None:
    name = missing_name(test.missing)
    found = find(test.training, test.target.name, name, seed, unit)
    return None if found is None or found.hter_at_development is None else found


def _line(name: str, tests: Sequence[_Test], find: FindTest, seeds: Sequence[int]) -> TableLine:
    judged: dict[Unit, dict[int, list[BundleTest]]] = {
        unit: {
            seed: [found for test in tests if (found := _found(test, find, seed, unit)) is not None]
            for seed in seeds
        }
        for unit in Unit
    }
    rows, presentations = judged[Unit.ROW], judged[Unit.PRESENTATION]
    thresholds = [test.target.threshold for test in tests]
    first = next(iter(rows.values()))

    def published(found: BundleTest, threshold: PublishedThreshold) -> float | None:
        return {
            PublishedThreshold.TEST_EER: found.hter_at_eer,
            PublishedThreshold.DEVELOPMENT_EER: found.hter_at_development,
            PublishedThreshold.FIXED: found.hter_at_fixed,
        }[threshold]

    hters = [
        float(np.mean([published(f, t) for f, t in zip(found, thresholds, strict=True)]))
        for found in rows.values()
    ]
    return TableLine(
        name=name,
        tests=len(tests),
        rows=sum(found.counted for found in first),
        presentations=sum(found.counted for found in next(iter(presentations.values()))),
        published=PublishedFigures(
            threshold=", ".join(dict.fromkeys(t.value for t in thresholds)),
            hter=Spread.of(hters),
            hter_at_development=_spread(rows, lambda f: f.hter_at_development),
            auc=_spread(rows, lambda f: f.auc),
            tpr_at_fpr={
                target: float(
                    np.mean([f.tpr_at_fpr[target] for part in rows.values() for f in part])
                )
                for target in first[0].tpr_at_fpr
            },
        ),
        standard=StandardFigures(
            threshold=PublishedThreshold.DEVELOPMENT_EER.value,
            worst_apcer=_spread(presentations, lambda f: f.worst_apcer),
            worst_species=tuple(
                dict.fromkeys(
                    f.worst_species
                    for part in presentations.values()
                    for f in part
                    if f.worst_species is not None
                )
            ),
            bpcer=_spread(presentations, lambda f: f.bpcer),
            hter=_spread(presentations, lambda f: f.hter_at_development),
            hter_at_test_eer=_spread(presentations, lambda f: f.hter_at_eer),
            auc=_spread(presentations, lambda f: f.auc),
        ),
    )


def _spread(
    judged: Mapping[int, Sequence[BundleTest]], figure: Callable[[BundleTest], float | None]
) -> Spread:
    """Return a figure's spread over the seeds, each seed's the mean over the tests."""
    return Spread.of([float(np.mean([figure(f) for f in found])) for found in judged.values()])


def print_table(table: PublishedTable, system: str, *, wide: bool = False) -> None:
    """Print one table on stdout.

    Args:
        table: Table to print.
        system: Model and method, for the title.
        wide: Whether every figure has a column.
    """
    print_rows(
        f"{table.name}, {table.title}: {system} (in %)",
        (
            *("test", "threshold as published", "rows: HTER", "rows: AUC"),
            *("presentations: worst APCER", "presentations: BPCER"),
            Column("presentations: HTER", wide=True),
            Column("presentations: AUC", wide=True),
            Column("rows: TPR at FPR", wide=True),
            Column("counted", wide=True),
        ),
        [
            (
                line.name,
                line.published.threshold,
                percent(line.published.hter),
                percent(line.published.auc),
                percent(line.standard.worst_apcer),
                percent(line.standard.bpcer),
                percent(line.standard.hter),
                percent(line.standard.auc),
                ", ".join(
                    f"{100 * tpr:.1f} at {100 * float(target):g}"
                    for target, tpr in line.published.tpr_at_fpr.items()
                ),
                f"{count_of(line.rows, 'row')}, {count_of(line.presentations, 'presentation')}",
            )
            for line in table.lines
        ],
        wide=wide,
    )


def percent(spread: Spread) -> str:
    """Return a spread in per cent, with the standard deviation where there are several seeds."""
    deviation = "" if spread.deviation is None else f" ±{100 * spread.deviation:.2f}"
    return f"{100 * spread.mean:.2f}{deviation}"

"""Tables of protocol results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fasdk_calibration.protocols import Outcome, Protocol, missing_name
from fasdk_tools.protocols.cells import Cell, System
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields, print_rows
from fasdk_tools.terminal.tables import Column


@dataclass(frozen=True)
class Spread:
    """Distribution of a figure over the seeds.

    Attributes:
        mean: Mean over the seeds.
        deviation: Unbiased standard deviation; None of one seed.
        least: Smallest value over the seeds.
        greatest: Largest value over the seeds.
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
        title: Description of the system.
        columns: Mean HTER and AUC of each test, by its name.
        hter: Half total error rate at the development captures' threshold, in [0, 1].
        test_eer: Half total error rate where the test's own error rates meet.
        auc: Area under the ROC curve.
        against: Name of the system that `change` compares with.
        change: HTER minus that of `against` with the same seed; below 0 is better.
        better_seeds: Number of seeds in which it is better.
        seeds: Number of seeds.
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


def rows_of(
    cells: Sequence[Cell],
    systems: Sequence[System],
    chosen: Sequence[Protocol],
    seeds: Sequence[int],
) -> list[Row]:
    """Return one row a protocol and system, in that order, of a cell for every split and seed."""
    by_key = {(cell.system.name, cell.split, cell.seed): cell for cell in cells}
    names = {system.name for system in systems}

    def found(system: str, protocol: Protocol, seed: int) -> dict[tuple[str, str], Outcome]:
        return {
            (split.name, missing_name(missing)): by_key[system, split.name, seed].outcomes[
                missing_name(missing)
            ]
            for split in protocol.splits
            for missing in protocol.missing
        }

    def over_seeds(
        system: str, protocol: Protocol, figure: Callable[[Outcome], float]
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


def print_tables(
    all_rows: Sequence[Row], chosen: Sequence[Protocol], *, wide: bool = False
) -> None:
    """Print the best system of each protocol, then one table per protocol on stdout.

    Args:
        all_rows: Results, one row for each protocol and system.
        chosen: Protocols in the order to show.
        wide: Whether every test has a column.
    """
    tables = [
        (protocol, rows)
        for protocol in chosen
        if (rows := [row for row in all_rows if row.protocol == protocol.name])
    ]
    best = [min(rows, key=lambda row: row.hter.mean) for _, rows in tables]
    print_answer(
        "Lowest HTER: "
        + ", ".join(f"{row.protocol} {row.system} {100 * row.hter.mean:.1f} %" for row in best)
    )
    for protocol, rows in tables:
        lead = "missing " if len(protocol.missing) > 1 else ""
        print_rows(
            f"{protocol.name}, {protocol.title} (HTER and AUC in %)",
            (
                *("system", "HTER", "AUC", "change of HTER"),
                *(Column(f"{lead}{name}: HTER/AUC", wide=True) for name in rows[0].columns),
            ),
            [
                (
                    row.system,
                    _spread(row.hter),
                    _spread(row.auc),
                    _change(row),
                    *("{:.1f}/{:.1f}".format(*_percent(values)) for values in row.columns.values()),
                )
                for row in rows
            ],
            wide=wide,
        )
    print_fields("Systems", {row.system: row.title for row in all_rows})


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]


def _spread(spread: Spread) -> str:
    deviation = "" if spread.deviation is None else f" ±{100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def _change(row: Row) -> str | None:
    if row.change is None or row.against is None:
        return None
    return (
        f"{100 * row.change.mean:+.1f} against {row.against}, lower in "
        f"{row.better_seeds} of {count_of(row.seeds, 'seed')}"
    )

"""Table of what each part of a method does, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fasdk_calibration.protocols import Outcome
from fasdk_tools.protocols.parts import PartCell, PartsSettings, Target
from fasdk_tools.protocols.tables import Spread
from fasdk_tools.terminal.numbers import count_of

_TITLES = {
    Target.CLEAN: "clean target",
    Target.DEPTH: "degraded depth",
    Target.IR: "degraded infrared",
    Target.BOTH: "both degraded",
}


@dataclass(frozen=True)
class PartFigures:
    """One row on one target; figures are means over splits first, then over seeds.

    Attributes:
        hter: Half total error rate at the development captures' threshold, in [0, 1].
        test_eer: Half total error rate where the test's own error rates meet.
        auc: Area under the ROC curve.
        change: HTER minus that of the row it is compared with, same split and seed.
        lower: Number of such pairs in which it is lower.
        pairs: Number of such pairs.
    """

    hter: Spread
    test_eer: Spread
    auc: Spread
    change: float | None
    lower: int
    pairs: int


@dataclass(frozen=True)
class PartRow:
    """One row of the table.

    Attributes:
        name: Name of the row.
        title: What was trained.
        against: Name of the row that `change` compares with.
        rate: Learning rate, chosen on development captures.
        figures: Results by target.
    """

    name: str
    title: str
    against: str | None
    rate: float
    figures: Mapping[str, PartFigures]


def part_rows(cells: Sequence[PartCell], settings: PartsSettings) -> list[PartRow]:
    """Return the rows of the table, of a cell for every row, split and seed."""
    by_key = {(cell.job.part, cell.job.split, cell.job.seed): cell for cell in cells}

    def outcomes(name: str, target: Target) -> dict[tuple[str, int], Outcome]:
        return {
            (split, seed): by_key[name, split, seed].outcomes[target.value]
            for split in settings.splits
            for seed in settings.seeds
        }

    rows = []
    for part in settings.rows():
        against = part.against if part.against in settings.parts else None
        figures = {}
        for target in Target:
            own = outcomes(part.name, target)
            other = outcomes(against, target) if against else {}
            changes = [own[key].hter - outcome.hter for key, outcome in other.items()]
            figures[target.value] = PartFigures(
                hter=_spread(own, settings, "hter"),
                test_eer=_spread(own, settings, "test_eer"),
                auc=_spread(own, settings, "auc"),
                change=float(np.mean(changes)) if changes else None,
                lower=sum(change < 0 for change in changes),
                pairs=len(changes),
            )
        rate = by_key[part.name, settings.splits[0], settings.seeds[0]].job.rate
        rows.append(PartRow(part.name, part.title, against, rate, figures))
    return rows


def parts_document(
    cells: Sequence[PartCell], settings: PartsSettings, command: str
) -> dict[str, Any]:
    """Return the table and everything it was made of, as JSON takes it."""
    return {
        "command": command,
        "settings": settings.model_dump(mode="json"),
        "rows": [asdict(row) for row in part_rows(cells, settings)],
        "cells": [asdict(cell) for cell in cells],
        "seconds": round(sum(cell.seconds for cell in cells), 1),
    }


def parts_page(document: Mapping[str, Any]) -> str:
    """Return the table as a Markdown page.

    Args:
        document: Result of `parts_document`, perhaps read from its file.
    """
    settings = PartsSettings.model_validate(document["settings"])
    size = (
        f"{count_of(len(settings.seeds), 'seed')}, splits {', '.join(settings.splits)}, "
        f"{count_of(settings.epochs, 'epoch')} on {settings.train} captures of each source domain, "
        f"{settings.test} test captures a domain and target"
    )
    lines = [
        "# What each part of a method does\n",
        f"`{document['command']}`: tiny models on synthetic domains, {size}. Each row trains at "
        f"the learning rate, of {', '.join(f'{rate:g}' for rate in settings.rates)}, with the "
        "largest AUC on development captures of the first split and seed. HTER and AUC in %, means "
        "over splits, ± the standard deviation over seeds; the threshold comes from the source "
        "domains' clean development captures. The change of HTER is against the row named, same "
        "split and seed, with the number of pairs in which it is lower. This is no evidence about "
        "real attacks.\n",
    ]
    for target, title in _TITLES.items():
        lines += [
            f"## {title.capitalize()}\n",
            "| row | rate | HTER | AUC | change of HTER |",
            "| --- | --- | --- | --- | --- |",
            *(_line(row, target, document["rows"]) for row in document["rows"]),
            "",
        ]
    return "\n".join(lines)


def _line(row: Mapping[str, Any], target: Target, rows: Sequence[Mapping[str, Any]]) -> str:
    found = row["figures"][target.value]
    change = ""
    if found["change"] is not None:
        other = next(r["title"] for r in rows if r["name"] == row["against"])
        change = (
            f"{100 * found['change']:+.1f} against {other}, lower in {found['lower']} of "
            f"{found['pairs']}"
        )
    cells = (row["title"], f"{row['rate']:g}", _percent(found["hter"]), _percent(found["auc"]))
    return f"| {' | '.join((*cells, change))} |"


def _percent(spread: Mapping[str, float | None]) -> str:
    deviation, mean = spread["deviation"], spread["mean"] or 0.0
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _spread(
    outcomes: Mapping[tuple[str, int], Outcome], settings: PartsSettings, figure: str
) -> Spread:
    return Spread.of(
        [
            float(np.mean([getattr(outcomes[split, seed], figure) for split in settings.splits]))
            for seed in settings.seeds
        ]
    )

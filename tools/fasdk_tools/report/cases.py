"""What the evaluation's page shows of a case and of a list: names, places in the record, charts."""

from __future__ import annotations

from dataclasses import dataclass

from fasdk_calibration.error_rates import AtThreshold
from fasdk_tools.evaluation.record import Case, Evaluation
from fasdk_tools.report.charts.drawing import Chart, Legend, line_style
from fasdk_tools.report.charts.error_rates import (
    Bar,
    Line,
    Mark,
    Threshold,
    bars,
    det,
    histogram,
    roc,
)

_WHISKERS = "Whiskers: 95 % Clopper-Pearson bounds."


@dataclass(frozen=True)
class CaseView:
    """One case: a list with some modality taken away.

    Attributes:
        list_name: Name of the list.
        missing: What was taken away, or "none".
        name: What the case is, in words.
        key: Id of its heading.
        path: Path of its figures in the record.
        note: Why it has no thresholds, or an empty string.
        has_thresholds: Whether it has figures at thresholds.
        charts: Its scores, and where it has a threshold the error rates by species at the first.
    """

    list_name: str
    missing: str
    name: str
    key: str
    path: list[str | int]
    note: str
    has_thresholds: bool
    charts: list[Chart]


@dataclass(frozen=True)
class ListView:
    """All cases of one list.

    Attributes:
        name: Name of the list.
        key: Id of its section.
        cases: Its cases.
        charts: ROC and DET curves; none where no case has any.
    """

    name: str
    key: str
    cases: list[CaseView]
    charts: list[Chart]


def case_views(record: Evaluation) -> list[CaseView]:
    """Return every case in the order of the record."""
    return [_case(index, case) for index, case in enumerate(record.cases)]


def list_views(record: Evaluation, cases: list[CaseView]) -> list[ListView]:
    """Return every list, in the order of its first case."""
    views = []
    for number, name in enumerate(dict.fromkeys(case.list for case in record.cases)):
        lines = [
            _line(case)
            for case in record.cases
            if case.list == name and case.figures.separation is not None
        ]
        key = f"list-{number}"
        views.append(
            ListView(
                name=name,
                key=key,
                cases=[case for case in cases if case.list_name == name],
                charts=_curves(key, name, lines) if lines else [],
            )
        )
    return views


def case_name(case: Case) -> str:
    """Return what a case is, in words: what was taken away, and what captures held then."""
    taken = "nothing missing" if case.missing == "none" else f"without {case.missing}"
    return f"{taken} ({'+'.join(case.modalities)})"


def _case(index: int, case: Case) -> CaseView:
    found = case.figures
    return CaseView(
        list_name=case.list,
        missing=case.missing,
        name=case_name(case),
        key=f"case-{index}",
        path=["cases", index, "figures"],
        note=case.thresholds_note or "",
        has_thresholds=bool(found.thresholds),
        charts=[
            _scores(index, case),
            *([_species(index, case, found.thresholds[0])] if found.thresholds else []),
        ],
    )


def _curves(key: str, name: str, lines: list[Line]) -> list[Chart]:
    legend: Legend = [(f"line {line_style(i)}", line.name) for i, line in enumerate(lines)]
    return [
        Chart("ROC curve", roc(f"{key}-roc", f"ROC curve, {name}", lines), legend),
        Chart("DET curve", det(f"{key}-det", f"DET curve, {name}", lines), legend),
    ]


def _scores(index: int, case: Case) -> Chart:
    found = case.figures
    drawn = histogram(
        f"case-{index}-scores",
        f"Scores, {case.list}, {case_name(case)}",
        found.histogram.limit,
        found.histogram.bona_fide,
        found.histogram.attacks,
        [Threshold(threshold.name, threshold.threshold) for threshold in found.thresholds],
    )
    legend = [("area bona-fide", "bona fide"), ("area attack", "attacks")]
    return Chart("Scores, and the thresholds above which LIVE begins", drawn, legend)


def _line(case: Case) -> Line:
    separation = case.figures.separation
    if separation is None:
        return Line(case_name(case), ())
    return Line(
        name=case_name(case),
        points=tuple(zip(separation.curve.accepted, separation.curve.refused, strict=True)),
        marks=tuple(
            Mark(threshold.name, overall.attacks_accepted.rate, overall.bpcer.rate)
            for threshold in case.figures.thresholds
            if (overall := threshold.overall).attacks_accepted is not None
            and overall.bpcer is not None
        ),
    )


def _species(index: int, case: Case, at: AtThreshold) -> Chart:
    rows = [
        Bar(r.species, r.rate, r.lower, r.upper, f"{r.errors}/{r.attempts}", is_bona_fide=False)
        for r in at.overall.apcer
    ]
    refused = at.overall.bpcer
    if refused is not None:
        count = f"{refused.errors}/{refused.attempts}"
        rows.append(
            Bar("bona fide", refused.rate, refused.lower, refused.upper, count, is_bona_fide=True)
        )
    drawn = bars(
        f"case-{index}-species", f"Error rates at {at.name}, {case.list}, {case_name(case)}", rows
    )
    return Chart(f"APCER by species, and BPCER, at {at.name}", drawn, [], _WHISKERS)

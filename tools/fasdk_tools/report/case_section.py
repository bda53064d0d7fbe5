"""Report section of one evaluation list: curves of all its cases, then each case."""

from __future__ import annotations

from collections.abc import Sequence

from fasdk_calibration.error_rates import AtThreshold
from fasdk_tools.evaluation.record import Case, Evaluation
from fasdk_tools.report.charts import (
    LINE_STYLES,
    Bar,
    Line,
    Mark,
    Threshold,
    bars,
    det,
    histogram,
    roc,
)
from fasdk_tools.report.markup import (
    ABSENT,
    Column,
    Figures,
    Form,
    Markup,
    element,
    items,
    table,
    text,
)

Path = tuple[str | int, ...]


def list_section(record: Evaluation, name: str) -> Markup:
    """Return everything about one list, or about all together."""
    indices = [index for index, case in enumerate(record.cases) if case.list == name]
    cases = [record.cases[index] for index in indices]
    lines = [_line(case) for case in cases if case.figures.separation is not None]
    key = section_key(record, name)
    parts = [element("h2", f"List {name}", id=key)]
    if lines:
        legend = _legend([("line", style, line.name) for style, line in enumerate(lines)])
        parts.append(
            element(
                "div",
                _figure("ROC curve", roc(f"{key}-roc", f"ROC curve, {name}", lines), legend),
                _figure("DET curve", det(f"{key}-det", f"DET curve, {name}", lines), legend),
                class_="charts",
            )
        )
    figures = Figures(record)
    parts += [_case(figures, index, record.cases[index]) for index in indices]
    return element("section", *parts, aria_labelledby=key)


def section_key(record: Evaluation, name: str) -> str:
    """Return the id of a list's section."""
    return f"list-{list(dict.fromkeys(case.list for case in record.cases)).index(name)}"


def case_name(case: Case) -> str:
    """Return what a case is, in words: what was taken away, and what captures held then."""
    taken = "nothing missing" if case.missing == "none" else f"without {case.missing}"
    return f"{taken} ({'+'.join(case.modalities)})"


def _case(figures: Figures, index: int, case: Case) -> Markup:
    found = case.figures
    base: Path = ("cases", index, "figures")
    parts = [
        element("h3", case_name(case).capitalize(), id=f"case-{index}"),
        _counts(figures, base),
    ]
    parts += [
        element("p", note, class_="warning")
        for note in (case.thresholds_note, found.separation_note)
        if note
    ]
    charts = [_score_chart(index, case)]
    if found.thresholds:
        charts.append(_species_chart(index, case, found.thresholds[0]))
        parts.append(element("div", *charts, class_="charts"))
        parts += [_thresholds(figures, base, case), _species(figures, base, case)]
    else:
        parts.append(element("div", *charts, class_="charts"))
    parts += [_domains(figures, base, case), _targets(figures, base, case)]
    return Markup("".join(part.html for part in parts))


def _counts(figures: Figures, base: Path) -> Markup:
    parts: list[object] = []
    for name, word in (
        ("captures", "captures"),
        ("presentations", "presentations"),
        ("subjects", "subjects"),
        ("bona_fide", "bona fide"),
        ("attacks", "attacks"),
    ):
        parts += [figures.show(Form.WHOLE, *base, name), f" {word}, "]
    parts += [
        figures.show(Form.WHOLE, *base, "non_responses", "frames"),
        " captures without a score.",
    ]
    return element("p", *parts, class_="quiet")


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


def _score_chart(index: int, case: Case) -> Markup:
    found = case.figures
    drawn = histogram(
        f"case-{index}-scores",
        f"Scores, {case.list}, {case_name(case)}",
        found.histogram.limit,
        found.histogram.bona_fide,
        found.histogram.attacks,
        [Threshold(threshold.name, threshold.threshold) for threshold in found.thresholds],
    )
    return _figure(
        "Scores, and the thresholds above which LIVE begins",
        drawn,
        _legend([("area bona-fide", None, "bona fide"), ("area attack", None, "attacks")]),
    )


def _species_chart(index: int, case: Case, at: AtThreshold) -> Markup:
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
    return _figure(
        f"APCER by species, and BPCER, at {at.name}",
        bars(
            f"case-{index}-species",
            f"Error rates at {at.name}, {case.list}, {case_name(case)}",
            rows,
        ),
        element("p", "Whiskers: 95 % Clopper-Pearson bounds.", class_="legend"),
    )


def _thresholds(figures: Figures, base: Path, case: Case) -> Markup:
    rows = []
    for index, at in enumerate(case.figures.thresholds):
        path: Path = (*base, "thresholds", index)
        overall: Path = (*path, "overall")
        rows.append(
            [
                at.name,
                at.kind.value,
                figures.show(Form.SCORE, *path, "threshold"),
                figures.rate(*overall, "worst_apcer"),
                figures.show(Form.TEXT, *overall, "worst_species"),
                figures.show(Form.PERCENT, *path, "claimed_apcer_upper")
                + text(", contradicted" if at.is_contradicted else ""),
                figures.rate(*overall, "bpcer"),
                figures.show(Form.PERCENT, *overall, "acer"),
                figures.estimate(*overall, "hter"),
            ]
        )
    return table(
        "Error rates at thresholds chosen on other captures, 95 % bounds, errors/attempts",
        (
            Column("Threshold"),
            Column("Chosen on"),
            Column("Value", is_number=True),
            Column("Worst APCER", is_number=True),
            Column("Species"),
            Column("Claimed at most", is_number=True),
            Column("BPCER", is_number=True),
            Column("ACER *", is_number=True),
            Column("HTER *", is_number=True),
        ),
        rows,
    ) + element("p", "* Not a metric of ISO/IEC 30107-3.", class_="quiet")


def _species(figures: Figures, base: Path, case: Case) -> Markup:
    found = case.figures
    names = [rate.species for rate in found.thresholds[0].overall.apcer]
    if not names:
        return Markup("")
    unanswered = {rate.species: index for index, rate in enumerate(found.non_responses.apnrr)}
    columns = [Column("Species")]
    columns += [Column(f"APCER at {at.name}", is_number=True) for at in found.thresholds]
    columns.append(Column("APNRR", is_number=True))
    rows = [
        [
            name,
            *(
                figures.rate(*base, "thresholds", index, "overall", "apcer", row)
                for index in range(len(found.thresholds))
            ),
            figures.rate(*base, "non_responses", "apnrr", unanswered[name]),
        ]
        for row, name in enumerate(names)
    ]
    refused = [
        figures.rate(*base, "thresholds", index, "overall", "bpcer")
        for index in range(len(found.thresholds))
    ]
    rows.append(
        ["bona fide (BPCER, BPNRR)", *refused, figures.rate(*base, "non_responses", "bpnrr")]
    )
    return table("By PAI species, 95 % bounds, errors/attempts", columns, rows)


def _domains(figures: Figures, base: Path, case: Case) -> Markup:
    found = case.figures
    columns = [
        Column("Domain"),
        Column("Presentations", is_number=True),
        Column("AUC", is_number=True),
        Column("EER", is_number=True),
    ]
    for at in found.thresholds:
        columns += [
            Column(f"Worst APCER at {at.name}", is_number=True),
            Column(f"BPCER at {at.name}", is_number=True),
        ]
    rows = []
    for row, domain in enumerate(found.domains):
        cells: list[object] = [
            domain.domain,
            figures.show(Form.WHOLE, *base, "domains", row, "presentations"),
            figures.show(Form.PERCENT, *base, "domains", row, "auc"),
            figures.show(Form.PERCENT, *base, "domains", row, "eer"),
        ]
        for index in range(len(found.thresholds)):
            path: Path = (*base, "thresholds", index, "domains", row, "decisions")
            cells += [figures.rate(*path, "worst_apcer"), figures.rate(*path, "bpcer")]
        rows.append(cells)
    return table("By domain, 95 % bounds, errors/attempts", columns, rows) if rows else Markup("")


def _targets(figures: Figures, base: Path, case: Case) -> Markup:
    separation = case.figures.separation
    if separation is None:
        return Markup("")
    rows = [
        ["AUC *", figures.estimate(*base, "separation", "auc"), ABSENT],
        [
            "EER *",
            figures.estimate(*base, "separation", "eer"),
            figures.show(Form.SCORE, *base, "separation", "eer_threshold"),
        ],
        [
            "HTER at the EER *",
            figures.estimate(*base, "separation", "hter_at_eer"),
            figures.show(Form.SCORE, *base, "separation", "eer_threshold"),
        ],
    ]
    for index, at in enumerate(separation.bpcer_at_apcer):
        path: Path = (*base, "separation", "bpcer_at_apcer", index)
        rows.append(
            [
                f"{at.name}: BPCER at APCER {100 * at.target:g} %",
                figures.rate(*path, "bpcer"),
                figures.show(Form.SCORE, *path, "threshold"),
            ]
        )
    for index, at in enumerate(separation.tpr_at_fpr):
        path = (*base, "separation", "tpr_at_fpr", index)
        rows.append(
            [
                f"{at.name} *",
                figures.show(Form.PERCENT, *path, "tpr"),
                figures.show(Form.SCORE, *path, "threshold"),
            ]
        )
    return table(
        "Without a threshold, or at one chosen on this very test, which no device can do",
        (Column("Figure"), Column("Value", is_number=True), Column("Threshold", is_number=True)),
        rows,
    )


def _figure(caption: str, drawn: str, legend: Markup) -> Markup:
    return element("figure", element("figcaption", caption), Markup(drawn), legend)


def _legend(entries: Sequence[tuple[str, int | None, str]]) -> Markup:
    """Return what colors and dashes stand for."""
    drawn = []
    for kind, style, name in entries:
        if style is None:
            swatch = f'<path class="{kind}" d="M1 2H27V10H1Z"/>'
        else:
            swatch = f'<path class="line line-{style % LINE_STYLES}" d="M0 6H28"/>'
        drawn.append(
            Markup(f'<svg viewBox="0 0 28 12" aria-hidden="true">{swatch}</svg>') + text(name)
        )
    return items("ul", drawn, class_="legend")

"""Report sections: summary, and figures by missing modality."""

from __future__ import annotations

from collections.abc import Sequence

from fasdk_tools.evaluation.record import Evaluation
from fasdk_tools.report.case_section import case_name
from fasdk_tools.report.markup import (
    ABSENT,
    Cell,
    Column,
    Figures,
    Form,
    Markup,
    element,
    items,
    table,
)


def summary_section(record: Evaluation) -> Markup:
    """Return warnings, the protocol's figure, and a row for every list as it is."""
    figures = Figures(record)
    parts = [element("p", warning, class_="warning", role="note") for warning in _warnings(record)]
    found = record.family_figure
    if found is not None:
        path = ("family_figure",)
        parts.append(
            element(
                "p",
                f"{found.family}, {found.question}: HTER ",
                figures.show(Form.PERCENT, *path, "hter_at_eer"),
                " at the test's own EER, ",
                figures.show(Form.PERCENT, *path, "hter_at_development"),
                " at the development threshold, AUC ",
                figures.show(Form.PERCENT, *path, "auc"),
                f", mean of {len(found.tests)} {'test' if len(found.tests) == 1 else 'tests'}.",
            )
        )
    elif record.family is not None:
        parts.append(
            element(
                "p",
                f"No figure of {record.family}: a test lacks a class, mixes captures that hold "
                "different modalities, or nothing was taken away.",
                class_="warning",
            )
        )
    parts.append(_overview(record, [i for i, c in enumerate(record.cases) if c.missing == "none"]))
    return Markup("".join(part.html for part in parts))


def _warnings(record: Evaluation) -> list[str]:
    warnings = [
        f"{each.list} holds {len(each.subjects)} subjects of {each.seen_in}, as was allowed: its "
        "figures are likely too good."
        for each in record.overlap
    ]
    if record.level is None:
        warnings.append(
            "The bundle has no operating point: figures without a threshold only; on a device "
            "every answer is ERROR."
        )
    warnings += [
        f"{case.list}, {case_name(case)}: at {at.name} a species' APCER lies above the bound the "
        "threshold came with."
        for case in record.cases
        for at in case.figures.thresholds
        if at.is_contradicted
    ]
    warnings += [
        f"{case.list}, {case_name(case)}: {case.figures.non_responses.frames} captures without a "
        "score."
        for case in record.cases
        if case.figures.non_responses.frames
    ]
    return warnings


def _overview(record: Evaluation, indices: Sequence[int]) -> Markup:
    """Return one row a case, at the first of its thresholds."""
    figures = Figures(record)
    decided = any(record.cases[index].figures.thresholds for index in indices)
    columns = [
        Column("List"),
        Column("Case"),
        Column("Presentations", is_number=True),
        Column("AUC", is_number=True),
        Column("HTER at EER", is_number=True),
    ]
    if decided:
        columns += [
            Column("Threshold"),
            Column("Worst APCER", is_number=True),
            Column("BPCER", is_number=True),
            Column("HTER", is_number=True),
        ]
    rows = []
    for index in indices:
        case = record.cases[index]
        base: tuple[str | int, ...] = ("cases", index, "figures")
        row: list[object] = [
            case.list,
            element("a", case_name(case), href=f"#case-{index}"),
            figures.show(Form.WHOLE, *base, "presentations"),
        ]
        if case.figures.separation is None:
            row += [ABSENT, ABSENT]
        else:
            row += [
                figures.estimate(*base, "separation", "auc"),
                figures.estimate(*base, "separation", "hter_at_eer"),
            ]
        if case.figures.thresholds:
            at = (*base, "thresholds", 0, "overall")
            row += [
                case.figures.thresholds[0].name,
                figures.rate(*at, "worst_apcer")
                + element("span", figures.show(Form.TEXT, *at, "worst_species"), class_="bounds"),
                figures.rate(*at, "bpcer"),
                figures.estimate(*at, "hter"),
            ]
        rows.append(row + [ABSENT] * (len(columns) - len(row)))
    at_threshold = " The rest is at the threshold named." if decided else ""
    return table(
        f"AUC and HTER at the EER need no threshold.{at_threshold} 95 % bounds, errors/attempts",
        columns,
        rows,
    )


def missing_section(record: Evaluation, names: Sequence[str]) -> Markup:
    """Return AUC and HTER by what was taken away and by list, then the details of each row.

    Empty where nothing was to be taken away.
    """
    missing = list(dict.fromkeys(case.missing for case in record.cases))
    if len(missing) < 2 and not record.not_evaluated:
        return Markup("")
    figures = Figures(record)
    rows = []
    for each in missing:
        cells: list[object] = ["nothing" if each == "none" else each]
        for name in names:
            found = [
                index
                for index, case in enumerate(record.cases)
                if case.list == name and case.missing == each
            ]
            separation = record.cases[found[0]].figures.separation if len(found) == 1 else None
            if separation is None:
                several = "several, see the list" if len(found) > 1 else ABSENT
                cells += [several, several]
                continue
            path = ("cases", found[0], "figures", "separation")
            share = max(0.0, 2 * separation.auc.value - 1)
            cells += [
                Cell(figures.show(Form.PERCENT, *path, "auc", "value"), share),
                Cell(figures.show(Form.PERCENT, *path, "hter_at_eer", "value"), share),
            ]
        rows.append(cells)
    columns = [Column("Taken away")]
    for name in names:
        columns += [
            Column(f"{name}: AUC", is_number=True),
            Column(f"{name}: HTER at EER", is_number=True),
        ]
    parts = [table("By what was taken away; a deeper color is a better separation", columns, rows)]
    others = [index for index, case in enumerate(record.cases) if case.missing != "none"]
    if others:
        parts.append(_overview(record, others))
    if record.not_evaluated:
        parts += [element("p", "Not evaluated:"), items("ul", record.not_evaluated)]
    return Markup("".join(part.html for part in parts))

"""An evaluation as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.output import STDOUT, print_fields, print_rows

if TYPE_CHECKING:
    from fasdk_calibration.evaluation import Estimate, Rate
    from fasdk_tools.evaluation.record import Evaluation


def print_evaluation(record: Evaluation) -> None:
    """Print what was found: separation first, then every threshold, then species by species."""
    identity = record.bundle
    figure = record.family_figure
    print_fields(
        f"Evaluation of {identity.path}",
        {
            "bundle id": identity.id,
            "precision": identity.precision,
            "backend": record.backend,
            "trained on": record.source or "not said",
            "unit": record.unit,
        }
        | (
            {}
            if figure is None
            else {
                f"{figure.family}, {figure.question}": f"HTER {_percent(figure.hter_at_eer)} at "
                f"the test's EER, {_percent(figure.hter_at_development)} at the development "
                f"threshold, AUC {_percent(figure.auc)}, mean of {len(figure.tests)} tests"
            }
        ),
    )
    print_rows(
        "Without a threshold of its own; bounds by resampling subjects",
        ("list", "missing", "held", "presentations", "AUC", "EER", "HTER at EER", "no response"),
        [
            (
                case.list,
                case.missing,
                "+".join(case.modalities),
                case.figures.presentations,
                _estimate(None if found is None else found.auc),
                _estimate(None if found is None else found.eer),
                _estimate(None if found is None else found.hter_at_eer),
                case.figures.non_responses.frames,
            )
            for case in record.cases
            for found in (case.figures.separation,)
        ],
    )
    print_rows(
        "At thresholds chosen on other captures; 95 % Clopper-Pearson bounds",
        ("list", "missing", "threshold", "value", "worst APCER", "species", "BPCER", "HTER"),
        [
            (
                case.list,
                case.missing,
                threshold.name,
                threshold.threshold,
                _rate(threshold.overall.worst_apcer),
                threshold.overall.worst_species,
                _rate(threshold.overall.bpcer),
                _estimate(threshold.overall.hter),
            )
            for case in record.cases
            for threshold in case.figures.thresholds
        ],
    )
    for case in record.cases:
        for threshold in case.figures.thresholds[:1]:
            print_rows(
                f"APCER by species, {case.list}, missing {case.missing}, at {threshold.name}",
                ("species", "APCER", "errors", "attempts"),
                [
                    (rate.species, _rate(rate), rate.errors, rate.attempts)
                    for rate in threshold.overall.apcer
                ],
            )
    said = {
        f"{case.list}, missing {case.missing}: {note}": None
        for case in record.cases
        for note in (case.thresholds_note, case.figures.separation_note)
        if note
    }
    for line in (*said, *record.not_judged):
        STDOUT.print(line, markup=False)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    return f"{100 * rate.rate:.2f} % [{100 * rate.lower:.2f}, {100 * rate.upper:.2f}]"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.lower is None or estimate.upper is None:
        return _percent(estimate.value)
    return f"{100 * estimate.value:.2f} % [{100 * estimate.lower:.2f}, {100 * estimate.upper:.2f}]"

"""An evaluation as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.output import STDOUT, print_fields, print_rows

if TYPE_CHECKING:
    from fasdk_calibration.error_rates import Estimate, Rate
    from fasdk_tools.evaluation.record import Case, Evaluation


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
        "No threshold of its own; bounds by resampling subjects",
        ("case", "presentations", "AUC", "EER", "HTER at EER"),
        [
            (
                _name(case),
                case.figures.presentations,
                _estimate(None if found is None else found.auc),
                _estimate(None if found is None else found.eer),
                _estimate(None if found is None else found.hter_at_eer),
            )
            for case in record.cases
            for found in (case.figures.separation,)
        ],
    )
    if any(case.figures.thresholds for case in record.cases):
        _print_thresholds(record)
    said = {
        f"{_name(case)}: {note}": None
        for case in record.cases
        for note in (
            case.thresholds_note,
            case.figures.separation_note,
            _silent(case.figures.non_responses.frames),
        )
        if note
    }
    for line in (*said, *record.not_judged):
        STDOUT.print(line, markup=False)


def _print_thresholds(record: Evaluation) -> None:
    print_rows(
        "At thresholds chosen on other captures; 95 % Clopper-Pearson bounds",
        ("case", "threshold", "worst APCER", "BPCER", "HTER"),
        [
            (
                _name(case),
                f"{at.name}\n{at.threshold:.6f}",
                f"{_rate(at.overall.worst_apcer)}\n{at.overall.worst_species or ''}",
                _rate(at.overall.bpcer),
                _estimate(at.overall.hter),
            )
            for case in record.cases
            for at in case.figures.thresholds
        ],
    )
    for case in record.cases:
        for at in case.figures.thresholds[:1]:
            print_rows(
                f"APCER by species at {at.name}, {_name(case)}",
                ("species", "APCER", "errors", "attempts"),
                [
                    (rate.species, _rate(rate, " "), rate.errors, rate.attempts)
                    for rate in at.overall.apcer
                ],
            )


def _name(case: Case) -> str:
    taken = "" if case.missing == "none" else f" without {case.missing}"
    return f"{case.list}{taken} ({'+'.join(case.modalities)})"


def _silent(frames: int) -> str:
    return f"{frames} captures without a score, counted as non-responses" if frames else ""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _rate(rate: Rate | None, gap: str = "\n") -> str:
    if rate is None:
        return "-"
    return f"{_percent(rate.rate)}{gap}[{100 * rate.lower:.2f}, {100 * rate.upper:.2f}]"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.lower is None or estimate.upper is None:
        return _percent(estimate.value)
    bounds = f"[{100 * estimate.lower:.2f}, {100 * estimate.upper:.2f}]"
    return f"{_percent(estimate.value)}\n{bounds}"

"""Terminal tables of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk_tools.terminal.numbers import count_of, format_interval, format_share
from fasdk_tools.terminal.output import print_answer, print_fields, print_notes, print_rows
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk_calibration.error_rates import AtThreshold, Estimate, Rate
    from fasdk_tools.evaluation.joining import JoinedFamily
    from fasdk_tools.evaluation.record import Case, Evaluation


def print_evaluation(record: Evaluation, *, wide: bool = False) -> None:
    """Print the headline figures, then separation, thresholds and species of every case.

    Args:
        record: Evaluation record to print.
        wide: Whether bounds are columns and species are shown at every threshold.
    """
    print_answer(_headline(record))
    print_fields("", dict(_identity(record)))
    print_rows(
        "Separation, without a threshold (bounds: subjects resampled, 95 %)",
        (
            *("case", f"{record.unit}s", "AUC", Column("AUC bounds", wide=True)),
            *("EER", "EER bounds", "HTER at EER", Column("HTER bounds", wide=True)),
        ),
        [
            (
                _name(case),
                case.figures.bona_fide + case.figures.attacks,
                *_estimate(None if found is None else found.auc),
                *_estimate(None if found is None else found.eer),
                *_estimate(None if found is None else found.hter_at_eer),
            )
            for case in record.cases
            for found in (case.figures.separation,)
        ],
        wide=wide,
    )
    at_thresholds = [(case, at) for case in record.cases for at in case.figures.thresholds]
    if at_thresholds:
        _print_thresholds(at_thresholds, wide=wide)
    for case in record.cases:
        for at in case.figures.thresholds[: None if wide else 1]:
            print_rows(
                f"APCER by species at {at.name}, {_name(case)}",
                ("species", "APCER", "bounds", "errors"),
                [
                    (rate.species, *_rate(rate), f"{rate.errors}/{rate.attempts}")
                    for rate in at.overall.apcer
                ],
            )
    print_notes(list(dict.fromkeys((*_notes(record), *record.not_evaluated))))


def print_joined(joined: JoinedFamily) -> None:
    """Print a protocol's figure over several bundles, then each test."""
    print_answer(
        f"{joined.family}, {joined.question}: HTER {format_share(joined.hter_at_eer)} at the EER "
        f"of each test, {format_share(joined.hter_at_development)} at the development thresholds, "
        f"AUC {format_share(joined.auc)}"
    )
    print_fields(
        "", {"mean of": count_of(len(joined.tests), "test"), "error rates count": f"{joined.unit}s"}
    )
    print_rows(
        "Tests",
        (
            *(Column("test", label=True), "without", "HTER at EER", "HTER at development"),
            *("AUC", "counted", Column("trained on", below=True)),
        ),
        [
            (
                *(test.test, None if test.missing == "none" else test.missing),
                *(format_share(test.hter_at_eer), format_share(test.hter_at_development)),
                *(format_share(test.auc), test.counted, test.trained_on),
            )
            for test in joined.tests
        ],
    )


def _headline(record: Evaluation) -> str:
    """Return error rates at the first case's first threshold, or how well its classes part."""
    for case in record.cases:
        for at in case.figures.thresholds:
            overall, worst = at.overall, at.overall.worst_apcer
            return (
                f"APCER {_share(worst)} (worst: {overall.worst_species or 'no attack'}), BPCER "
                f"{_share(overall.bpcer)} at {at.name}"
            )
    for case in record.cases:
        found = case.figures.separation
        if found is not None:
            return (
                f"AUC {format_share(found.auc.value)}, EER {format_share(found.eer.value)}; "
                "no threshold to decide by"
            )
    return "nothing could be measured"


def _identity(record: Evaluation) -> Iterator[tuple[str, object]]:
    figure = record.family_figure
    if figure is not None:
        yield (
            f"{figure.family}, {figure.question}",
            f"mean of {count_of(len(figure.tests), 'test')}: HTER "
            f"{format_share(figure.hter_at_eer)} at the EER of the test, "
            f"{format_share(figure.hter_at_development)} at the development threshold, AUC "
            f"{format_share(figure.auc)}",
        )
    if record.cases:
        yield "measured on", _name(record.cases[0])
    yield "bundle", record.bundle.path
    yield "bundle id", record.bundle.id
    yield "precision", record.bundle.precision
    yield "backend", record.backend
    yield "trained on", record.source or "not stated"
    yield "unit", record.unit


def _print_thresholds(found: list[tuple[Case, AtThreshold]], *, wide: bool) -> None:
    print_rows(
        "At thresholds chosen on other captures (bounds: Clopper-Pearson, 95 %)",
        (
            *(Column("case", label=True), Column("threshold", label=True)),
            *(Column("score above", wide=True), "worst APCER", "bounds", "worst species"),
            *("BPCER", Column("BPCER bounds", wide=True), Column("HTER", wide=True)),
        ),
        [
            (
                _name(case),
                at.name,
                f"{at.threshold:.6f}",
                *_rate(at.overall.worst_apcer),
                at.overall.worst_species or None,
                *_rate(at.overall.bpcer),
                None if at.overall.hter is None else format_share(at.overall.hter.value),
            )
            for case, at in found
        ],
        wide=wide,
    )


def _notes(record: Evaluation) -> Iterator[str]:
    for case in record.cases:
        silent = case.figures.non_responses.frames
        for note in (
            case.thresholds_note,
            case.figures.separation_note,
            f"{silent} captures without a score, counted as non-responses" if silent else "",
        ):
            if note:
                yield f"{_name(case)}: {note}"


def _name(case: Case) -> str:
    taken = "" if case.missing == "none" else f" without {case.missing}"
    return f"{case.list}{taken} ({'+'.join(case.modalities)})"


def _share(rate: Rate | None) -> str:
    return format_share(None if rate is None else rate.rate)


def _rate(rate: Rate | None) -> tuple[str | None, str | None]:
    """Return a rate and its bounds."""
    if rate is None:
        return None, None
    return format_share(rate.rate), format_interval(rate.lower, rate.upper)


def _estimate(estimate: Estimate | None) -> tuple[str | None, str | None]:
    """Return a figure and its bounds, where there are any."""
    if estimate is None:
        return None, None
    if estimate.lower is None or estimate.upper is None:
        return format_share(estimate.value), None
    return format_share(estimate.value), format_interval(estimate.lower, estimate.upper)

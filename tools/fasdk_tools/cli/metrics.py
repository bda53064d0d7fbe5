"""Verb metrics."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import JsonOption, Panel, WideOption, app
from fasdk_tools.terminal.numbers import count_of, format_interval, format_share
from fasdk_tools.terminal.output import (
    STDERR,
    print_answer,
    print_fields,
    print_json,
    print_notes,
    print_rows,
    progress_view,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from fasdk_calibration.metrics import (
        ErrorRate,
        Interval,
        RatesAtTarget,
        ScoreFile,
        Scores,
        Summary,
    )

NOT_OF_THE_STANDARD = ("acer", "hter", "hter_at_eer")


@app.command(rich_help_panel=Panel.MEASURE)
def metrics(
    scores: Annotated[
        Path,
        typer.Argument(
            metavar="SCORES.csv",
            help="Columns score (greater is more live), label (1 bona fide, 0 attack), species; "
            "also presentation, subject, domain, responded.",
        ),
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            help="LIVE means a greater score; by default the threshold of the EER on SCORES."
        ),
    ] = None,
    development: Annotated[
        Path | None, typer.Option(help="Scores to choose the threshold on, at their EER.")
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            min=1, help="Resamples of the subjects for the intervals of AUC, EER and HTER."
        ),
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same intervals.")] = 0,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute APCER, BPCER, AUC and EER with 95 % bounds from a CSV file of scores."""
    from fasdk_calibration.metrics import read_scores, summarize

    if threshold is not None and development is not None:
        raise UsageError("--threshold and --development both set the threshold: give one of them")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold {threshold}: expected a finite number")
    judged = read_scores(scores)
    chosen_on = None if development is None else read_scores(development)
    with progress_view() as view:
        view.phase("resampling subjects")
        summary = summarize(
            judged.scores,
            threshold=threshold,
            development=None if chosen_on is None else chosen_on.scores,
            resamples=resamples,
            seed=seed,
        )
    warnings = [*judged.warnings, *summary.warnings]
    if chosen_on is not None:
        warnings += [*chosen_on.warnings, *_shared_subjects(judged, chosen_on)]
    for warning in warnings:
        STDERR.print(f"fasdk: warning: {warning}", markup=False, soft_wrap=True)
    if as_json:
        print_json({"scores": str(scores)} | _document(summary) | {"warnings": warnings})
    else:
        _print(scores, summary, wide=wide)


def _shared_subjects(judged: ScoreFile, chosen_on: ScoreFile) -> list[str]:
    if not (judged.has_subjects and chosen_on.has_subjects):
        return []
    shared = _subjects(judged.scores) & _subjects(chosen_on.scores)
    if not shared:
        return []
    return [
        f"{len(shared)} subjects, such as {min(shared)[1]!r}, stand in {judged.path} and in "
        f"{chosen_on.path}: the threshold was chosen on people it judges"
    ]


def _subjects(scores: Scores) -> set[tuple[str, str]]:
    return set(zip(scores.domain, scores.subject, strict=True))


def _document(summary: Summary) -> dict[str, Any]:
    """Return the figures as the JSON document has them."""
    intervals = summary.intervals
    return {
        "frames": summary.frames,
        "presentations": summary.presentations,
        "subjects": summary.subjects,
        "confidence": 0.95,
        "threshold": summary.threshold,
        "threshold_from": summary.threshold_source.value,
        "apcer": {name: _rate(rate) for name, rate in summary.apcer.items()},
        "worst_species": summary.worst_species,
        "bpcer": _rate(summary.bpcer),
        "apnrr": {name: _rate(rate) for name, rate in summary.apnrr.items()},
        "bpnrr": _rate(summary.bpnrr),
        "bpcer_at_apcer": [
            {"name": at.name, "species": at.species, "apcer": _rate(at.apcer)} | _at_target(at)
            for at in summary.bpcer_at_apcer
        ],
        "auc": summary.auc,
        "eer": summary.eer,
        "eer_threshold": summary.eer_threshold,
        "tpr_at_fpr": [
            {"tpr": at.tpr, "fpr": _rate(at.apcer)} | _at_target(at) for at in summary.tpr_at_fpr
        ],
        "acer": summary.acer,
        "hter": summary.hter,
        "hter_at_eer": summary.hter_at_eer,
        "not_of_iso_iec_30107_3": list(NOT_OF_THE_STANDARD),
        "intervals": None if intervals is None else asdict(intervals),
        "resampled": {"unit": "subject", "resamples": summary.resamples, "seed": summary.seed},
    }


def _at_target(at: RatesAtTarget) -> dict[str, Any]:
    return {"target": at.target, "threshold": at.threshold, "bpcer": _rate(at.bpcer)}


def _rate(counted: ErrorRate) -> dict[str, Any]:
    interval = counted.interval()
    return {
        "rate": counted.rate,
        "lower": interval.lower,
        "upper": interval.upper,
        "upper_one_sided": counted.upper(),
        "errors": counted.errors,
        "attempts": counted.total,
    }


def _print(path: Path, summary: Summary, *, wide: bool) -> None:
    """Print the figures as tables."""
    non_responses = sum(rate.errors for rate in (*summary.apnrr.values(), summary.bpnrr))
    worst = summary.apcer[summary.worst_species]
    print_answer(
        f"APCER {format_share(worst.rate)} (worst: {summary.worst_species}), "
        f"BPCER {format_share(summary.bpcer.rate)}, AUC {format_share(summary.auc)}"
    )
    print_fields(
        "",
        {
            "scores": str(path),
            "presentations": f"{summary.presentations} of "
            f"{count_of(summary.subjects, 'subject')}, {count_of(summary.frames, 'frame')}, "
            f"{non_responses} without a response",
            "threshold": f"{summary.threshold:.6g}, {_SOURCES[summary.threshold_source.value]}",
            "AUC": _figure(summary, "auc"),
            "EER": _figure(summary, "eer"),
            "HTER at EER*": _figure(summary, "hter_at_eer"),
            "HTER*": _figure(summary, "hter"),
            "ACER*": format_share(summary.acer),
        },
    )
    print_rows(
        "At the threshold, with 95 % Clopper-Pearson bounds",
        (
            *("rate", "species", "measured", "two-sided bounds", "errors"),
            Column("one-sided bound", wide=True),
        ),
        [
            *(_row("APCER", name, rate) for name, rate in summary.apcer.items()),
            _row("BPCER", "bona fide", summary.bpcer),
            *(_row("APNRR", name, rate) for name, rate in summary.apnrr.items() if non_responses),
            *([_row("BPNRR", "bona fide", summary.bpnrr)] if non_responses else []),
        ],
        wide=wide,
    )
    print_rows(
        "At thresholds chosen on these scores",
        ("rate", "at most", "threshold", "measured", "two-sided bounds"),
        [
            *(
                (
                    at.name,
                    f"APCER {100 * at.target:g} %",
                    at.threshold,
                    format_share(at.bpcer.rate),
                    _span(at.bpcer.interval()),
                )
                for at in summary.bpcer_at_apcer
            ),
            *(
                (
                    "TPR",
                    f"FPR {100 * at.target:g} %",
                    at.threshold,
                    format_share(at.tpr),
                    _span(at.tpr_interval),
                )
                for at in summary.tpr_at_fpr
            ),
        ],
    )
    print_notes(
        [
            "APCER, BPCER, APNRR and BPNRR: ISO/IEC 30107-3; * not of that standard.",
            "FPR: all attacks pooled.",
            f"Intervals of AUC, EER and HTER: {summary.resamples} resamples of the subjects.",
        ]
    )


_SOURCES = {
    "given": "as given",
    "development set": "of the EER on the development scores",
    "these scores": "of the EER on these scores",
}


def _row(name: str, species: str, rate: ErrorRate) -> tuple[object, ...]:
    return (
        name,
        species,
        format_share(rate.rate),
        _span(rate.interval()),
        f"{rate.errors}/{rate.total}",
        format_share(rate.upper()),
    )


def _figure(summary: Summary, name: str) -> str:
    text = format_share(getattr(summary, name))
    if summary.intervals is None:
        return text
    return f"{text} ({_span(getattr(summary.intervals, name))})"


def _span(interval: Interval) -> str:
    return format_interval(interval.lower, interval.upper)

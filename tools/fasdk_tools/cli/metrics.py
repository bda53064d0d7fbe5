"""Verb metrics."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
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
            metavar="SCORES",
            help="Columns score (greater is more live), label (1 bona fide, 0 attack), species; "
            "also presentation, subject, domain, responded. Delimited text, JSON, .npy or .npz; "
            "what is read from it is said.",
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
    labels: Annotated[
        Path | None, typer.Option(help="Labels of SCORES where these have none, by path or order.")
    ] = None,
    development_labels: Annotated[
        Path | None, typer.Option(help="Labels of the scores of --development, likewise.")
    ] = None,
    live_label: Annotated[
        list[str] | None,
        typer.Option(help="Label that is bona fide; every other one is an attack. Repeatable."),
    ] = None,
    higher_is: Annotated[
        str | None,
        typer.Option(
            metavar="live|attack",
            help="Class that a greater score speaks for, where it is doubted.",
        ),
    ] = None,
    score_column: Annotated[
        str | None, typer.Option(help="Column of the scores, by name or number from 1.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels, by name or number from 1.")
    ] = None,
    species_column: Annotated[
        str | None, typer.Option(help="Column of the attacks' species, by name or number from 1.")
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
    """Compute APCER, BPCER, AUC and EER with 95 % bounds from a file of scores."""
    from fasdk_calibration.metrics import ColumnChoice, ScoreFileOptions, read_scores, summarize

    if threshold is not None and development is not None:
        raise UsageError("--threshold and --development both set the threshold: give one of them")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold {threshold}: expected a finite number")
    if development_labels is not None and development is None:
        raise UsageError("--development-labels go with --development: give both")
    options = ScoreFileOptions(
        columns=ColumnChoice(score_column, label_column, species_column),
        live_labels=tuple(live_label or ()),
        higher_is=higher_is,
        labels=labels,
    )
    tested = read_scores(scores, options)
    chosen_on = None
    if development is not None:
        chosen_on = read_scores(development, replace(options, labels=development_labels))
        _require_one_scale(tested, chosen_on)
    with progress_view() as view:
        view.phase("resampling subjects")
        summary = summarize(
            tested.scores,
            threshold=None if threshold is None else tested.in_file_units(threshold),
            development=None if chosen_on is None else chosen_on.scores,
            resamples=resamples,
            seed=seed,
        )
    warnings = [*tested.warnings, *summary.warnings, *_out_of_range(tested, threshold)]
    if chosen_on is not None:
        warnings += [*chosen_on.warnings, *_shared_subjects(tested, chosen_on)]
    for warning in warnings:
        STDERR.print(f"fasdk: warning: {warning}", markup=False, soft_wrap=True)
    if as_json:
        read = {"scores": str(scores), "read_as": tested.read_as}
        print_json(read | _document(summary, tested) | {"warnings": warnings})
    else:
        _print(tested, summary, wide=wide)


def _require_one_scale(tested: ScoreFile, chosen_on: ScoreFile) -> None:
    """Refuse a threshold of scores in another unit or of the other direction."""
    if tested.higher_is is not chosen_on.higher_is:
        raise UsageError(
            f"a greater score of {tested.path} is more {tested.higher_is.value} and one of "
            f"{chosen_on.path} more {chosen_on.higher_is.value}: write both alike"
        )
    spans = [_span_of(file) for file in (tested, chosen_on)]
    if (spans[0][0] >= 0 and spans[0][1] <= 1) != (spans[1][0] >= 0 and spans[1][1] <= 1):
        shown = [
            f"{file.path} run from {low:g} to {high:g}"
            for file, (low, high) in zip((tested, chosen_on), spans, strict=True)
        ]
        raise UsageError(
            f"scores of {' and those of '.join(shown)}, so probably not in one unit: write both "
            "in one, or give --threshold in place of --development"
        )


def _out_of_range(tested: ScoreFile, threshold: float | None) -> list[str]:
    if threshold is None:
        return []
    low, high = _span_of(tested)
    as_share = low >= 0 and high > 1 and threshold <= 1  # of scores in percent, perhaps
    if low <= threshold <= high and not as_share:
        return []
    return [
        f"--threshold {threshold:g} is in the units of the scores, which run from {low:g} to "
        f"{high:g}: is it meant so?"
    ]


def _span_of(file: ScoreFile) -> tuple[float, float]:
    """Return the least and the greatest score of a file, in its units."""
    values = file.scores.values[file.scores.responded]
    ends = sorted(file.in_file_units(float(end)) for end in (values.min(), values.max()))
    return ends[0], ends[1]


def _shared_subjects(tested: ScoreFile, chosen_on: ScoreFile) -> list[str]:
    if not (tested.has_subjects and chosen_on.has_subjects):
        return []
    shared = _subjects(tested.scores) & _subjects(chosen_on.scores)
    if not shared:
        return []
    return [
        f"{len(shared)} subjects, such as {min(shared)[1]!r}, stand in {tested.path} and in "
        f"{chosen_on.path}: the threshold was chosen on people it is tested on"
    ]


def _subjects(scores: Scores) -> set[tuple[str, str]]:
    return set(zip(scores.domain, scores.subject, strict=True))


def _document(summary: Summary, tested: ScoreFile) -> dict[str, Any]:
    """Return the figures as the JSON document has them, thresholds in the file's units."""
    intervals = summary.intervals
    return {
        "frames": summary.frames,
        "presentations": summary.presentations,
        "subjects": summary.subjects,
        "confidence": 0.95,
        "higher_is": tested.higher_is.value,
        "threshold": tested.in_file_units(summary.threshold),
        "threshold_from": summary.threshold_source.value,
        "apcer": {name: _rate(rate) for name, rate in summary.apcer.items()},
        "worst_species": summary.worst_species,
        "bpcer": _rate(summary.bpcer),
        "apnrr": {name: _rate(rate) for name, rate in summary.apnrr.items()},
        "bpnrr": _rate(summary.bpnrr),
        "bpcer_at_apcer": [
            {"name": at.name, "species": at.species, "apcer": _rate(at.apcer)}
            | _at_target(at, tested)
            for at in summary.bpcer_at_apcer
        ],
        "auc": summary.auc,
        "eer": summary.eer,
        "eer_threshold": tested.in_file_units(summary.eer_threshold),
        "tpr_at_fpr": [
            {"tpr": at.tpr, "fpr": _rate(at.apcer)} | _at_target(at, tested)
            for at in summary.tpr_at_fpr
        ],
        "acer": summary.acer,
        "hter": summary.hter,
        "hter_at_eer": summary.hter_at_eer,
        "not_of_iso_iec_30107_3": list(NOT_OF_THE_STANDARD),
        "intervals": None if intervals is None else asdict(intervals),
        "resampled": {"unit": "subject", "resamples": summary.resamples, "seed": summary.seed},
    }


def _at_target(at: RatesAtTarget, tested: ScoreFile) -> dict[str, Any]:
    threshold = tested.in_file_units(at.threshold)
    return {"target": at.target, "threshold": threshold, "bpcer": _rate(at.bpcer)}


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


def _print(tested: ScoreFile, summary: Summary, *, wide: bool) -> None:
    """Print the figures as tables, thresholds in the file's units."""
    non_responses = sum(rate.errors for rate in (*summary.apnrr.values(), summary.bpnrr))
    worst = summary.apcer[summary.worst_species]
    print_answer(
        f"APCER {format_share(worst.rate)} (worst: {summary.worst_species}), "
        f"BPCER {format_share(summary.bpcer.rate)}, AUC {format_share(summary.auc)}"
    )
    print_fields(
        "",
        {
            "scores": str(tested.path),
            "read as": "; ".join(tested.read_as),
            "presentations": f"{summary.presentations} of "
            f"{count_of(summary.subjects, 'subject')}, {count_of(summary.frames, 'frame')}, "
            f"{non_responses} without a response",
            "threshold": f"{tested.in_file_units(summary.threshold):.6g}, "
            f"{_SOURCES[summary.threshold_source.value]}",
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
                    tested.in_file_units(at.threshold),
                    format_share(at.bpcer.rate),
                    _span(at.bpcer.interval()),
                )
                for at in summary.bpcer_at_apcer
            ),
            *(
                (
                    "TPR",
                    f"FPR {100 * at.target:g} %",
                    tested.in_file_units(at.threshold),
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

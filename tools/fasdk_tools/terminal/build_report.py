"""Terminal output of a build: its report, or the figures of a missed budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fasdk_tools.terminal.numbers import (
    count_of,
    format_bytes,
    format_count,
    format_number,
    format_share,
)
from fasdk_tools.terminal.output import (
    STDERR,
    print_answer,
    print_fields,
    print_json,
    print_notes,
    print_rows,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fasdk.errors import BudgetError
    from fasdk_engines.build.report import BuildReport
    from fasdk_engines.quantization.mixed_precision.budget import BudgetReport, RateChange
    from fasdk_engines.quantization.mixed_precision.pipeline import MissedBudget
    from fasdk_engines.quantization.mixed_precision.summary import Int8Summary

SUMMARY_TITLE = "Taken to be (compare with the model's training code)"
_SHOWN = 3  # names of a long list


def show_build(report: BuildReport, *, as_json: bool, wide: bool = False) -> None:
    """Print the report of a build on stdout, ending with what to compare; doubts on stderr."""
    if as_json:
        print_json(asdict(report))
    else:
        _print_build(report, wide=wide)
    for doubt in report.doubts:
        STDERR.print(f"fasdk: warning: {doubt}", markup=False, soft_wrap=True)


def _print_build(report: BuildReport, *, wide: bool) -> None:
    points = len(report.operating_points)
    print_answer(
        f"Built {report.bundle}: {report.model} in {report.precision}, "
        f"{format_bytes(report.size_bytes)}, "
        + (count_of(points, "operating point") if points else "no operating point")
    )
    print_fields(
        "",
        {
            "bundle id": report.bundle_id,
            "signed by": report.signed_by,
            "parameters": format_count(report.parameters),
            "graph": count_of(report.nodes, "node"),
            "parity": ", ".join(_parity(report)),
            "half precision": _half_precision(report),
            "plan": _plan(report),
            **_times(report),
            "operating points": report.operating_points,
            "from": report.operating_points_note,
            "time": f"{sum(report.phase_seconds.values()):.1f} s",
        },
    )
    if wide:
        print_fields("Settings", report.config)
        print_fields("Seconds", report.phase_seconds)
    if report.int8 is not None:
        print_fields("INT8", _int8_fields(report.int8, wide=wide))
        if report.int8.budget is not None:
            _print_budget(report.int8.budget, wide=wide)
    print_fields(SUMMARY_TITLE, report.summary)


def show_missed_budget(error: BudgetError, *, as_json: bool, wide: bool = False) -> None:
    """Print the candidates and the limits they miss on stdout, and one line on stderr."""
    report: MissedBudget = error.report  # type: ignore[assignment]
    line = " ".join(str(error).split())
    STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)
    if as_json:
        print_json({"bundle": None, "error": line, **asdict(report)})
        return
    print_answer(
        f"No bundle is written: {report.precision} misses the budget on {report.development} "
        f"({count_of(report.captures, 'capture')})"
    )
    print_notes(report.misses)
    if report.figures is not None:
        _print_budget(report.figures, wide=wide)
    print_rows(
        "Candidates, in the order tried",
        (
            *("float layers", Column("residual layers", wide=True), "in INT8", "captures"),
            *("expected flips", Column("of one class", wide=True), "mean drift", "result"),
        ),
        [
            (
                len(trial.float_layers),
                len(trial.residual_layers),
                format_share(trial.int8_share),
                trial.evaluated,
                format_share(trial.expected_flips),
                format_share(trial.expected_class_flips),
                trial.mean_drift,
                trial.status.value,
            )
            for trial in report.trials
        ],
        wide=wide,
    )
    if report.most_sensitive:
        print_rows(
            "Most sensitive layers in INT8 (mean square of the log-odds' drift)",
            ("layer", "MACs", "drift squared"),
            [
                (layer.name, format_count(layer.macs), layer.error)
                for layer in report.most_sensitive
            ],
        )
    print_fields("", {"record": report.record})


def _parity(report: BuildReport) -> Iterator[str]:
    if report.torch_parity is not None:
        yield f"{report.torch_parity:.1e} published against deployed form"
        yield f"{report.graph_parity:.1e} deployed form against graph"
        yield f"{report.score_parity:.1e} in softmax"
    else:
        yield f"{report.graph_parity:.1e} file as given against graph"


def _half_precision(report: BuildReport) -> str | None:
    if report.half_drift_ratio is None or report.half_max_activation is None:
        return None
    return (
        f"drift {format_share(report.half_drift_ratio)} of the logits' standard deviation, "
        f"largest activation {format_number(report.half_max_activation)}"
        + _float32_nodes(report.float32_nodes)
    )


def _times(report: BuildReport) -> dict[str, str]:
    """Return the times that were measured on this CPU, or nothing."""
    times = None if report.comparison is None else report.comparison.times
    return {} if times is None else {"time on this CPU": times}


def _float32_nodes(nodes: Mapping[str, str]) -> str:
    """Return how many nodes stay float32 and why, or nothing where none was added."""
    if not nodes:
        return ""
    reasons = ", ".join(f"{count} for {why}" for why, count in Counter(nodes.values()).items())
    return f", {count_of(len(nodes), 'node')} kept in float32 ({reasons})"


def _plan(report: BuildReport) -> str | None:
    if report.plan is None:
        return None
    targets = ", ".join(report.plan_targets) or "this machine"
    return f"{report.plan} for {targets}, {format_bytes(report.plan_bytes)}"


def _int8_fields(int8: Int8Summary, *, wide: bool) -> dict[str, Any]:
    reverted = list(int8.reverted)
    if not wide and len(reverted) > _SHOWN:
        rest = len(reverted) - _SHOWN
        reverted = [*reverted[:_SHOWN], f"and {rest} more (--wide)"]
    return {
        "calibrated on": f"{count_of(int8.captures, 'capture')} of "
        f"{count_of(int8.subjects, 'subject')} in {int8.calibration}",
        "ranges": int8.method,
        "in INT8": f"{format_share(int8.int8_share)} of Linear and Conv multiply-accumulates, "
        f"{int8.int8_layers} of {count_of(int8.layers, 'layer')}, {int8.residual_layers} with "
        "a residual activation",
        "reverted to float": reverted,
        "candidates evaluated": int8.trials,
        "budget": int8.budget_note,
    }


def _print_budget(budget: BudgetReport, *, wide: bool) -> None:
    limits = budget.limits
    print_rows(
        f"Against FP32 at its thresholds; limits: flips {format_share(limits.max_flips)}, mean "
        f"drift {limits.max_drift:g}, change of APCER and BPCER "
        f"{format_share(limits.max_rate_change)}",
        (
            *("modalities", "captures", "flips", Column("expected flips", wide=True)),
            *("mean drift", "APCER", "BPCER", Column("worst species", wide=True)),
        ),
        [
            (
                found.modalities,
                found.captures,
                found.flips,
                format_share(found.expected_flips),
                found.mean_drift,
                _rate(found.apcer),
                _rate(found.bpcer),
                None if found.apcer is None else found.apcer.species[1],
            )
            for found in budget.combinations
        ],
        wide=wide,
    )


def _rate(rate: RateChange | None) -> str | None:
    return None if rate is None else f"{100 * rate.before:.2f} to {format_share(rate.after)}"

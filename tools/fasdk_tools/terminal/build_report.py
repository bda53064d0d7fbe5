"""Terminal output of a build: its report, or the figures of a missed budget."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fasdk_tools.terminal.output import STDERR, format_bytes, print_fields, print_json, print_rows

if TYPE_CHECKING:
    from fasdk.errors import BudgetError
    from fasdk_engines.build.request import BuildReport
    from fasdk_engines.quantization.mixed_precision.budget import BudgetReport, RateChange
    from fasdk_engines.quantization.mixed_precision.pipeline import MissedBudget
    from fasdk_engines.quantization.mixed_precision.summary import Int8Summary


def show_build(report: BuildReport, *, as_json: bool) -> None:
    """Print a build's report on stdout."""
    document = asdict(report)
    if as_json:
        print_json(document)
        return
    document["size_bytes"] = format_bytes(report.size_bytes)
    document["plan_bytes"] = format_bytes(report.plan_bytes)
    del document["int8"]
    print_fields(f"Built {report.bundle}", document)
    if report.int8 is not None:
        print_fields("INT8", _fields(report.int8))
        if report.int8.budget is not None:
            _print_budget(report.int8.budget)


def show_missed_budget(error: BudgetError, *, as_json: bool) -> None:
    """Print the candidates and the limits they miss on stdout, and one line on stderr."""
    report: MissedBudget = error.report  # type: ignore[assignment]
    line = " ".join(str(error).split())
    STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)
    if as_json:
        print_json({"bundle": None, "error": line, **asdict(report)})
        return
    print_rows(
        f"Candidates on {report.development}, {report.captures} captures",
        (
            *("in float", "residual", "INT8 share", "captures", "expected flips", "of a class"),
            *("drift", "budget"),
        ),
        [
            (
                len(trial.float_layers),
                len(trial.residual_layers),
                f"{trial.int8_share:.1%}",
                trial.evaluated,
                f"{trial.expected_flips:.3%}",
                f"{trial.expected_class_flips:.3%}",
                trial.mean_drift,
                trial.status.value,
            )
            for trial in report.trials
        ],
    )
    if report.most_sensitive:
        print_rows(
            "Most sensitive layers in INT8",
            ("layer", "MACs", "mean square of the log-odds' drift"),
            [(layer.name, layer.macs, layer.error) for layer in report.most_sensitive],
        )
    if report.figures is not None:
        _print_budget(report.figures)
    print_fields("Missed", {"": list(report.misses), "record": report.record})


def _fields(int8: Int8Summary) -> dict[str, Any]:
    return {
        "calibrated on": f"{int8.captures} captures of {int8.subjects} subjects in "
        f"{int8.calibration}",
        "ranges": int8.method,
        "in INT8": f"{int8.int8_share:.1%} of Linear and Conv multiply-accumulates, "
        f"{int8.int8_layers} of {int8.layers} layers, {int8.residual_layers} with residual "
        "activations",
        "reverted to float": list(int8.reverted),
        "candidates evaluated": int8.trials,
        "budget": int8.budget_note,
    }


def _print_budget(budget: BudgetReport) -> None:
    limits = budget.limits
    print_rows(
        f"Against FP32 at its frozen thresholds; limits: flips {limits.max_flips:.2%}, "
        f"drift {limits.max_drift:g}, rates {limits.max_rate_change:.2%}",
        ("modalities", "captures", "flips", "expected flips", "drift", "APCER", "BPCER"),
        [
            (
                found.modalities,
                found.captures,
                found.flips,
                None if found.expected_flips is None else f"{found.expected_flips:.3%}",
                found.mean_drift,
                _rate(found.apcer),
                _rate(found.bpcer),
            )
            for found in budget.combinations
        ],
    )


def _rate(rate: RateChange | None) -> str:
    return "-" if rate is None else f"{rate.before:.2%} to {rate.after:.2%} ({rate.species[1]})"

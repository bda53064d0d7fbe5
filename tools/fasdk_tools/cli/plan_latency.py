"""Verb plan-latency."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import (
    BundleArgument,
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    app,
    require_build_half,
    trust_policy,
)
from fasdk_tools.terminal.numbers import format_bytes, format_flops
from fasdk_tools.terminal.output import (
    print_answer,
    print_fields,
    print_json,
    print_notes,
    print_rows,
)

if TYPE_CHECKING:
    from fasdk_tools.profiling.gpus import Gpu
    from fasdk_tools.profiling.graph_cost import GraphCost
    from fasdk_tools.profiling.plan_latency import LatencyRange
    from fasdk_tools.profiling.published import PublishedLatency


@app.command("plan-latency", rich_help_panel=Panel.MEASURE)
def plan_latency(
    bundle: BundleArgument,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="orin-nano, orin-nano-super, orin-nx, agx-orin, thor or rtx-3090; all of them "
            "where none is given. Repeatable."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Captures of one call.")] = 1,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate a bundle's engine time on GPUs that are not here: a range to plan with."""
    require_build_half()
    from fasdk.bundle.bundle import open_bundle
    from fasdk_tools.profiling.gpus import GPUS, gpu_of
    from fasdk_tools.profiling.graph_cost import Number, graph_cost
    from fasdk_tools.profiling.plan_latency import LABEL, Assumptions, estimate
    from fasdk_tools.profiling.published import PUBLISHED

    gpus = GPUS if device is None else tuple(gpu_of(name) for name in dict.fromkeys(device))
    opened = open_bundle(bundle, trust_policy(key, unsigned))
    manifest = opened.manifest
    if not 1 <= batch <= manifest.max_batch:
        raise UsageError(
            f"--batch is {batch}, expected 1 to {manifest.max_batch}, the largest batch of {bundle}"
        )
    shapes = {name: (batch, *shape) for name, shape in manifest.input_shapes.items()}
    cost = graph_cost(opened.graph, shapes)
    found = [(gpu, [estimate(cost, gpu, number) for number in (None, *Number)]) for gpu in gpus]
    checks = [each for each in PUBLISHED if each.gpu in {gpu.name for gpu in gpus}]
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "bundle_id": opened.id,
                "trust": opened.trust,
                "kind": LABEL,
                "batch": batch,
                "graph": _graph_fields(cost),
                "assumptions": asdict(Assumptions()),
                "devices": [_device(gpu, ranges) for gpu, ranges in found],
                "published": [_published(each) for each in checks],
            }
        )
        return
    print_answer(f"{LABEL.capitalize()}: {_headline(found, manifest.precision.value)}")
    print_fields(
        "",
        {
            "bundle": str(bundle),
            "operations": f"{format_flops(cost.operations)} a call of batch {batch}",
            "by kind": ", ".join(
                f"{format_flops(count)} {work.value} in {number.value}"
                for (work, number), count in cost.operations_by_work().items()
            ),
            "weights": format_bytes(cost.weight_bytes),
            "values between kernels": format_bytes(cost.activation_bytes),
            "kernels": len(cost.kernels),
        },
    )
    print_rows(
        f"Engine time in ms ({LABEL})",
        ("device", "precision", "fastest", "slowest", "bound by"),
        [
            (
                gpu.name,
                _precision(each),
                _number(each.fastest_ms),
                _number(each.slowest_ms),
                each.bound_by,
            )
            for gpu, ranges in found
            for each in ranges
        ],
    )
    for gpu in gpus:
        rows = [_check_row(each) for each in checks if each.gpu == gpu.name]
        if rows:
            print_rows(
                f"Published measurements on {gpu.name} beside the same estimate, in ms",
                ("network", "precision", "batch", "measured", "fastest", "slowest", "in range"),
                rows,
            )
    print_notes(_notes(found, checks))


def _headline(found: list[tuple[Gpu, list[LatencyRange]]], precision: str) -> str:
    gpu, ranges = found[0]
    fastest, slowest = _number(ranges[0].fastest_ms), _number(ranges[0].slowest_ms)
    return f"{fastest} to {slowest} ms in {precision} on {gpu.title}"


def _precision(each: LatencyRange) -> str:
    return "as built" if each.precision is None else each.precision.value


def _number(ms: float) -> str:
    return f"{ms:.3g}"


def _graph_fields(cost: GraphCost) -> dict[str, Any]:
    return {
        "operations": cost.operations,
        "operations_by_kind": [
            {"kind": work.value, "precision": number.value, "operations": count}
            for (work, number), count in cost.operations_by_work().items()
        ],
        "weight_bytes": cost.weight_bytes,
        "activation_bytes": cost.activation_bytes,
        "kernels": len(cost.kernels),
    }


def _range(each: LatencyRange) -> dict[str, Any]:
    return {
        "precision": _precision(each),
        "fastest_ms": each.fastest_ms,
        "slowest_ms": each.slowest_ms,
        "bound_by": each.bound_by,
    }


def _device(gpu: Gpu, ranges: list[LatencyRange]) -> dict[str, Any]:
    from fasdk_tools.profiling.plan_latency import LABEL

    return {
        "device": gpu.name,
        "title": gpu.title,
        "kind": LABEL,
        "ranges": [_range(each) for each in ranges],
        "sources": list(gpu.sources),
    }


def _published(each: PublishedLatency) -> dict[str, Any]:
    estimated = each.estimate()
    return {
        "network": each.network,
        "device": each.gpu,
        "batch": each.batch,
        "measured_ms": each.ms,
        "estimate": _range(estimated),
        "in_range": estimated.contains(each.ms),
        "source": each.source,
    }


def _check_row(each: PublishedLatency) -> tuple[object, ...]:
    estimated = each.estimate()
    return (
        each.network,
        each.precision.value,
        each.batch,
        _number(each.ms),
        _number(estimated.fastest_ms),
        _number(estimated.slowest_ms),
        estimated.contains(each.ms),
    )


def _notes(
    found: list[tuple[Gpu, list[LatencyRange]]], checks: list[PublishedLatency]
) -> list[str]:
    notes = [
        "The range is of the engine alone, at the GPU's highest clock in that power mode: without "
        "queue, copies and preprocessing. `fasdk profile` on the device measures all of them.",
        "FP32 means TF32, which TensorRT's builder allows by default; INT8 is that of products "
        "with weights, the rest FP16.",
    ]
    small = [gpu.name for gpu, ranges in found if ranges[0].start_share > 0.5]
    if small:
        notes.append(
            f"On {', '.join(small)} most of the slowest time is the start of kernels: the graph is "
            "so small that its operations hardly matter."
        )
    unchecked = [gpu.name for gpu, _ in found if gpu.name not in {each.gpu for each in checks}]
    if unchecked:
        notes.append(f"No published measurement checks {', '.join(unchecked)}.")
    return notes + [f"Measured by {source}." for source in dict.fromkeys(c.source for c in checks)]

"""Typed graph and plan of a build, with what a quantization gained over a float precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.bundle.manifest import Precision
from fasdk.errors import PlanError, PrecisionError
from fasdk.preprocess import to_batch
from fasdk_engines.build.comparison import Comparison, PlanSizes, compare_latency
from fasdk_engines.build.typed_graph import (
    convert_graph,
    convert_instead,
    quantize_graph,
    working_precision,
)
from fasdk_engines.graph.half_precision import SMALL_NETWORK
from fasdk_engines.graph.lint import lint_tensorrt

if TYPE_CHECKING:
    from fasdk.backends.tensorrt.plan import BuiltPlan
    from fasdk_engines.build.captures import BuildCaptures
    from fasdk_engines.build.float_graph import FloatGraph
    from fasdk_engines.build.phases import Phases
    from fasdk_engines.build.resolved import ResolvedBuild
    from fasdk_engines.build.typed_graph import TypedGraph


@dataclass(frozen=True, eq=False)
class BuiltGraph:
    """Graph and plan of a bundle.

    Attributes:
        typed: Graph in its precision.
        precision: Precision of the graph; `auto` may have taken another than it started from.
        plan: Plan, or None where the build makes none.
        comparison: The quantized graph beside a float one; None for float precisions.
        notes: Plain sentences on the precision for the manifest.
    """

    typed: TypedGraph
    precision: Precision
    plan: BuiltPlan | None = None
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()


def build_graph(
    source: FloatGraph, build: ResolvedBuild, captures: BuildCaptures, phases: Phases
) -> BuiltGraph:
    """Return the graph of a build in its precision, and its plan.

    A quantized graph is compared with the float graph that it would replace. `auto` takes the float
    one where INT8 buys nothing and the float one holds the liveness budget; other builds say it.

    Raises:
        FasdkError: The graph cannot be converted, quantized within its budget, run or compiled.
    """
    phases.start("precision")
    if build.int8 is None:
        typed = convert_graph(source, build.precision, captures)
        return _with_plan(BuiltGraph(typed, build.precision), source, build, phases)
    from fasdk_engines.quantization.quantizer import NoInt8LayerError

    floating = _float_precision(build.precision)
    try:
        typed = quantize_graph(source, build, captures, phases)
    except NoInt8LayerError as error:
        if not build.int8.search:
            raise
        instead = convert_instead(source, build, captures, phases)
        note = f"auto took {floating.value}: {str(error).split(':')[0]}"
        return _with_plan(BuiltGraph(instead, floating, notes=(note,)), source, build, phases)
    built = _with_plan(BuiltGraph(typed, build.precision), source, build, phases)
    phases.start("comparison")
    comparison = _compare(built, source, build, captures, phases)
    built = replace(built, comparison=comparison)
    if comparison.gains:
        return replace(built, notes=(comparison.note(),))
    if not build.int8.search:
        advice = working_precision(source, build.precision, captures)
        return replace(built, notes=(comparison.note(advice=advice),))
    phases.start("precision")
    try:
        instead = convert_instead(source, build, captures, phases)
    except PrecisionError as error:
        note = f"{comparison.finding}; auto did not take {floating.value}: {error}"
        return replace(built, notes=(note,))
    chosen = BuiltGraph(
        instead, floating, comparison=comparison, notes=(comparison.note(chosen=True),)
    )
    return _with_plan(chosen, source, build, phases)


def _float_precision(precision: Precision) -> Precision:
    """Return the float precision that a quantized one would replace."""
    return Precision.FP32 if precision is Precision.INT8_FP32 else Precision.FP16


def _with_plan(
    built: BuiltGraph, source: FloatGraph, build: ResolvedBuild, phases: Phases
) -> BuiltGraph:
    lint_tensorrt(built.typed.graph)
    if build.plan is None:
        return built
    phases.start("plan")
    return replace(built, plan=_build_plan(built.typed.graph, source, build, phases))


def _build_plan(
    graph: bytes, source: FloatGraph, build: ResolvedBuild, phases: Phases
) -> BuiltPlan:
    from fasdk.backends.tensorrt.plan import build_plan

    assert build.plan is not None  # noqa: S101  # the callers look
    return build_plan(
        graph,
        build.plan.backend,
        shapes=source.model.shapes,
        max_batch=source.largest_batch(build.max_batch),
        compute_capabilities=build.plan.compute_capabilities,
        progress=phases.listener,
    )


def _compare(
    built: BuiltGraph,
    source: FloatGraph,
    build: ResolvedBuild,
    captures: BuildCaptures,
    phases: Phases,
) -> Comparison:
    typed = built.typed
    assert typed.int8 is not None  # noqa: S101  # it was quantized
    share = typed.int8.record.int8_share
    if typed.half is None:
        model = source.model
        order = model.family.presence_order
        capture = to_batch(list(captures.emulation[:1]), model.specs, order)
        return Comparison(
            built.precision,
            Precision.FP32,
            share,
            (len(typed.graph), len(source.graph)),
            latency=compare_latency(typed.graph, source.graph, capture) if share > 0.0 else None,
        )
    plans = None
    # The plan of a large network takes minutes to build, and there INT8 halves what is stored.
    if built.plan is not None and source.parameters <= SMALL_NETWORK:
        try:
            other = _build_plan(typed.half.graph, source, build, phases)
        except PlanError:
            pass  # then there is no float plan to be smaller than
        else:
            plans = PlanSizes.of(built.plan.data, other.data)
    return Comparison(
        built.precision,
        Precision.FP16,
        share,
        (len(typed.graph), len(typed.half.graph)),
        plans=plans,
    )

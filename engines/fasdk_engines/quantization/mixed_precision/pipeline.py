"""Make a graph in eight bits and hold it to the liveness budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.manifest import Precision
from fasdk.errors import BudgetError
from fasdk_engines.graph.provisional_points import choose_provisional_points
from fasdk_engines.graph.runner import GraphRunner
from fasdk_engines.quantization import Quantizer, RangeMethod, WrittenRunner
from fasdk_engines.quantization.calibration.calibration_set import (
    CalibrationSet,
    captures_digest,
    choose_captures,
)
from fasdk_engines.quantization.mixed_precision.evaluator import Judge, Judgment
from fasdk_engines.quantization.mixed_precision.record import CalibrationCapture, CalibrationRecord
from fasdk_engines.quantization.mixed_precision.search import (
    SEARCH_SECONDS,
    Candidate,
    Level,
    Mixture,
    Search,
    Trial,
    guess_length,
    int8_share,
    rank_moves,
)
from fasdk_engines.quantization.mixed_precision.sensitivity import (
    PROBING_SECONDS,
    LayerCost,
    measure_costs,
    working_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.preprocess import PreprocessSpec
    from fasdk_calibration.datasets import Dataset
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.models.base import Family
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits, BudgetReport
    from fasdk_engines.quantization.mixed_precision.evaluator import Batch, Runner
    from fasdk_engines.quantization.mixed_precision.request import Int8Request
    from fasdk_engines.quantization.mixed_precision.work_folder import Section, WorkFolder

Progress = Callable[[str, int, int], None]  # what, done, of how many
_RECORD = "calibration.json"
_COSTLIEST = 10
_BATCH = 8


@dataclass(frozen=True)
class Task:
    """What is to be made.

    Attributes:
        request: Captures, budget, search.
        precision: INT8 or INT8_FP32.
        graph: Float32 graph.
        family: Its model.
        specs: Preprocessing by modality.
        calibration: What `open_calibration` gave.
        development: Captures it is judged on, or None.
    """

    request: Int8Request
    precision: Precision
    graph: bytes
    family: Family
    specs: Mapping[Modality, PreprocessSpec]
    calibration: Dataset
    development: DevelopmentSet | None


@dataclass(frozen=True, eq=False)
class Int8Graph:
    """A graph in eight bits that holds its budget, or was not judged.

    Attributes:
        graph: Typed ONNX file.
        record: What calibration.json says.
        development_logits: float32 [N, classes] on the development captures as it was judged, or
            None.
    """

    graph: bytes
    record: CalibrationRecord
    development_logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class MissedBudget:
    """Why there is no graph in eight bits.

    Attributes:
        precision: What was asked for.
        searched: Whether layers were given back.
        development: List it was judged on.
        captures: How many those are.
        limits: The budget.
        misses: What the last candidate missed, one line each.
        figures: Its figures, or None where it was given up before the last capture.
        trials: Every candidate, in order.
        costliest: The layers that cost most in eight bits, worst first; empty without a search.
        record: File with all of it.
    """

    precision: str
    searched: bool
    development: str
    captures: int
    limits: BudgetLimits
    misses: tuple[str, ...]
    figures: BudgetReport | None
    trials: tuple[Trial, ...]
    costliest: tuple[LayerCost, ...]
    record: str


def make_int8(task: Task, work: WorkFolder, progress: Progress) -> Int8Graph:
    """Choose captures, quantize, judge, and give layers back where that was asked for.

    Raises:
        BudgetError: The budget is missed; the error carries a `MissedBudget`.
        DatasetError: The captures cannot calibrate or choose no threshold.
        FasdkError: The graph cannot be quantized or run.
    """
    family, request = task.family, task.request
    judge = None
    if task.development is not None:  # first: captures that give no threshold end it here
        judge = _open_judge(task, task.development, work, progress)
    about = [
        version("fasdk"),
        sha256(task.graph).hexdigest(),
        task.precision.value,
        *(record.model_dump_json() for record in task.calibration.records),
        str(request.size),
    ]
    chosen = choose_captures(
        task.calibration,
        request,
        task.graph,
        task.specs,
        family.presence_order,
        work.section("candidates", *about),
        lambda done, of: progress("calibration set", done, of),
    )
    method = request.method or RangeMethod.MSE
    quantizer = Quantizer.prepare(
        task.graph,
        chosen.batches,
        task.specs,
        precision=task.precision,
        method=method,
        float32_islands=family.float32_islands,
        cache=work.section("activations").path,
        progress=progress,
    )
    if judge is None or task.development is None:
        graph = quantizer.write()
        return Int8Graph(graph, _record(task, chosen, method, quantizer, (), (), None), None)
    section = work.section(
        "trials", *about, chosen.digest, method.value, captures_digest(task.development.captures)
    )
    candidates = _Candidates(task.precision, quantizer, judge, section, progress)
    if request.search:
        outcome, costs, trials = _search(candidates)
    else:
        mixture = Mixture(two_terms=_two_terms(quantizer))
        judgment = candidates.judge(mixture, stop_early=False)
        trial = Trial.of(quantizer.layers, (), mixture.two_terms, judgment, request.limits)
        outcome, costs, trials = Candidate(trial, mixture, judgment), (), (trial,)
    if outcome is None or not outcome.judgment.holds:
        report = None if outcome is None else outcome.judgment.report
        record = _record(task, chosen, method, quantizer, costs, trials, report)
        raise _missed(task, record, work)
    graph = candidates.write(outcome.mixture)
    record = _record(
        task,
        chosen,
        method,
        quantizer,
        costs,
        trials,
        outcome.judgment.report,
        outcome.trial.kept_float,
    )
    return Int8Graph(graph, record, outcome.judgment.logits)


def _open_judge(
    task: Task, development: DevelopmentSet, work: WorkFolder, progress: Progress
) -> Judge:
    """Run the float graph on the development captures and freeze its operating points."""
    family = task.family
    section = work.section(
        "float graph",
        version("fasdk"),
        sha256(task.graph).hexdigest(),
        captures_digest(development.captures),
    )
    stored = section.load_array("logits")
    count = len(development.captures)
    rows: list[NDArray[np.float32]] = [] if stored is None else list(stored[:count])
    if len(rows) < count:
        runner = GraphRunner(task.graph, task.specs, family.presence_order)
        while len(rows) < count:
            rows += list(runner.logits(development.captures[len(rows) : len(rows) + _BATCH]))
            section.save_rows("logits", rows, last=len(rows) == count)
            progress("float graph", len(rows), count)
    reference = np.stack(rows)
    points, _, _ = choose_provisional_points(
        development,
        reference,
        family.live_index,
        family.modalities,
        sha256(task.graph).hexdigest(),
    )
    return Judge(
        development,
        reference,
        points,
        specs=task.specs,
        presence=family.presence_order,
        live_index=family.live_index,
        modalities=family.modalities,
        limits=task.request.limits,
    )


@dataclass(frozen=True)
class _Candidates:
    """Writes and judges graphs that differ in which layers stay in floating point."""

    precision: Precision
    quantizer: Quantizer
    judge_on: Judge
    section: Section
    progress: Progress

    def judge(self, mixture: Mixture, *, stop_early: bool = True) -> Judgment:
        kept_float, two_terms = sorted(mixture.kept_float), sorted(mixture.two_terms)
        name = sha256("\0".join([*kept_float, "", *two_terms]).encode()).hexdigest()[:16]
        what = f"judging, {len(kept_float)} layers in float, {len(two_terms)} in two terms"
        return self.judge_on.judge(
            lambda: self._open(mixture),
            self.section,
            f"trial-{name}",
            progress=lambda done, of: self.progress(what, done, of),
            stop_early=stop_early,
        )

    def write(self, mixture: Mixture) -> bytes:
        if self.precision is Precision.INT8:
            self.quantizer.multiply_twice(mixture.two_terms)
        return self.quantizer.write(mixture.kept_float)

    def _open(self, mixture: Mixture) -> Runner:
        """Load a candidate as it is to be judged: as written, or in the form the CPU runs."""
        graph = self.write(mixture)
        if self.precision is Precision.INT8:
            return WrittenRunner(graph).logits
        engine = OnnxRuntimeEngine(graph, as_written=False)

        def logits(batch: Batch) -> NDArray[np.float32]:
            return engine.run(batch).logits

        return logits


def _search(
    candidates: _Candidates,
) -> tuple[Candidate | None, tuple[LayerCost, ...], tuple[Trial, ...]]:
    layers, limits = candidates.quantizer.layers, candidates.judge_on.limits
    two_terms = _two_terms(candidates.quantizer)
    mixture = Mixture(two_terms=two_terms)
    first = candidates.judge(mixture)
    trial = Trial.of(layers, (), two_terms, first, limits)
    if trial.level is Level.HOLDS_WITH_MARGIN:
        return Candidate(trial, mixture, first), (), (trial,)
    start = working_seconds()
    costs = measure_costs(
        candidates.quantizer.probe,
        layers,
        candidates.judge_on,
        candidates.section,
        lambda done, of: candidates.progress("layers probed", done, of),
        two_terms=candidates.precision is Precision.INT8,
    )
    moves, further = rank_moves(layers, costs, two_terms)
    # A large graph cannot be probed any faster than once a layer: its search has the rest.
    left = PROBING_SECONDS + SEARCH_SECONDS - (working_seconds() - start)
    search = Search(
        layers,
        two_terms,
        moves,
        further,
        candidates.judge,
        limits,
        seconds=min(SEARCH_SECONDS, max(0.0, left)),
    )
    outcome = search.run(lambda trial: guess_length(costs, two_terms, moves, trial, limits))
    return outcome, costs, tuple(search.trials)


def _two_terms(quantizer: Quantizer) -> frozenset[str]:
    return frozenset(layer.name for layer in quantizer.layers if layer.two_terms)


def _record(
    task: Task,
    chosen: CalibrationSet,
    method: RangeMethod,
    quantizer: Quantizer,
    costs: tuple[LayerCost, ...],
    trials: tuple[Trial, ...],
    budget: BudgetReport | None,
    given_back: tuple[str, ...] = (),
) -> CalibrationRecord:
    return CalibrationRecord(
        kind="int8",
        precision=task.precision.value,
        list=chosen.name,
        listed=chosen.listed,
        captures=tuple(CalibrationCapture(r.id, r.subject) for r in chosen.records),
        subjects=tuple(sorted({record.subject for record in chosen.records})),
        strata=chosen.selection.strata,
        coverage_radius=chosen.selection.radius,
        method=method.value,
        ranges=quantizer.ranges,
        layers=quantizer.layers_without(frozenset(given_back)),
        given_back=given_back,
        int8_share=int8_share(quantizer.layers, given_back),
        searched=task.request.search,
        costs=costs,
        trials=trials,
        development=None if task.development is None else task.development.name,
        budget=budget,
    )


def _missed(task: Task, record: CalibrationRecord, work: WorkFolder) -> BudgetError:
    """Return the error that ends the build; the record stays in the work folder."""
    from fasdk.atomic import atomic_write

    path = work.path / _RECORD
    with atomic_write(path) as file:
        file.write(record.to_bytes())
    assert task.development is not None  # noqa: S101 - nothing is judged without
    last = record.trials[-1]
    worst = sorted(record.costs, key=lambda cost: -cost.error)[:_COSTLIEST]
    report = MissedBudget(
        precision=task.precision.value,
        searched=task.request.search,
        development=task.development.name,
        captures=len(task.development.captures),
        limits=task.request.limits,
        misses=last.misses,
        figures=record.budget,
        trials=record.trials,
        costliest=tuple(worst),
        record=str(path),
    )
    base = "" if task.precision is Precision.INT8 else f" --auto-base {task.precision.value}"
    if task.request.search:
        tried = (
            f"none of {len(record.trials)} candidates holds, not even with "
            f"{len(last.kept_float)} layers in floating point"
        )
        mend = "train longer, give more development captures, or build with --precision fp16"
    else:
        tried, mend = f"{task.precision.value} misses it", f"build with --precision auto{base}"
    return BudgetError(
        f"liveness budget missed on {task.development.name}: {tried}: "
        f"{'; '.join(last.misses)}: {mend}",
        report,
    )

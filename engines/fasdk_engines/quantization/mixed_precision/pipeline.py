"""Quantization of a model's float graph, held to its liveness budget."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from fasdk.atomic import atomic_write
from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.manifest import Precision
from fasdk.bundle.members import CALIBRATION
from fasdk.errors import BudgetError
from fasdk_calibration.calibration_set.ranges import RangeMethod
from fasdk_calibration.datasets.pseudonyms import Pseudonyms
from fasdk_engines.graph.runner import GraphRunner
from fasdk_engines.quantization.calibration.calibration_set import (
    CalibrationSet,
    captures_digest,
    choose_captures,
)
from fasdk_engines.quantization.graph.layers import int8_share
from fasdk_engines.quantization.graph.qdq_reference import QdqReferenceRunner
from fasdk_engines.quantization.mixed_precision.evaluator import BudgetEvaluation, BudgetEvaluator
from fasdk_engines.quantization.mixed_precision.record import CalibrationCapture, CalibrationRecord
from fasdk_engines.quantization.mixed_precision.search import (
    SEARCH_SECONDS,
    BudgetStatus,
    Candidate,
    PrecisionAssignment,
    Search,
    Trial,
    estimate_fallbacks,
    rank_fallbacks,
)
from fasdk_engines.quantization.mixed_precision.sensitivity import (
    SENSITIVITY_SECONDS,
    LayerSensitivity,
    measure_sensitivity,
    working_seconds,
)
from fasdk_engines.quantization.quantizer import NoInt8LayerError, Quantizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fasdk.capture import Modality
    from fasdk.decision import OperatingPoint
    from fasdk.preprocess import PreprocessSpec
    from fasdk.progress import Progress
    from fasdk_calibration.datasets import Dataset
    from fasdk_engines.graph.captures import DevelopmentSet
    from fasdk_engines.models.base import Family
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits, BudgetReport
    from fasdk_engines.quantization.mixed_precision.evaluator import Batch, Runner
    from fasdk_engines.quantization.mixed_precision.request import Int8Request
    from fasdk_engines.quantization.work_folder import Section, WorkFolder

    ChoosePoints = Callable[[NDArray[np.float32]], Sequence[OperatingPoint]]

_MOST_SENSITIVE = 10  # layers that a report of a missed budget names
_BATCH = 8


@dataclass(frozen=True)
class Int8Job:
    """Inputs of one quantization.

    Attributes:
        request: Calibration list, budget, and whether to search.
        precision: INT8 or INT8_FP32.
        graph: Path of the float32 graph.
        family: The model family.
        specs: Preprocessing by modality.
        calibration: Captures to calibrate on, as `open_calibration` returned them.
        development: Captures to evaluate the budget on, or None.
        choose_points: Returns the float graph's operating points from its logits on the development
            captures, float32 [N, classes].
        instead: Returns the float precision that an error advises: one that works for this graph.
    """

    request: Int8Request
    precision: Precision
    graph: bytes
    family: Family
    specs: Mapping[Modality, PreprocessSpec]
    calibration: Dataset
    development: DevelopmentSet | None
    choose_points: ChoosePoints
    instead: Callable[[], Precision] = lambda: Precision.FP32


@dataclass(frozen=True, eq=False)
class Int8Graph:
    """A quantized graph whose liveness budget holds, or was not evaluated.

    Attributes:
        graph: Typed ONNX file.
        record: Contents of calibration.json.
        development_logits: float32 [N, classes] on the development captures, as it was evaluated;
            None without them.
    """

    graph: bytes
    record: CalibrationRecord
    development_logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class MissedBudget:
    """Report of a quantization that missed its budget.

    Attributes:
        precision: Precision asked for.
        searched: Whether more accurate layers were searched for.
        development: List the budget was evaluated on.
        captures: Number of captures in it.
        limits: Limits of the budget.
        misses: Messages, one for each limit that the last candidate misses.
        figures: Figures of the last candidate, or None where it was stopped early.
        trials: Every candidate, in order.
        most_sensitive: The most sensitive layers, worst first; empty without a search.
        record: File with the whole calibration record.
    """

    precision: str
    searched: bool
    development: str
    captures: int
    limits: BudgetLimits
    misses: tuple[str, ...]
    figures: BudgetReport | None
    trials: tuple[Trial, ...]
    most_sensitive: tuple[LayerSensitivity, ...]
    record: str


@dataclass(frozen=True)
class _Outcome:
    """Result of evaluating one candidate or of searching many.

    Attributes:
        candidate: The candidate to take, or None where none holds.
        sensitivities: Sensitivity of each layer; empty where it was not measured.
        trials: Every candidate evaluated, in order.
    """

    candidate: Candidate | None
    sensitivities: tuple[LayerSensitivity, ...] = ()
    trials: tuple[Trial, ...] = ()

    @property
    def evaluation(self) -> BudgetEvaluation | None:
        return None if self.candidate is None else self.candidate.evaluation


def quantize(job: Int8Job, work: WorkFolder, progress: Progress) -> Int8Graph:
    """Choose captures, calibrate, evaluate, and search for more accurate layers where asked to.

    Args:
        job: Inputs and settings of the quantization.
        work: Stores intermediate results, so that a killed build continues.
        progress: Receives the progress of each part.

    Raises:
        BudgetError: The budget is missed; the error carries a `MissedBudget`.
        DatasetError: The captures are unfit for calibration, or choose no threshold.
        NoInt8LayerError: No layer can compute in INT8.
        FasdkError: The graph cannot be quantized or run.
    """
    request = job.request
    evaluator = None
    if job.development is not None:  # first: captures that choose no threshold end the build here
        evaluator = _open_evaluator(job, job.development, work, progress)
    key = [
        version("fasdk"),
        sha256(job.graph).hexdigest(),
        job.precision.value,
        *(record.model_dump_json() for record in job.calibration.records),
        str(request.size),
    ]
    chosen = choose_captures(
        job.calibration,
        request.calibration.name,
        request.size,
        job.graph,
        job.specs,
        job.family.presence_order,
        work.section("candidates", *key),
        progress,
    )
    method = request.method or RangeMethod.MSE
    try:
        quantizer = Quantizer.prepare(
            job.graph,
            chosen.batches,
            job.specs,
            precision=job.precision,
            method=method,
            float32_islands=job.family.float32_islands,
            cache=work.section("activations").path,
            progress=progress,
        )
    except NoInt8LayerError as error:
        raise NoInt8LayerError(f"{error}: build with --precision {job.instead().value}") from error
    if evaluator is None or job.development is None:
        record = _record(job, chosen, method, quantizer, _Outcome(None))
        return Int8Graph(quantizer.write(), record, None)
    section = work.section(
        "trials", *key, chosen.digest, method.value, captures_digest(job.development.captures)
    )
    candidates = _Candidates(job.precision, quantizer, evaluator, section, progress)
    outcome = _search(candidates) if request.search else _evaluate_once(candidates)
    if outcome.candidate is None or not outcome.candidate.evaluation.holds:
        record = _record(job, chosen, method, quantizer, outcome)
        raise _missed(job, job.development, record, work)
    # Writing sets the residual layers that the record lists.
    graph = candidates.write(outcome.candidate.assignment)
    record = _record(job, chosen, method, quantizer, outcome)
    return Int8Graph(graph, record, outcome.candidate.evaluation.logits)


def evaluate_float_graph(
    job: Int8Job, graph: bytes, work: WorkFolder, progress: Progress
) -> BudgetEvaluation:
    """Evaluate a half-precision graph against the same liveness budget, every operator rounded.

    Args:
        job: Inputs and settings of the quantization; it has development captures.
        graph: Half-precision graph.
        work: Stores intermediate results.
        progress: Receives the captures evaluated, of how many.

    Raises:
        DatasetError: The development captures choose no threshold.
        BackendError: The graph cannot be run.
    """
    assert job.development is not None  # noqa: S101  # `auto` needs them: `require_consistent`
    evaluator = _open_evaluator(job, job.development, work, progress)
    section = work.section(
        "half precision", sha256(graph).hexdigest(), captures_digest(job.development.captures)
    )
    return evaluator.evaluate(
        lambda: QdqReferenceRunner(graph).logits,
        section,
        "logits",
        progress=progress,
        task="half precision",
    )


def _open_evaluator(
    job: Int8Job, development: DevelopmentSet, work: WorkFolder, progress: Progress
) -> BudgetEvaluator:
    """Run the float graph on the development captures and freeze its operating points."""
    family = job.family
    section = work.section(
        "float graph",
        version("fasdk"),
        sha256(job.graph).hexdigest(),
        captures_digest(development.captures),
    )
    stored = section.load_array("logits")
    count = len(development.captures)
    rows: list[NDArray[np.float32]] = [] if stored is None else list(stored[:count])
    if len(rows) < count:
        runner = GraphRunner(job.graph, job.specs, family.presence_order)
        while len(rows) < count:
            rows += list(runner.logits(development.captures[len(rows) : len(rows) + _BATCH]))
            section.save_rows("logits", rows, last=len(rows) == count)
            progress.update("float graph", len(rows), count)
    reference = np.stack(rows)
    return BudgetEvaluator(
        development,
        reference,
        job.choose_points(reference),
        specs=job.specs,
        presence=family.presence_order,
        live_index=family.live_index,
        modalities=family.modalities,
        limits=job.request.limits,
    )


@dataclass(frozen=True)
class _Candidates:
    """Writes and evaluates graphs that differ in their precision assignment."""

    precision: Precision
    quantizer: Quantizer
    evaluator: BudgetEvaluator
    section: Section
    progress: Progress

    @property
    def residual_layers(self) -> frozenset[str]:
        """Names of the layers whose activation calibration held in two INT8 terms."""
        return frozenset(layer.name for layer in self.quantizer.layers if layer.is_residual)

    def evaluate(
        self, assignment: PrecisionAssignment, *, stop_early: bool = True
    ) -> BudgetEvaluation:
        float_layers = sorted(assignment.float_layers)
        residual_layers = sorted(assignment.residual_layers)
        name = sha256("\0".join([*float_layers, "", *residual_layers]).encode()).hexdigest()[:16]
        return self.evaluator.evaluate(
            lambda: self._open(assignment),
            self.section,
            f"trial-{name}",
            progress=self.progress,
            task=f"candidate, {len(float_layers)} float and {len(residual_layers)} residual layers",
            stop_early=stop_early,
        )

    def write(self, assignment: PrecisionAssignment) -> bytes:
        if self.precision is Precision.INT8:
            self.quantizer.set_residual_layers(assignment.residual_layers)
        return self.quantizer.write(assignment.float_layers)

    def _open(self, assignment: PrecisionAssignment) -> Runner:
        """Load a candidate in the Q/DQ reference, or in the fused form that the CPU runs."""
        graph = self.write(assignment)
        if self.precision is Precision.INT8:
            return QdqReferenceRunner(graph).logits
        engine = OnnxRuntimeEngine(graph, as_written=False)

        def logits(batch: Batch) -> NDArray[np.float32]:
            return engine.run(batch).logits

        return logits


def _evaluate_once(candidates: _Candidates) -> _Outcome:
    """Evaluate plain INT8 on every capture."""
    assignment = PrecisionAssignment(residual_layers=candidates.residual_layers)
    evaluation = candidates.evaluate(assignment, stop_early=False)
    trial = Trial.of(
        candidates.quantizer.layers,
        (),
        assignment.residual_layers,
        evaluation,
        candidates.evaluator.limits,
    )
    return _Outcome(Candidate(trial, assignment, evaluation), (), (trial,))


def _search(candidates: _Candidates) -> _Outcome:
    """Search for the precision assignment to take, starting with plain INT8."""
    layers, limits = candidates.quantizer.layers, candidates.evaluator.limits
    residual_layers = candidates.residual_layers
    assignment = PrecisionAssignment(residual_layers=residual_layers)
    first = candidates.evaluate(assignment)
    trial = Trial.of(layers, (), residual_layers, first, limits)
    if trial.status is BudgetStatus.HOLDS_WITH_MARGIN:
        return _Outcome(Candidate(trial, assignment, first), (), (trial,))
    start = working_seconds()
    sensitivities = measure_sensitivity(
        candidates.quantizer.switchable_graph,
        layers,
        candidates.evaluator,
        candidates.section,
        candidates.progress,
        allow_residual=candidates.precision is Precision.INT8,
    )
    fallbacks, further = rank_fallbacks(layers, sensitivities, residual_layers)
    # The layers of a large graph take long to measure; the search gets the time that is left.
    left = SENSITIVITY_SECONDS + SEARCH_SECONDS - (working_seconds() - start)
    search = Search(
        layers,
        residual_layers,
        fallbacks,
        further,
        candidates.evaluate,
        limits,
        seconds=min(SEARCH_SECONDS, max(0.0, left)),
    )
    found = search.run(
        lambda trial: estimate_fallbacks(sensitivities, residual_layers, fallbacks, trial, limits)
    )
    return _Outcome(found, sensitivities, tuple(search.trials))


def _record(
    job: Int8Job,
    chosen: CalibrationSet,
    method: RangeMethod,
    quantizer: Quantizer,
    outcome: _Outcome,
) -> CalibrationRecord:
    evaluation = outcome.evaluation
    holds = evaluation is not None and evaluation.holds
    reverted = outcome.candidate.trial.float_layers if outcome.candidate and holds else ()
    named = Pseudonyms.of_record("calibration", chosen.name)
    return CalibrationRecord(
        precision=job.precision.value,
        list=chosen.name,
        listed=chosen.listed,
        captures=tuple(
            CalibrationCapture(named.of(r.id), named.of(r.subject)) for r in chosen.records
        ),
        subjects=tuple(sorted({named.of(record.subject) for record in chosen.records})),
        pseudonyms=named.rule,
        strata=chosen.selection.strata,
        coverage_radius=chosen.selection.radius,
        method=method.value,
        ranges=quantizer.ranges,
        layers=quantizer.reverted_layers(frozenset(reverted)),
        reverted=reverted,
        int8_share=int8_share(quantizer.layers, reverted),
        searched=job.request.search,
        sensitivities=outcome.sensitivities,
        trials=outcome.trials,
        development=None if job.development is None else job.development.name,
        budget=None if evaluation is None else evaluation.report,
    )


def _missed(
    job: Int8Job, development: DevelopmentSet, record: CalibrationRecord, work: WorkFolder
) -> BudgetError:
    """Return the error that ends the build; the record stays in the work folder."""
    path = work.path / CALIBRATION
    with atomic_write(path) as file:
        file.write(record.to_bytes())
    last = record.trials[-1]
    worst = sorted(record.sensitivities, key=lambda found: -found.error)[:_MOST_SENSITIVE]
    report = MissedBudget(
        precision=job.precision.value,
        searched=job.request.search,
        development=development.name,
        captures=len(development.captures),
        limits=job.request.limits,
        misses=last.misses,
        figures=record.budget,
        trials=record.trials,
        most_sensitive=tuple(worst),
        record=str(path),
    )
    base = "" if job.precision is Precision.INT8 else f" --auto-base {job.precision.value}"
    if job.request.search:
        tried = (
            f"none of {len(record.trials)} candidates holds, not even with "
            f"{len(last.float_layers)} layers in floating point"
        )
        fix = (
            "train longer, give more development captures, or build with --precision "
            f"{job.instead().value}"
        )
    else:
        tried, fix = f"{job.precision.value} misses it", f"build with --precision auto{base}"
    return BudgetError(
        f"liveness budget missed on {development.name}: {tried}: {'; '.join(last.misses)}: {fix}",
        report,
    )

"""Evaluation run: scores of a bundle on test lists and the error rates they give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fasdk.bundle.bundle import Bundle
from fasdk.bundle.manifest import Precision
from fasdk.bundle.members import CALIBRATION, EVALUATION
from fasdk_calibration.datasets import Dataset, DatasetSource, announce_dataset
from fasdk_calibration.error_rates import Unit
from fasdk_calibration.protocols import NONE_MISSING, Missing, as_missing
from fasdk_tools.evaluation.cases import (
    build_cases,
    development_thresholds,
    family_figure,
    worst_captures,
)
from fasdk_tools.evaluation.evidence import evidence_sheet
from fasdk_tools.evaluation.record import (
    DOCUMENT,
    DOCUMENT_VERSION,
    BundleIdentity,
    Case,
    Evaluation,
    ListIdentity,
    Overlap,
)
from fasdk_tools.evaluation.request import (
    EvaluationRequest,
    choose_missing,
    find_overlap,
    headline_level,
    require_level,
    require_new_subjects,
    require_protocol,
    seen_subjects,
)
from fasdk_tools.evaluation.scoring import ScoredDataset, score_subsets

if TYPE_CHECKING:
    from fasdk.progress import Progress


_CPU_HALF = (
    "ONNX Runtime on a CPU computes half precision in single precision: TensorRT on a GPU gives "
    "other last digits, and a score that lies on a threshold may fall on its other side."
)
_ROUNDING = {
    Precision.FP16: _CPU_HALF,
    Precision.INT8: f"Its roundings to 8 bits were run as they are written. {_CPU_HALF}",
    Precision.INT8_FP32: (
        "ONNX Runtime's 8-bit arithmetic depends on the CPU's instructions: another CPU may give "
        "other last digits, and a score that lies on a threshold may fall on its other side."
    ),
}


_INDEPENDENCE = {
    Unit.PRESENTATION: (
        "The bounds of APCER and BPCER take presentations to be independent. Several of one "
        "subject are not, so the truth may lie outside them more often than one time in twenty."
    ),
    Unit.ROW: (
        "Rows are counted one by one, as published code counts and ISO/IEC 30107-3 does not. The "
        "bounds of APCER and BPCER take them to be independent, which those of one presentation "
        "are not at all: they are too narrow."
    ),
}


@dataclass(frozen=True, eq=False)
class EvaluationRun:
    """Result of an evaluation.

    Attributes:
        record: Evaluation record.
        datasets: The evaluated data sets, from which the worst captures can be loaded.
    """

    record: Evaluation
    datasets: tuple[Dataset, ...]


@dataclass(frozen=True, eq=False)
class ScoredRequest:
    """Scores of everything that a request asks for.

    Attributes:
        datasets: The test lists' captures.
        development: The captures thresholds are chosen on, or None.
        overlap: Subjects of the test lists who were seen before.
        missing: Sets of modalities taken away, nothing among them.
        not_evaluated: Why other sets cannot be taken away.
        tests: Scores by test list, then by `missing`.
        held: Scores of the development captures by `missing`; empty without any.
    """

    datasets: tuple[Dataset, ...]
    development: Dataset | None
    overlap: tuple[Overlap, ...]
    missing: tuple[Missing, ...]
    not_evaluated: tuple[str, ...]
    tests: tuple[tuple[ScoredDataset, ...], ...]
    held: tuple[ScoredDataset, ...]

    def __post_init__(self) -> None:
        """Take modalities as members of the enum or as their values.

        Raises:
            UsageError: One is no modality.
        """
        object.__setattr__(self, "missing", as_missing(self.missing))


def run_evaluation(request: EvaluationRequest, progress: Progress) -> EvaluationRun:
    """Score every list of a request and return the error rates.

    Raises:
        UsageError: The request does not fit the bundle or itself.
        DatasetError: A list or frame is missing or malformed, or people were seen before.
        BackendError: ONNX Runtime refuses the graph or failed.
    """
    return evaluate_scored(request, score_request(request, progress), progress)


def score_request(request: EvaluationRequest, progress: Progress) -> ScoredRequest:
    """Score every list of a request; see `run_evaluation` for errors."""
    bundle = request.bundle
    require_level(bundle, request.level)
    datasets = tuple(source.open() for source in request.protocols)
    require_protocol(request, datasets)
    development = None if request.development is None else request.development.open()
    overlap = find_overlap(bundle, datasets, development)
    if not request.allow_overlap:
        require_new_subjects(overlap)
    every = (*datasets, *(() if development is None else (development,)))
    for dataset in every:
        announce_dataset(dataset, bundle.manifest.modalities)
    tasks = [dataset.name for dataset in datasets]
    tasks += [] if development is None else [f"{development.name} (development)"]
    missing, not_evaluated = choose_missing(request, every)
    scored = [
        score_subsets(
            bundle,
            dataset,
            missing,
            threads=request.threads,
            progress=progress,
            task=task,
        )
        for dataset, task in zip(every, tasks, strict=True)
    ]
    return ScoredRequest(
        datasets=datasets,
        development=development,
        overlap=overlap,
        missing=missing,
        not_evaluated=not_evaluated,
        tests=tuple(scored[: len(datasets)]),
        held=() if development is None else scored[-1],
    )


def evaluate_scored(
    request: EvaluationRequest, scored: ScoredRequest, progress: Progress
) -> EvaluationRun:
    """Return the error rates of scores, counted in the request's unit.

    Args:
        request: Evaluation request that was scored; its unit, level, family and fixed thresholds
            may differ.
        scored: Scores of `score_request`.
        progress: Receiver of progress reports.

    Raises:
        DatasetError: Captures of one presentation disagree on label, species or subject.
    """
    bundle, datasets, missing = request.bundle, scored.datasets, scored.missing
    development = scored.development
    thresholds = development_thresholds(request, development, scored.held, missing)
    cases = build_cases(request, scored.tests, missing, thresholds, progress)
    record = Evaluation(
        document=DOCUMENT,
        version=DOCUMENT_VERSION,
        bundle=_identify(bundle),
        backend=_backend(),
        family=None if request.family is None else request.family.value,
        source=request.source,
        unit=request.unit.value,
        level=headline_level(bundle, request.level),
        lists=tuple(
            _identify_list(source, dataset)
            for source, dataset in zip(request.protocols, datasets, strict=True)
        ),
        development=None
        if development is None or request.development is None
        else _identify_list(request.development, development),
        overlap=scored.overlap,
        cases=cases,
        not_evaluated=scored.not_evaluated,
        family_figure=family_figure(request.family, cases, joined=len(datasets) > 1),
        worst=tuple(
            item
            for each in scored.tests
            for item in worst_captures(each[missing.index(NONE_MISSING)], request)
        ),
        limits=_limits(request, datasets, scored.overlap, cases),
    )
    if request.scheme is not None:
        record = replace(record, evidence=evidence_sheet(record, request.scheme))
    return EvaluationRun(record, datasets)


def _identify(bundle: Bundle) -> BundleIdentity:
    manifest = bundle.manifest
    return BundleIdentity(
        path=str(bundle.path),
        id=bundle.id,
        revision=manifest.revision,
        has_signature=bundle.has_signature,
        signed_by=bundle.signed_by,
        model=manifest.model.family,
        published_in=manifest.model.published_in,
        precision=manifest.precision.value,
        graph_sha256=hashlib.sha256(bundle.graph).hexdigest(),
        checkpoint_sha256=manifest.provenance.checkpoint_sha256,
        modalities=tuple(m.value for m in manifest.modalities),
        required=tuple(m.value for m in manifest.required),
        operating_points_note=manifest.operating_points_note,
        is_calibrated=bool(manifest.score_calibrations),
    )


def _identify_list(source: DatasetSource, dataset: Dataset) -> ListIdentity:
    records = dataset.records
    live = sum(record.is_bona_fide for record in records)
    return ListIdentity(
        name=dataset.name,
        path=" + ".join(map(str, source.paths)),
        sha256=source.sha256(),
        captures=len(records),
        presentations=len(dataset.presentations),
        subjects=len(dataset.subjects),
        bona_fide=live,
        attacks=len(records) - live,
        species=tuple(sorted({record.species for record in records if not record.is_bona_fide})),
        domains=tuple(sorted({record.domain for record in records})),
    )


def _backend() -> str:
    from fasdk.backends.onnxruntime import OnnxRuntimeEngine

    return f"{OnnxRuntimeEngine.backend.value} {OnnxRuntimeEngine.version}, CPU"


def _limits(
    request: EvaluationRequest,
    datasets: Sequence[Dataset],
    overlap: Sequence[Overlap],
    cases: Sequence[Case],
) -> tuple[str, ...]:
    bundle = request.bundle
    notes = [
        "Only the attacks of these lists were tried: nothing follows for a species, camera, light "
        "or distance that is not among them.",
        _INDEPENDENCE[request.unit],
        "BPCER at APCER targets, TPR at FPR, EER and HTER at the EER use a threshold chosen on the "
        "test itself, which no device can do.",
        "No capture was sent back for another try: a device that does so accepts and refuses at "
        "other rates."
        + (
            " A presentation's score is the mean of its captures, a device may use one."
            if request.unit is Unit.PRESENTATION
            else ""
        ),
        "What the model was trained on is not recorded in a bundle; "
        + (f"the user says: {request.source}." if request.source else "it was not stated."),
    ]
    rounding = _ROUNDING.get(bundle.manifest.precision)
    if rounding is not None:
        notes.append(f"The graph is {bundle.manifest.precision.value}. {rounding}")
    manifest = bundle.manifest
    quantized = manifest.precision in (Precision.INT8, Precision.INT8_FP32)
    for member, what, is_due in (
        (CALIBRATION, "calibrated", quantized or bundle.document(CALIBRATION) is not None),
        (EVALUATION, "given thresholds", bool(manifest.operating_points)),
    ):
        if is_due and seen_subjects(bundle, member, ()) is None:
            notes.append(
                f"The bundle does not name the people whose captures it was {what} on, or names "
                "them by the key of another account: whether any of them is in these lists could "
                "not be checked."
            )
    notes += [f"{dataset.name}: {note}" for dataset in datasets for note in dataset.notes]
    notes += [
        f"{dataset.name} is read so: {'; '.join(dataset.reading)}"
        for dataset in datasets
        if dataset.reading
    ]
    if overlap:
        notes.append(
            "These lists hold people seen before, as was allowed: every figure is likely too good."
        )
    if any(case.figures.non_responses.frames for case in cases):
        notes.append(
            "Captures without a score are counted as non-responses (APNRR, BPNRR) and in no other "
            "rate."
        )
    notes.append("The report shows faces: keep it as you keep the captures.")
    return tuple(notes)

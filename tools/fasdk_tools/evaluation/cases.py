"""Evaluation cases: scores grouped by the modalities held, each with its thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fasdk.errors import DatasetError
from fasdk_calibration.datasets import Dataset
from fasdk_calibration.error_rates import (
    NamedThreshold,
    ThresholdKind,
    compute_error_rates,
    development_threshold,
)
from fasdk_calibration.metrics import Scores
from fasdk_calibration.protocols import PROTOCOLS, Missing, missing_name
from fasdk_tools.evaluation.record import Case, FamilyFigure, ProtocolFamily, WorstCapture
from fasdk_tools.evaluation.request import STANDARD, EvaluationRequest, headline_level
from fasdk_tools.evaluation.scoring import ScoredDataset

if TYPE_CHECKING:
    from fasdk.capture import Modality
    from fasdk.progress import Progress

Thresholds = dict[tuple[Missing, tuple["Modality", ...]], NamedThreshold | str]


def development_thresholds(
    request: EvaluationRequest,
    development: Dataset | None,
    scored: Sequence[ScoredDataset],
    missing: Sequence[Missing],
) -> Thresholds:
    """Return a threshold, or why there is none, for everything the development list holds."""
    found: Thresholds = {}
    if development is None:
        return found
    for each, answers in zip(missing, scored, strict=True):
        for present, scores in _by_modalities(answers).items():
            source = f"{len(scores)} captures of {development.name} that hold {_joined(present)}"
            try:
                found[each, present] = development_threshold(scores, source, request.unit)
            except DatasetError as error:
                found[each, present] = f"{source}: {error}"
    return found


def build_cases(
    request: EvaluationRequest,
    tests: Sequence[Sequence[ScoredDataset]],
    missing: Sequence[Missing],
    development: Thresholds,
    progress: Progress,
) -> tuple[Case, ...]:
    """Return every list with every combination taken away, and all lists together if several.

    Args:
        request: Evaluation request.
        tests: By list, then by `missing`.
        missing: Modalities taken away, in the order of `tests`' entries.
        development: Thresholds chosen on development captures, from `development_thresholds`.
        progress: Receiver of progress reports, in cases.

    Raises:
        DatasetError: Captures of one presentation disagree on label, species or subject.
    """
    names = [each[0].dataset.name for each in tests]
    groups: list[tuple[str, Missing, tuple[Modality, ...], Scores]] = []
    for index, each in enumerate(missing):
        parts = [_by_modalities(answers[index]) for answers in tests]
        for name, part in zip(names, parts, strict=True):
            groups += [(name, each, present, scores) for present, scores in part.items()]
        if len(tests) > 1:
            held = {present: None for part in parts for present in part}
            groups += [
                (" + ".join(names), each, present, _concatenated(parts, present))
                for present in held
            ]
    order = {name: index for index, name in enumerate((*names, " + ".join(names)))}
    groups.sort(key=lambda group: order[group[0]])  # stable: within a list, as asked for
    cases = []
    for number, (name, each, present, scores) in enumerate(groups, start=1):
        thresholds, note = _thresholds_for(request, each, present, development)
        cases.append(
            Case(
                list=name,
                missing=missing_name(each),
                modalities=tuple(m.value for m in present),
                thresholds_note=note,
                figures=compute_error_rates(scores, thresholds, request.unit),
            )
        )
        progress.update("error rates and bounds", number, len(groups))
    return tuple(cases)


def _thresholds_for(
    request: EvaluationRequest,
    missing: Missing,
    present: tuple[Modality, ...],
    development: Thresholds,
) -> tuple[tuple[NamedThreshold, ...], str]:
    points = [
        NamedThreshold(
            point.level,
            ThresholdKind.OPERATING_POINT,
            point.threshold,
            point.source,
            point.apcer_upper,
        )
        for point in request.bundle.manifest.operating_points
        if frozenset(point.modalities) == frozenset(present)
        and request.level in (None, point.level)
    ]
    points.sort(key=lambda point: (point.name != STANDARD, point.value))
    notes = []
    if not points:
        what = "the bundle has no operating point"
        if request.bundle.manifest.operating_points:
            level = f" at level {request.level}" if request.level else ""
            what += f" for {_joined(present)}{level}"
        notes.append(f"{what}: on a device such captures are answered ERROR")
    modalities = request.bundle.manifest.modalities
    if points and frozenset(present) != frozenset(modalities):
        notes.append(
            f"a device decides without {_joined(tuple(m for m in modalities if m not in present))} "
            "with MissingModalities.DEGRADE alone, and answers RETRY by default"
        )
    chosen = development.get((missing, present))
    if isinstance(chosen, NamedThreshold):
        points.append(chosen)
    elif chosen is not None:
        notes.append(f"no development threshold: {chosen}")
    elif request.development is not None:
        notes.append(f"no development capture holds {_joined(present)} alone")
    points += [
        NamedThreshold(f"fixed {value:g}", ThresholdKind.FIXED, value, "stated by the protocol")
        for value in request.fixed
    ]
    if not points:
        notes.append("figures without a threshold only")
    return tuple(points), "; ".join(notes)


def _by_modalities(scored: ScoredDataset) -> dict[tuple[Modality, ...], Scores]:
    """Return the scores of the captures that held the same modalities, most modalities first."""
    rows: dict[tuple[Modality, ...], list[int]] = {}
    for index, present in enumerate(scored.present):
        rows.setdefault(present, []).append(index)
    order = sorted(rows, key=lambda present: (-len(present), [m.value for m in present]))
    return {present: scored.scores.select(rows[present]) for present in order}


def _concatenated(
    parts: Sequence[dict[tuple[Modality, ...], Scores]], present: tuple[Modality, ...]
) -> Scores:
    return Scores.concatenate([part[present] for part in parts if present in part])


def _joined(present: Sequence[Modality]) -> str:
    return "+".join(m.value for m in present)


def family_figure(
    family: ProtocolFamily | None, cases: Sequence[Case], *, joined: bool
) -> FamilyFigure | None:
    """Return the protocol's mean, or None where a test lacks a class or mixes modalities."""
    if family is None:
        return None
    last = cases[-1].list  # all lists together, where there are several
    protocol = next(p for p in PROTOCOLS if p.name == family.value)
    asked = [missing_name(missing) for missing in protocol.missing]
    tests = [
        index
        for index, case in enumerate(cases)
        if (case.list == last or not joined) and case.missing in asked
    ]
    parts = [cases[index].figures for index in tests]
    separations = [part.separation for part in parts if part.separation is not None]
    if not parts or len(separations) < len(parts):
        return None
    if len({cases[index].missing for index in tests}) < len(tests):
        return None
    at_development = [
        threshold.overall.hter.value
        for part in parts
        for threshold in part.thresholds
        if threshold.kind is ThresholdKind.DEVELOPMENT and threshold.overall.hter is not None
    ]
    return FamilyFigure(
        family=family.value,
        question=family.question,
        tests=tuple(tests),
        hter_at_eer=float(np.mean([s.hter_at_eer.value for s in separations])),
        hter_at_development=float(np.mean(at_development))
        if len(at_development) == len(parts)
        else None,
        auc=float(np.mean([s.auc.value for s in separations])),
    )


def worst_captures(scored: ScoredDataset, request: EvaluationRequest) -> list[WorstCapture]:
    """Return the attacks that score highest, then the bona fide captures that score lowest."""
    level = headline_level(request.bundle, request.level)
    points = {
        frozenset(point.modalities): point.threshold
        for point in request.bundle.manifest.operating_points
        if point.level == level
    }
    scores = scored.scores
    chosen: list[int] = []
    for is_bona_fide in (False, True):
        rows = np.flatnonzero(scores.responded & (scores.is_bona_fide == is_bona_fide))
        keys = scores.values[rows] if is_bona_fide else -scores.values[rows]
        chosen += rows[np.argsort(keys, kind="stable")][: request.worst].tolist()
    found = []
    for row in chosen:
        record, score = scored.dataset.records[row], float(scores.values[row])
        threshold = points.get(frozenset(scored.present[row]))
        found.append(
            WorstCapture(
                list=scored.dataset.name,
                index=row,
                id=record.id,
                is_bona_fide=record.is_bona_fide,
                species=record.species,
                subject=record.subject,
                domain=record.domain,
                modalities=tuple(m.value for m in scored.present[row]),
                score=score,
                threshold=threshold,
                is_error=None if threshold is None else (score > threshold) != record.is_bona_fide,
            )
        )
    return found

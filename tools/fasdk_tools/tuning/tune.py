"""Threshold tuning of a bundle on a development set."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.members import CALIBRATION, EVALUATION, GRAPH, MemberKind, kind_of
from fasdk.bundle.signer import Signer
from fasdk.bundle.signing import open_signer
from fasdk.bundle.trust import TrustPolicy
from fasdk.decision import log_odds
from fasdk.errors import DatasetError, OperatingPointError, UsageError
from fasdk_calibration.datasets import DatasetSource, announce_dataset
from fasdk_calibration.datasets.overlap import require_none_shared
from fasdk_calibration.datasets.pseudonyms import PSEUDONYMS, Pseudonyms
from fasdk_calibration.metrics import Scores, fuse
from fasdk_calibration.protocols import NONE_MISSING, Missing, as_missing
from fasdk_calibration.thresholds.levels import (
    DEFAULT_TARGETS,
    LevelTarget,
    Refusal,
)
from fasdk_calibration.thresholds.operating_points import TunedPoint, tune_level
from fasdk_calibration.thresholds.score_calibration import fit_score_calibration
from fasdk_calibration.thresholds.sequential_tuning import TunedTest, has_several_frames, tune_test
from fasdk_tools.evaluation.request import seen_subjects
from fasdk_tools.evaluation.scoring import ScoredDataset, score_subsets
from fasdk_tools.outputs import files_of, require_outputs
from fasdk_tools.tuning.golden import golden_near_thresholds
from fasdk_tools.tuning.report import SubsetReport, TuneReport, sequential_report, subset_report
from fasdk_tools.tuning.site import (
    SITE_METHOD,
    DevelopmentScores,
    calibration_for,
    development_scores,
    retune_level,
)

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.manifest import Manifest, PlanEntry
    from fasdk.capture import Modality
    from fasdk.decision import OperatingPoint, ScoreCalibration
    from fasdk.progress import Progress
    from fasdk_calibration.datasets import Dataset

METHOD = (
    "scores calibrated by a logistic on the log-odds, per combination of modalities; frames of a "
    "presentation fused by their mean; per level the threshold of lowest BPCER at which, for every "
    "PAI species, the one-sided 95 % Clopper-Pearson upper bound of APCER stays within the target; "
    "live is a score greater than the threshold; presentations are taken to be independent of each "
    "other and like those a device will see"
)
SEQUENTIAL_METHOD = (
    "log-likelihood ratio of n frames: the sum of their calibrated log-odds, each within what bona "
    "fide frames show, over 1 + (n - 1) times the intraclass correlation of bona fide frames; "
    "frames in the order of the list; the upper bound is the lowest at which, for every PAI "
    "species, the one-sided 95 % Clopper-Pearson upper bound of the share of presentations whose "
    "verdict is LIVE stays within the target; every presentation counts as one"
)


@dataclass(frozen=True)
class TuneRequest:
    """A tuning to run.

    Attributes:
        bundle: Bundle to read.
        out: Bundle to write.
        protocol: Development captures.
        targets: Levels, and the bound each is held to.
        missing: Sets of modalities to take away, besides what the list's captures lack.
        allow_missing_levels: Write what can be supported where not everything can.
        signer: Key that signs the new bundle; None for the account's build key.
        trust: Signatures the bundle must carry; None for the keys of the machine's trust store.
        threads: CPU threads; 0 for one per core.
        time_limit_ms: Time limit of the sequential tests, in milliseconds.
        vendor_development: Whether the captures are a site's, to be merged with the development
            scores that the bundle carries; see `fasdk_tools.tuning.site`.
    """

    bundle: Path
    out: Path
    protocol: DatasetSource
    targets: tuple[LevelTarget, ...] = DEFAULT_TARGETS
    missing: tuple[Missing, ...] = ()
    allow_missing_levels: bool = False
    signer: Signer | None = None
    trust: TrustPolicy | None = None
    threads: int = 0
    time_limit_ms: float = 5_000.0
    vendor_development: bool = False

    def __post_init__(self) -> None:
        """Take the modalities as their members.

        Raises:
            UsageError: There is no such modality.
        """
        object.__setattr__(self, "missing", as_missing(self.missing))


@dataclass(frozen=True)
class _Subset:
    """Captures with the same modalities: one entry a frame, values are log-odds."""

    modalities: tuple[Modality, ...]
    log_odds: Scores


@dataclass(frozen=True)
class _Tuned:
    subset: _Subset
    calibration: ScoreCalibration | None
    points: tuple[TunedPoint, ...]
    refusals: tuple[Refusal, ...]
    tests: tuple[TunedTest, ...] = ()
    test_refusals: tuple[Refusal, ...] = ()

    def report(self) -> SubsetReport:
        """Return it as JSON shows it."""
        subset = self.subset
        report = subset_report(
            subset.modalities, subset.log_odds, self.calibration, self.points, self.refusals
        )
        return replace(
            report,
            tests=tuple(sequential_report(test) for test in self.tests),
            tests_refused=self.test_refusals,
        )


def tune(request: TuneRequest, progress: Progress | None = None) -> TuneReport:
    """Choose thresholds and write the new bundle, if every requested level can be supported.

    Raises:
        DatasetError: The list or a frame is missing or malformed, a class is absent, an answer is
            not a number, or a subject also calibrated the bundle.
        UsageError: A modality to take away is not the model's, or the output cannot be written.
        FasdkError: The bundle, its signature or the key is not as it should be.
    """
    # What is carried over is signed anew, so it is verified before anything else is done with it.
    _require_options(request)
    bundle = open_bundle(request.bundle, request.trust)
    signer = request.signer or open_signer(None)
    dataset = request.protocol.open()
    vendor = development_scores(bundle) if request.vendor_development else None
    _require_both_classes(dataset)
    require_none_shared(
        seen_subjects(bundle, CALIBRATION, dataset.subjects) or (),
        name=dataset.name,
        other=f"the calibration of {bundle.path}",
        fix="tune on other people",
    )
    announce_dataset(dataset, bundle.manifest.modalities)

    scored = score_subsets(
        bundle,
        dataset,
        (NONE_MISSING, *request.missing),
        threads=request.threads,
        progress=progress,
    )
    graph = bundle.manifest.members[GRAPH]
    subsets = _subsets(bundle.manifest, dataset, scored)
    if vendor is None:
        tuned = [
            _with_tests(
                _tune_subset(subset, request.targets, request.protocol.name, graph), request
            )
            for subset in subsets
        ]
    else:
        tuned = [_retune_subset(subset, request, bundle, vendor) for subset in subsets]
    chosen = [(point.point, each.calibration) for each in tuned for point in each.points]
    plans = _plans_to_keep(bundle, signer)
    notes = (
        *dataset.notes,
        *golden_near_thresholds(bundle, chosen),
        *_dropped_plans(bundle, plans),
    )
    supported = any(each.points for each in tuned)
    complete = not any(each.refusals for each in tuned)
    written = None
    if supported and (complete or request.allow_missing_levels):
        written = _write(request, bundle, dataset, tuned, notes, plans, signer)
    return TuneReport(
        written=written is not None,
        bundle=str(request.out),
        bundle_id=None if written is None else hashlib.sha256(written.to_bytes()).hexdigest(),
        revision=bundle.manifest.revision + 1,
        trust=bundle.trust,
        signed_by=None if written is None else signer.key_id,
        graph_sha256=graph,
        protocol=request.protocol.name,
        captures=len(dataset.records),
        presentations=len(dataset.presentations),
        subjects=len(dataset.subjects),
        notes=notes,
        subsets=tuple(each.report() for each in tuned),
    )


def _require_options(request: TuneRequest) -> None:
    """Refuse now what would fail after all captures were scored."""
    inputs = {"the bundle itself": request.bundle, **files_of("--protocol", request.protocol)}
    require_outputs({"-o": request.out}, inputs)
    if not (math.isfinite(request.time_limit_ms) and request.time_limit_ms > 0.0):
        raise UsageError(
            f"--time-limit-ms {request.time_limit_ms}: expected milliseconds above 0, such as 5000"
        )


def _plans_to_keep(bundle: Bundle, signer: Signer) -> tuple[PlanEntry, ...]:
    """Return the plans that the new bundle may carry.

    A plan is native code that no tuning looks into. Only one that this signer, or a build of this
    account on this machine, has signed before is signed again.
    """
    own = {signer.key_id, open_signer(None).key_id}
    return bundle.manifest.plans if bundle.signed_by in own else ()


def _dropped_plans(bundle: Bundle, kept: tuple[PlanEntry, ...]) -> tuple[str, ...]:
    dropped = [entry.member for entry in bundle.manifest.plans if entry not in kept]
    if not dropped:
        return ()
    return (
        f"{', '.join(dropped)} left out: built elsewhere (the bundle was read with trust: "
        f"{bundle.trust}); the device builds its own, or build the bundle again here",
    )


def _require_both_classes(dataset: Dataset) -> None:
    kinds = {record.is_bona_fide for record in dataset.records}
    if len(kinds) < 2:
        absent = "attack" if kinds == {True} else "bona fide"
        raise DatasetError(
            f"{dataset.name}: no {absent} capture among {len(dataset.records)}: "
            "a threshold needs both classes"
        )


def _subsets(
    manifest: Manifest, dataset: Dataset, scored: Sequence[ScoredDataset]
) -> list[_Subset]:
    """Sort every answer by the modalities it was given on, each capture once a combination."""
    rows: dict[tuple[Modality, ...], dict[int, float]] = {}
    for answers in scored:
        pairs = zip(answers.present, answers.logits, answers.scores.responded, strict=True)
        for index, (present, logits, responded) in enumerate(pairs):
            value = log_odds(logits, manifest.live_index)
            if not (responded and np.isfinite(value)):
                raise DatasetError(
                    f"{dataset.name}: capture {dataset.records[index].id}: the graph's answer is "
                    "not a finite number: no threshold may rest on it, build the bundle again"
                )
            rows.setdefault(present, {}).setdefault(index, value)
    order = {modality: place for place, modality in enumerate(manifest.modalities)}
    return [
        _Subset(
            held,
            Scores.of_captures(
                [dataset.records[i] for i in found], np.array(list(found.values()), np.float64)
            ),
        )
        for held, found in sorted(
            rows.items(), key=lambda item: (-len(item[0]), [order[m] for m in item[0]])
        )
    ]


def _tune_subset(
    subset: _Subset, targets: Sequence[LevelTarget], name: str, graph_sha256: str
) -> _Tuned:
    frames = subset.log_odds
    fused = fuse(frames)
    calibration, scores = None, fused
    # Of one class alone nothing can be fitted; each level then reports what is missing.
    if fused.is_bona_fide.any() and not fused.is_bona_fide.all():
        try:
            calibration = fit_score_calibration(frames, subset.modalities, graph_sha256)
        except OperatingPointError as error:
            refusals = tuple(
                Refusal(target.level, target.max_apcer, subset.modalities, str(error))
                for target in targets
            )
            return _Tuned(subset, None, (), refusals)
        values = np.array([calibration.score(value) for value in frames.values])
        scores = fuse(replace(frames, values=values))
    outcomes = [
        tune_level(
            scores,
            target,
            subset.modalities,
            source=(
                f"tuned on {len(fused)} presentations ({len(frames)} captures) of "
                f"{len(set(fused.subject))} subjects in {name}"
            ),
            graph_sha256=graph_sha256,
            calibrated=True,
        )
        for target in targets
    ]
    return _Tuned(
        subset,
        calibration,
        tuple(each for each in outcomes if isinstance(each, TunedPoint)),
        tuple(each for each in outcomes if isinstance(each, Refusal)),
    )


def _retune_subset(
    subset: _Subset,
    request: TuneRequest,
    bundle: Bundle,
    vendor: Mapping[frozenset[Modality], DevelopmentScores],
) -> _Tuned:
    """Tune a site's captures with the development scores of the bundle.

    The bundle's calibration stays, since the development scores are in it. There is no sequential
    test: its correlation between frames is not the site's.
    """
    frames, held = subset.log_odds, subset.modalities
    stored = vendor.get(frozenset(held))
    try:
        calibration = calibration_for(bundle, held)
    except OperatingPointError as error:
        calibration, stored, reason = None, None, str(error)
    else:
        reason = "the bundle carries no development scores of these modalities"
    if calibration is None or stored is None:
        refusals = tuple(Refusal(t.level, t.max_apcer, held, reason) for t in request.targets)
        return _Tuned(subset, None, (), refusals)
    values = np.array([calibration.score(value) for value in frames.values])
    outcomes = [
        retune_level(
            replace(frames, values=values),
            stored,
            target,
            source=(
                f"tuned on {len(fuse(frames))} site presentations ({len(frames)} captures) in "
                f"{request.protocol.name}"
            ),
            graph_sha256=bundle.manifest.members[GRAPH],
        )
        for target in request.targets
    ]
    return _Tuned(
        subset,
        calibration,
        tuple(each for each in outcomes if isinstance(each, TunedPoint)),
        tuple(each for each in outcomes if isinstance(each, Refusal)),
    )


def _development(tuned: Sequence[_Tuned]) -> list[dict[str, Any]]:
    """Return the scores that a site may later be tuned with, of every calibrated combination."""
    found = []
    for each in tuned:
        if each.calibration is None:
            continue
        frames = each.subset.log_odds
        values = np.array([each.calibration.score(value) for value in frames.values])
        scores = fuse(replace(frames, values=values))
        found.append(DevelopmentScores.of(each.subset.modalities, scores).model_dump(mode="json"))
    return found


def _with_tests(tuned: _Tuned, request: TuneRequest) -> _Tuned:
    """Add a sequential test to each level that has a threshold, where the frames support one."""
    calibration, frames = tuned.calibration, tuned.subset.log_odds
    if calibration is None or not has_several_frames(frames):
        return tuned
    values = np.array([calibration.score(value) for value in frames.values])
    outcomes = [
        tune_test(
            replace(frames, values=values),
            point.target,
            tuned.subset.modalities,
            max_ms=request.time_limit_ms,
            source=f"tuned on {request.protocol.name}",
            graph_sha256=calibration.graph_sha256,
        )
        for point in tuned.points
    ]
    return replace(
        tuned,
        tests=tuple(each for each in outcomes if isinstance(each, TunedTest)),
        test_refusals=tuple(each for each in outcomes if isinstance(each, Refusal)),
    )


def _write(
    request: TuneRequest,
    bundle: Bundle,
    dataset: Dataset,
    tuned: Sequence[_Tuned],
    notes: Sequence[str],
    plans: tuple[PlanEntry, ...],
    signer: Signer,
) -> Manifest:
    """Write the bundle with its thresholds and these plans; graph and golden captures stay."""
    points = tuple(point.point for each in tuned for point in each.points)
    calibrations = tuple(each.calibration for each in tuned if each.calibration and each.points)
    refused = [refusal.id for each in tuned for refusal in each.refusals]
    note = (
        f"tuned on {len(dataset.records)} captures of {len(dataset.subjects)} subjects in "
        f"{request.protocol.name}"
    )
    if refused:
        note += f"; not supported: {', '.join(refused)}"
    kept = {entry.member for entry in plans}
    members = {
        name: bytes(content)
        for name, content in bundle.members.items()
        if kind_of(name) is not MemberKind.PLAN or name in kept
    }
    members[EVALUATION] = json.dumps(
        _evaluation(request, bundle, dataset, tuned, points, notes), indent=1, sort_keys=True
    ).encode()
    manifest = bundle.manifest.model_copy(
        update={
            "revision": bundle.manifest.revision + 1,
            "operating_points": points,
            "operating_points_note": note,
            "score_calibrations": calibrations,
            "plans": plans,
            "sequential_tests": tuple(found.test for each in tuned for found in each.tests),
        }
    )
    return write_bundle(request.out, manifest, members, signer)


def _evaluation(
    request: TuneRequest,
    bundle: Bundle,
    dataset: Dataset,
    tuned: Sequence[_Tuned],
    points: Sequence[OperatingPoint],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Return evaluation.json: enough for a reviewer to count again."""
    records = dataset.records
    named = Pseudonyms.of_record("tuned", request.protocol.name)
    lines = [json.dumps(r.model_dump(mode="json"), sort_keys=True) for r in records]
    return {
        "kind": "tuned",
        "tool": f"fasdk {version('fasdk')}",
        "list": request.protocol.name,
        "list_sha256": request.protocol.sha256(),
        "records_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "from_bundle": bundle.id,
        "graph_sha256": bundle.manifest.members[GRAPH],
        "precision": bundle.manifest.precision.value,
        "method": SITE_METHOD if request.vendor_development else METHOD,
        "sequential_method": SEQUENTIAL_METHOD,
        # Not of a site's few captures: nobody may borrow them for the vendor's.
        "development_scores": [] if request.vendor_development else _development(tuned),
        "unit": "presentation",
        "notes": list(notes),
        "captures": len(records),
        "presentations": len(dataset.presentations),
        "subjects": sorted(map(named.of, dataset.subjects)),
        PSEUDONYMS: named.described(),
        "domains": sorted({r.domain for r in records}),
        "targets": {target.level: target.max_apcer for target in request.targets},
        "missing": [[m.value for m in sorted(each)] for each in request.missing],
        "operating_points": [point.model_dump(mode="json") for point in points],
        "score_calibrations": [
            each.calibration.model_dump(mode="json") for each in tuned if each.calibration
        ],
        "sequential_tests": [
            found.test.model_dump(mode="json") for each in tuned for found in each.tests
        ],
        "subsets": [asdict(each.report()) for each in tuned],
    }

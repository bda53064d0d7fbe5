"""Tuning report, in JSON and in tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk_calibration.metrics import ErrorRate, fuse
from fasdk_calibration.thresholds.levels import Refusal, refusal_messages
from fasdk_calibration.thresholds.operating_points import TunedPoint

if TYPE_CHECKING:
    from fasdk.capture import Modality
    from fasdk.decision import ScoreCalibration
    from fasdk_calibration.metrics import Scores
    from fasdk_calibration.thresholds.sequential_tuning import TunedTest


@dataclass(frozen=True)
class CountedRate:
    """An error rate among presentations.

    Attributes:
        rate: errors / attempts, in [0, 1].
        one_sided_upper: One-sided 95 % Clopper-Pearson upper bound.
        errors: Number of presentations classified wrongly.
        attempts: Number of presentations classified.
    """

    rate: float
    one_sided_upper: float
    errors: int
    attempts: int


@dataclass(frozen=True)
class LevelReport:
    """A level's threshold and the error rates at it.

    Attributes:
        level: Name of the level.
        target: APCER bound the level was held to.
        threshold: P(bona fide); a greater score is live.
        apcer_upper: One-sided 95 % upper bound of the worst species' APCER.
        worst_species: Species of that bound.
        apcer: APCER of each PAI species.
        bpcer: BPCER: bona fide presentations rejected.
    """

    level: str
    target: float
    threshold: float
    apcer_upper: float
    worst_species: str
    apcer: dict[str, CountedRate]
    bpcer: CountedRate


@dataclass(frozen=True)
class SequentialReport:
    """A level's sequential test and the error rates of its verdicts.

    Attributes:
        level: Name of the level.
        target: APCER bound the level was held to.
        live_bound: LIVE above this log-likelihood ratio, in nats.
        spoof_bound: SPOOF at this or less, in nats.
        max_frames: Largest number of frames of one test.
        max_ms: Time limit, in milliseconds.
        correlation: Correlation between two frames of a presentation.
        most_per_frame: Limit of one frame's evidence, in nats.
        apcer_upper: One-sided 95 % upper bound of the worst species' APCER of the verdict.
        worst_species: Species of that bound.
        apcer: Attacks that end LIVE, by PAI species.
        bpcer: Bona fide presentations that end otherwise than LIVE.
        undecided: Bona fide presentations that end undecided, among those.
        mean_frames_bona_fide: Frames to the end of a bona fide presentation, on average.
        mean_frames_attack: Frames to the end of an attack, on average.
        left_out: Presentations with fewer frames than the limit.
    """

    level: str
    target: float
    live_bound: float
    spoof_bound: float
    max_frames: int
    max_ms: float
    correlation: float
    most_per_frame: float
    apcer_upper: float
    worst_species: str
    apcer: dict[str, CountedRate]
    bpcer: CountedRate
    undecided: CountedRate
    mean_frames_bona_fide: float
    mean_frames_attack: float
    left_out: int


@dataclass(frozen=True)
class SubsetReport:
    """Thresholds of one combination of modalities.

    Attributes:
        modalities: Modalities of the combination, in model order.
        captures: Number of captures that hold exactly these, or were left with them.
        presentations: Number of their presentations.
        bona_fide: Number of bona fide presentations.
        attacks: Number of attack presentations by PAI species.
        subjects: Number of different subjects.
        calibration: Slope and offset of the score calibration, or None where none could be fitted.
        levels: Levels with a threshold.
        refused: Levels without a threshold, and why.
        tests: Sequential tests, where the list has presentations of several frames.
        tests_refused: Levels with a threshold and without a sequential test, and why.
    """

    modalities: tuple[str, ...]
    captures: int
    presentations: int
    bona_fide: int
    attacks: dict[str, int]
    subjects: int
    calibration: dict[str, float] | None
    levels: tuple[LevelReport, ...]
    refused: tuple[Refusal, ...]
    tests: tuple[SequentialReport, ...] = ()
    tests_refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class TuneReport:
    """Result of a tuning.

    Attributes:
        written: Whether the new bundle was written.
        bundle: File of the new bundle.
        bundle_id: SHA-256 of its manifest, or None where it was not written.
        revision: Revision of the new bundle.
        trust: Trust mode the bundle was read in: "key" and the id of the key, or "unsigned".
        signed_by: Id of the key that signed the new bundle, or None where it was not written.
        graph_sha256: The graph the thresholds belong to.
        protocol: Name of the development list.
        captures: Captures in it.
        presentations: Presentations in it.
        subjects: People in it.
        notes: Reservations about the bounds: facts the list does not state, and golden captures
            that lie on a threshold.
        subsets: By combination of modalities, most modalities first.
    """

    written: bool
    bundle: str
    bundle_id: str | None
    revision: int
    trust: str
    signed_by: str | None
    graph_sha256: str
    protocol: str
    captures: int
    presentations: int
    subjects: int
    notes: tuple[str, ...]
    subsets: tuple[SubsetReport, ...]

    @property
    def refusals(self) -> list[str]:
        """One sentence for each level without a threshold, modalities of one reason together."""
        return refusal_messages(each for subset in self.subsets for each in subset.refused)

    @property
    def test_refusals(self) -> list[str]:
        """One sentence for each level without a sequential test."""
        refused = (each for subset in self.subsets for each in subset.tests_refused)
        return [f"no sequential test: {message}" for message in refusal_messages(refused)]


def subset_report(
    modalities: Sequence[Modality],
    frames: Scores,
    calibration: ScoreCalibration | None,
    points: Sequence[TunedPoint],
    refusals: Sequence[Refusal],
) -> SubsetReport:
    """Return what was found for one combination of modalities.

    Args:
        modalities: The combination, in model order.
        frames: Log-odds, one entry a capture.
        calibration: Calibration of the scores to probabilities, or None.
        points: Levels with a threshold.
        refusals: Levels without one.
    """
    fused = fuse(frames)
    pairs = zip(fused.species, fused.is_bona_fide, strict=True)
    attacks = [species for species, live in pairs if not live]
    return SubsetReport(
        modalities=tuple(m.value for m in modalities),
        captures=len(frames),
        presentations=len(fused),
        bona_fide=len(fused) - len(attacks),
        attacks={name: attacks.count(name) for name in sorted(set(attacks))},
        subjects=len(set(fused.subject)),
        calibration=None
        if calibration is None
        else {"slope": calibration.slope, "offset": calibration.offset},
        levels=tuple(_level_report(point) for point in points),
        refused=tuple(refusals),
    )


def sequential_report(tuned: TunedTest) -> SequentialReport:
    """Return a sequential test as JSON shows it."""
    test = tuned.test
    return SequentialReport(
        level=test.level,
        target=tuned.target.max_apcer,
        live_bound=test.live_bound,
        spoof_bound=test.spoof_bound,
        max_frames=test.max_frames,
        max_ms=test.max_ms,
        correlation=test.evidence.correlation,
        most_per_frame=test.evidence.most_per_frame,
        apcer_upper=test.apcer_upper,
        worst_species=tuned.worst_species,
        apcer={name: _counted(rate) for name, rate in tuned.apcer.items()},
        bpcer=_counted(tuned.bpcer),
        undecided=_counted(tuned.undecided),
        mean_frames_bona_fide=tuned.mean_frames_bona_fide,
        mean_frames_attack=tuned.mean_frames_attack,
        left_out=tuned.left_out,
    )


def _level_report(tuned: TunedPoint) -> LevelReport:
    return LevelReport(
        level=tuned.point.level,
        target=tuned.target.max_apcer,
        threshold=tuned.point.threshold,
        apcer_upper=tuned.point.apcer_upper,
        worst_species=tuned.worst_species,
        apcer={name: _counted(rate) for name, rate in tuned.apcer.items()},
        bpcer=_counted(tuned.bpcer),
    )


def _counted(rate: ErrorRate) -> CountedRate:
    return CountedRate(rate.rate, rate.upper(), rate.errors, rate.total)

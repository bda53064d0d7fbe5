"""Tuning of sequential tests (Wald), counted in whole presentations as frames are correlated.

A presentation counts as one, however many frames it has. The statistic that is held to the bound is
the highest log-likelihood ratio a presentation reaches before it is a SPOOF or out of frames: it is
LIVE exactly when that is above the upper bound. So the upper bound is chosen as a threshold is
(`operating_points.least_threshold`), and the argument there holds for the sequential verdict: all
else that shapes the statistic (the frame limit, the correlation, what one frame may say, the lower
bound) is taken from the number of frames and from bona fide presentations alone, never from the
attacks that are counted. As for operating points, the score calibration has seen both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.sequential import Evidence, ScoredFrame, SequentialRun, SequentialTest, Step
from fasdk_calibration.metrics import ErrorRate, logit
from fasdk_calibration.thresholds.levels import LevelTarget, Refusal, Shortfall
from fasdk_calibration.thresholds.operating_points import (
    counts,
    least_threshold,
    require_probabilities,
    species_of_highest_bound,
)
from fasdk_calibration.thresholds.score_calibration import PRIOR

if TYPE_CHECKING:
    from fasdk.capture import Modality
    from fasdk_calibration.metrics import Scores

MOST_FRAMES = 16
_LONG_ENOUGH = 0.9  # of the presentations of several frames have at least the frame limit
_REFUSED = 0.02  # of bona fide presentations the lower bound may take for a SPOOF
_CLEAR = 0.25  # nats it lies below those it must not take, so that rounding refuses nobody
_LEAST_EVIDENCE = 1e-6
_SIGNIFICANT_DIGITS = 9


@dataclass(frozen=True)
class TunedTest:
    """A level's sequential test and the error rates of its verdicts, in presentations.

    Attributes:
        test: Sequential test for the bundle.
        target: Level and bound it was held to.
        apcer: APCER of each PAI species: attacks that end LIVE.
        bpcer: BPCER: bona fide presentations that do not end LIVE.
        undecided: Bona fide presentations among those that end undecided: a RETRY, not a SPOOF.
        worst_species: Species with the highest bound.
        mean_frames_bona_fide: Frames to the end of a bona fide presentation's run, on average.
        mean_frames_attack: Frames to the end of an attack's, on average.
        left_out: Presentations with fewer frames than the limit.
    """

    test: SequentialTest
    target: LevelTarget
    apcer: Mapping[str, ErrorRate]
    bpcer: ErrorRate
    undecided: ErrorRate
    worst_species: str
    mean_frames_bona_fide: float
    mean_frames_attack: float
    left_out: int


@dataclass(frozen=True)
class _Presentation:
    """One presentation's calibrated scores, in order of time."""

    scores: tuple[float, ...]
    is_bona_fide: bool
    species: str


@dataclass(frozen=True)
class _Ended:
    step: Step
    frames: int


def has_several_frames(frames: Scores) -> bool:
    """Return whether any presentation has more than one frame."""
    keys = list(zip(frames.domain, frames.presentation, strict=True))
    return len(set(keys)) < len(keys)


def tune_test(
    frames: Scores,
    target: LevelTarget,
    modalities: Sequence[Modality],
    *,
    max_ms: float,
    source: str,
    graph_sha256: str,
) -> TunedTest | Refusal:
    """Return the test of lowest BPCER that keeps every species' APCER bound to the target.

    Args:
        frames: Calibrated scores, one entry a frame, those of a presentation in order of time,
            every capture with the same modalities.
        target: Security level with its APCER bound.
        modalities: Modalities that the captures hold, in model order.
        max_ms: Time limit to write into it, in milliseconds; a list tells no times.
        source: Description of the captures; the counts are appended.
        graph_sha256: The graph that gave the scores.

    Returns:
        The test, or why the presentations support none.

    Raises:
        DatasetError: A score is not in [0, 1].
    """
    require_probabilities(frames.values)
    presentations = _presentations(frames)
    limit = _frame_limit([len(each.scores) for each in presentations])
    if limit is None:
        shortfall = Shortfall("no presentation has more than one frame: give several, in order")
        return shortfall.of(target, modalities)
    kept = [
        _Presentation(each.scores[:limit], each.is_bona_fide, each.species)
        for each in presentations
        if len(each.scores) >= limit
    ]
    bona_fide = [each for each in kept if each.is_bona_fide]
    if len(bona_fide) < 2:
        shortfall = Shortfall(
            f"{len(bona_fide)} bona fide presentations with {limit} frames: a correlation needs two"
        )
        return shortfall.of(target, modalities)
    evidence = _fit(bona_fide)
    spoof_bound = _spoof_bound(bona_fide, evidence, target.max_apcer)
    chosen = least_threshold(
        np.array([_peak(each, evidence, spoof_bound) for each in kept]),
        np.array([each.is_bona_fide for each in kept], bool),
        [each.species for each in kept],
        target.max_apcer,
        floor=0.0,  # LIVE takes evidence for it, however well the classes separate
        expected={each.species for each in presentations if not each.is_bona_fide},
        unit=f"presentations with {limit} frames",
    )
    if isinstance(chosen, Shortfall):
        if not chosen.shortages:
            chosen = Shortfall(f"presentations with {limit} frames: {chosen.reason}")
        return chosen.of(target, modalities)
    draft = SequentialTest(
        level=target.level,
        modalities=tuple(modalities),
        evidence=evidence,
        live_bound=chosen,
        spoof_bound=spoof_bound,
        max_frames=limit,
        max_ms=max_ms,
        source=source,
        apcer_upper=1.0,
        graph_sha256=graph_sha256,
    )
    return _counted(draft, kept, target, left_out=len(presentations) - len(kept))


def _counted(
    draft: SequentialTest, kept: Sequence[_Presentation], target: LevelTarget, *, left_out: int
) -> TunedTest:
    """Run the device's own test on every presentation and fill in what was found."""
    ended = [(each, _run(each, draft)) for each in kept]
    bona_fide = [run for each, run in ended if each.is_bona_fide]
    attacks = [(each.species, run) for each, run in ended if not each.is_bona_fide]
    apcer = {
        species: _share([run.step is Step.LIVE for name, run in attacks if name == species])
        for species in sorted({name for name, _ in attacks})
    }
    bpcer = _share([run.step is not Step.LIVE for run in bona_fide])
    worst = species_of_highest_bound(apcer)
    test = draft.model_copy(
        update={
            "apcer_upper": apcer[worst].upper(),
            "source": (
                f"{draft.source}; {len(kept)} presentations of {draft.max_frames} frames, bound "
                f"{target.max_apcer:g}; {counts(apcer, bpcer)}"
            ),
        }
    )
    return TunedTest(
        test=test,
        target=target,
        apcer=apcer,
        bpcer=bpcer,
        undecided=_share([run.step is Step.OUT_OF_FRAMES for run in bona_fide]),
        worst_species=worst,
        mean_frames_bona_fide=float(np.mean([run.frames for run in bona_fide])),
        mean_frames_attack=float(np.mean([run.frames for _, run in attacks])),
        left_out=left_out,
    )


def _presentations(frames: Scores) -> list[_Presentation]:
    rows: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(frames.domain, frames.presentation, strict=True)):
        rows.setdefault(key, []).append(row)
    return [
        _Presentation(
            tuple(float(frames.values[row]) for row in found),
            bool(frames.is_bona_fide[found[0]]),
            frames.species[found[0]],
        )
        for found in rows.values()
    ]


def _frame_limit(lengths: Sequence[int]) -> int | None:
    """Return the most frames that nine in ten presentations of several have, 16 at most.

    Of one with fewer frames nobody knows how it would have gone on, so it cannot count.
    """
    several = sorted(length for length in lengths if length > 1)
    if not several:
        return None
    return min(several[int((1.0 - _LONG_ENOUGH) * len(several) + 1e-9)], MOST_FRAMES)


def _fit(bona_fide: Sequence[_Presentation]) -> Evidence:
    """Return how much frames say: as much as bona fide ones have been seen to, and together.

    The correlation is the intraclass correlation of a one-way analysis of variance (Shrout and
    Fleiss, "Intraclass correlations", Psychological Bulletin 86, 1979, case 1).
    """
    values = logit(np.array([each.scores for each in bona_fide])) - logit(PRIOR)
    presentations, frames = values.shape
    means = values.mean(axis=1)
    between = frames * float(((means - means.mean()) ** 2).sum()) / (presentations - 1)
    within = float(((values - means[:, None]) ** 2).sum()) / (presentations * (frames - 1))
    spread = between + (frames - 1) * within
    correlation = (between - within) / spread if spread > 0.0 else 1.0  # all alike: one frame's say
    return Evidence(
        prior=PRIOR,
        correlation=_rounded(min(max(correlation, 0.0), 1.0)),
        most_per_frame=_rounded(max(float(np.abs(values).max()), _LEAST_EVIDENCE)),
    )


def _spoof_bound(bona_fide: Sequence[_Presentation], evidence: Evidence, max_apcer: float) -> float:
    """Return the lower of Wald's bound and what few enough bona fide presentations sink to."""
    lowest = sorted(min(_ratios(each, evidence)) for each in bona_fide)
    observed = lowest[int(_REFUSED * len(lowest) + 1e-9)] - _CLEAR
    return min(math.log(_REFUSED / (1.0 - max_apcer)), observed)


def _ratios(presentation: _Presentation, evidence: Evidence) -> list[float]:
    """Return the log-likelihood ratio after each frame, added up as the device does."""
    ratios, total = [], 0.0
    for number, score in enumerate(presentation.scores, 1):
        total += evidence.of_frame(score)
        ratios.append(evidence.ratio(total, number))
    return ratios


def _peak(presentation: _Presentation, evidence: Evidence, spoof_bound: float) -> float:
    """Return the highest log-likelihood ratio reached before a SPOOF."""
    peak = spoof_bound
    for ratio in _ratios(presentation, evidence):
        if ratio <= spoof_bound:
            break
        peak = max(peak, ratio)
    return peak


def _run(presentation: _Presentation, test: SequentialTest) -> _Ended:
    run = SequentialRun(test)
    step = Step.UNDECIDED
    for score in presentation.scores:
        step = run.add(ScoredFrame(score, False, 0.0))
        if step is not Step.UNDECIDED:
            break
    return _Ended(step, run.frames)


def _share(outcomes: Sequence[bool]) -> ErrorRate:
    return ErrorRate(sum(outcomes), len(outcomes))


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")

"""Sequential tests over several frames: Wald's test, and a count of consecutive frames.

Each frame's calibrated score is turned into evidence, the natural log-likelihood ratio of bona fide
against attack: its log-odds less the prior's. Frames of one person are not independent, so the sum
of their evidence is too large. With S the sum over n frames and r the correlation of two frames,

    L(n) = S / (1 + (n - 1) r)

is the log-likelihood ratio of n equally correlated Gaussian frames: the plain sum of Wald's test at
r = 0, the running mean at r = 1, which no number of further frames can inflate. LIVE once L is
greater than an upper bound, SPOOF once it is at most a lower one, undecided at the last frame or
after the last millisecond: never LIVE (Wald, "Sequential tests of statistical hypotheses", Annals
of Mathematical Statistics 16, 1945; the factor is Kish's design effect, "Survey Sampling", 1965).

Nothing here reads a clock, holds a lock or starts a thread.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fasdk.capture import Modality
from fasdk.decision import distinct, point_id
from fasdk.errors import UsageError
from fasdk.truth import NoTruthValue


class Step(NoTruthValue, str, Enum):
    """State of a run after a frame; every step but UNDECIDED ends it."""

    UNDECIDED = "undecided"
    LIVE = "live"
    SPOOF = "spoof"
    OUT_OF_FRAMES = "out of frames"
    OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class ScoredFrame:
    """Score of one frame by itself.

    Attributes:
        score: P(bona fide) in [0, 1].
        is_live: Whether the frame alone is LIVE at its operating point.
        at_ms: Time of its submission, in milliseconds of a clock that never runs backwards.
    """

    score: float
    is_live: bool
    at_ms: float


class Evidence(BaseModel):
    """Evidence of the frames of one person, in nats.

    Attributes:
        prior: Probability of bona fide that the calibrated scores assume, in (0, 1).
        correlation: Correlation between the evidence of two frames of one presentation, in [0, 1].
        most_per_frame: Limit of a single frame's absolute evidence, in nats: no score may count
            for more than the captures it was fitted on support.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: float = Field(gt=0.0, lt=1.0, allow_inf_nan=False)
    correlation: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    most_per_frame: float = Field(gt=0.0, allow_inf_nan=False)

    def of_frame(self, score: float) -> float:
        """Return the evidence of one frame's score in nats; NaN unless the score is in [0, 1]."""
        if not 0.0 <= score <= 1.0:
            return math.nan
        if score in (0.0, 1.0):
            return math.copysign(self.most_per_frame, score - 0.5)
        prior = math.log(self.prior) - math.log1p(-self.prior)
        value = math.log(score) - math.log1p(-score) - prior
        return min(max(value, -self.most_per_frame), self.most_per_frame)

    def ratio(self, total: float, frames: int) -> float:
        """Return the log-likelihood ratio of frames whose evidence adds up to `total`, in nats."""
        return total / (1.0 + (frames - 1) * self.correlation) if frames else 0.0


class SequentialTest(BaseModel):
    """Sequential test with the error rates measured on whole presentations.

    Attributes:
        level: Security level it was tuned for; an operating point of that level and of the same
            modalities must exist.
        modalities: Modalities every frame holds, in model order.
        evidence: Parameters of the frames' evidence.
        live_bound: LIVE once the log-likelihood ratio is greater; in nats, above 0.
        spoof_bound: SPOOF once it is at most this; in nats, below 0.
        max_frames: Number of frames after which an undecided run ends in RETRY; at least 2.
        max_ms: Time after the first frame, in milliseconds, after which an undecided run ends in
            RETRY.
        source: Description of the presentations it was tuned on, for a reviewer to check.
        apcer_upper: One-sided 95 % upper bound of the worst PAI species' APCER of the verdict, in
            [0, 1].
        graph_sha256: SHA-256 of the graph whose scores it was tuned on, in hexadecimal.
        calibrated: Always true: uncalibrated scores are not likelihoods.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: str
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1), AfterValidator(distinct)]
    evidence: Evidence
    live_bound: float = Field(gt=0.0, allow_inf_nan=False)
    spoof_bound: float = Field(lt=0.0, allow_inf_nan=False)
    max_frames: int = Field(ge=2)
    max_ms: float = Field(gt=0.0, allow_inf_nan=False)
    source: str
    apcer_upper: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    graph_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    calibrated: Literal[True] = True

    @property
    def id(self) -> str:
        """Name: that of the operating point of the same security level and modalities."""
        return point_id(self.level, self.modalities)


def select_test(tests: Sequence[SequentialTest], operating_point: str) -> SequentialTest | None:
    """Return the test for an operating point's name, or None."""
    return next((test for test in tests if test.id == operating_point), None)


class Run(Protocol):
    """Sequential decision on one person's frames, up to a step that ends it.

    Attributes:
        frames: Number of frames that counted.
    """

    frames: int

    @property
    def log_likelihood_ratio(self) -> float | None:
        """Log-likelihood ratio of the frames together, in nats; None where the rule has none."""

    def add(self, frame: ScoredFrame) -> Step:
        """Take in one frame; one whose score is not in [0, 1] changes nothing.

        Raises:
            UsageError: The run has ended: its frames have been used.
        """

    def is_expired(self, at_ms: float) -> bool:
        """Return whether the time limit is over, counted from the first frame."""


class _Timed(ABC):
    """Base of both rules: frame count, time limit and end of a run."""

    def __init__(self, max_ms: float) -> None:
        self.frames = 0
        self._max_ms = max_ms
        self._began_ms: float | None = None
        self._ended = False

    def is_expired(self, at_ms: float) -> bool:
        """Return whether the time limit is over, counted from the first frame."""
        # Written so that a NaN counts as expired.
        return self._began_ms is not None and not at_ms - self._began_ms <= self._max_ms

    def add(self, frame: ScoredFrame) -> Step:
        """Take in one frame; see `Run.add`."""
        if self._ended:
            raise UsageError("this run has ended: start another for the next person")
        if not 0.0 <= frame.score <= 1.0:
            return Step.UNDECIDED
        if self.is_expired(frame.at_ms):
            step = Step.OUT_OF_TIME
        else:
            if self._began_ms is None:
                self._began_ms = frame.at_ms
            self.frames += 1
            step = self._count(frame)
        self._ended = step is not Step.UNDECIDED
        return step

    @abstractmethod
    def _count(self, frame: ScoredFrame) -> Step:
        """Take in a frame with a score within the time limit."""


class SequentialRun(_Timed):
    """Run of a sequential test on one person.

    Args:
        test: Sequential test to run.
        max_ms: Further time limit in milliseconds; the shorter of both holds.
        raised_nats: Log-likelihood ratio that LIVE takes beyond the test's bound, in nats.
    """

    def __init__(
        self, test: SequentialTest, max_ms: float = math.inf, raised_nats: float = 0.0
    ) -> None:
        super().__init__(min(test.max_ms, max_ms))
        self._test = test
        self._live_bound = test.live_bound + raised_nats
        self._total = 0.0

    @property
    def log_likelihood_ratio(self) -> float | None:
        """Log-likelihood ratio of the frames together, in nats."""
        return self._test.evidence.ratio(self._total, self.frames)

    def _count(self, frame: ScoredFrame) -> Step:
        test = self._test
        self._total += test.evidence.of_frame(frame.score)
        ratio = test.evidence.ratio(self._total, self.frames)
        if ratio > self._live_bound:
            return Step.LIVE
        if ratio <= test.spoof_bound:
            return Step.SPOOF
        return Step.OUT_OF_FRAMES if self.frames >= test.max_frames else Step.UNDECIDED


class ConsecutiveRun(_Timed):
    """Run where no sequential test was tuned: LIVE after enough LIVE frames in a row.

    It is LIVE only where each of its frames alone would have been.

    Args:
        required: LIVE frames in a row, at least 1.
        max_ms: Time limit in milliseconds.
    """

    def __init__(self, required: int, max_ms: float) -> None:
        super().__init__(max_ms)
        self._required = required

    @property
    def log_likelihood_ratio(self) -> float | None:
        """None: this rule counts frames."""
        return None

    def _count(self, frame: ScoredFrame) -> Step:
        if not frame.is_live:
            return Step.SPOOF
        return Step.LIVE if self.frames >= self._required else Step.UNDECIDED

"""Report of a commissioning: its verdict, its checks, and the limits it proposes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.decision import select_point
from fasdk.errors import OperatingPointError
from fasdk.site import Commissioned, SiteProfile
from fasdk.site.profile import TIGHTENS, Tightens
from fasdk_calibration.metrics import ErrorRate
from fasdk_tools.commissioning.baseline import baseline_of
from fasdk_tools.commissioning.checks import (
    Area,
    Check,
    Presentation,
    Status,
    attack_checks,
    gate_checks,
    rig_checks,
    score_checks,
    sensor_checks,
    turned_away,
)
from fasdk_tools.commissioning.plan import StepKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.decision import OperatingPoint
    from fasdk.quality import QualityLimits
    from fasdk.site.baseline import Baseline
    from fasdk_tools.commissioning.commissioning import Commissioning, Reading

_FEWEST = 50  # captures that may propose a limit
_WHOLE = ("min_face_px", "min_distance_mm", "max_distance_mm", "min_highlight")
# Where to stand, the light on the face and the clock. Sharpness, depth holes and infrared tell
# prints and screens from people: a tighter gate there would turn a SPOOF into a RETRY.
_PROPOSED = {
    "min_face_px": "face_px",
    "min_distance_mm": "distance_mm",
    "max_distance_mm": "distance_mm",
    "min_highlight": "highlight",
    "max_skew_ms": "skew_ms",
}


@dataclass(frozen=True)
class Proposal:
    """A limit that the site's captures allow to tighten.

    Attributes:
        name: Name of the limit in `QualityLimits`.
        present: Limit in force; None where it is off.
        proposed: Limit for the site profile.
    """

    name: str
    present: float | None
    proposed: float


@dataclass(frozen=True)
class CommissionReport:
    """Result of a commissioning.

    Attributes:
        bundle_id: Identifier of the bundle.
        camera: Identity of the camera.
        level: Security level.
        threshold: Threshold the scores were held against; None without one.
        captures: Captures that were looked at.
        turned_away: People's captures that each reason turned away, by code.
        people_captures: People's captures that were looked at.
        share_turned_away: Fraction of them that a gate turned away, in [0, 1].
        presentations: Presentations, each with its mean score.
        checks: Every check.
        proposals: Limits that can be tightened.
        baseline: What was usual, for the door's health; None where too little was seen.
        max_bpcer: BPCER whose bound was asked for.
    """

    bundle_id: str
    camera: str
    level: str
    threshold: float | None
    captures: int
    turned_away: dict[str, int]
    people_captures: int
    share_turned_away: float
    presentations: tuple[Presentation, ...]
    checks: tuple[Check, ...]
    proposals: tuple[Proposal, ...]
    baseline: Baseline | None
    max_bpcer: float

    @property
    def is_ready(self) -> bool:
        """Whether no check failed."""
        return all(check.status is not Status.FAIL for check in self.checks)

    def of(self, kind: StepKind) -> tuple[Presentation, ...]:
        """Return the presentations of people, or of attacks, that have a score."""
        return tuple(
            each for each in self.presentations if each.kind is kind and math.isfinite(each.score)
        )

    def document(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        baseline = None if self.baseline is None else self.baseline.model_dump(mode="json")
        verdict = "READY" if self.is_ready else "NOT READY"
        return {"verdict": verdict, **asdict(self), "baseline": baseline}

    def profile(self, made_unix_s: float) -> SiteProfile:
        """Return the site profile; for a report that is ready.

        Args:
            made_unix_s: Time of the commissioning, in seconds since the Unix epoch.
        """
        people = self.of(StepKind.PERSON)
        threshold = 1.0 if self.threshold is None else self.threshold
        refused = ErrorRate(sum(each.score <= threshold for each in people), len(people))
        attacks: dict[str, tuple[int, int]] = {}
        for each in self.of(StepKind.ATTACK):
            shown, accepted = attacks.get(each.name, (0, 0))
            attacks[each.name] = (shown + 1, accepted + (each.score > threshold))
        return SiteProfile(
            bundle_id=self.bundle_id,
            camera=self.camera,
            level=self.level,
            made_unix_s=int(made_unix_s),
            limits={each.name: each.proposed for each in self.proposals},
            commissioned=Commissioned(
                people=len({each.name for each in people}),
                presentations=refused.total,
                refused=refused.errors,
                bpcer_upper=refused.upper(),
                threshold=threshold,
                turned_away=self.share_turned_away,
                attacks=attacks,
            ),
            baseline=self.baseline,
        )


def report_of(
    commissioning: Commissioning, *, max_bpcer: float = 0.15, dropped: int = 0
) -> CommissionReport:
    """Return the report of a commissioning, whether all its steps are done or not.

    Args:
        commissioning: The commissioning.
        max_bpcer: BPCER whose one-sided 95 % upper bound people's scores must support.
        dropped: Captures that the camera dropped.
    """
    session, plan = commissioning.session, commissioning.plan
    readings = commissioning.readings
    manifest, limits = session.bundle.manifest, session.limits
    people = [each for each in readings if plan.steps[each.step].kind is StepKind.PERSON]
    shown = _presentations(commissioning)
    point = _point(commissioning)
    threshold = None if point is None else point.threshold
    of_people = [each for each in shown if each.kind is StepKind.PERSON]
    of_attacks = [each for each in shown if each.kind is StepKind.ATTACK]
    checks = [
        *sensor_checks(readings, manifest.modalities, limits, commissioning.faults, dropped),
        *rig_checks(people, commissioning.rig),
        *gate_checks(people),
        *score_checks(of_people, threshold, max_bpcer),
        *attack_checks(of_attacks, threshold, None if point is None else point.apcer_upper),
    ]
    done = commissioning.progress.done
    if done < len(plan.steps):
        checks.append(
            Check(
                Area.SENSORS,
                "captures",
                Status.WARN,
                f"the captures ended after {done} of {len(plan.steps)} presentations",
                "run it again with a camera that goes on",
            )
        )
    return CommissionReport(
        bundle_id=session.bundle.id,
        camera=commissioning.camera,
        level=session.level,
        threshold=threshold,
        captures=len(readings),
        turned_away={reason.value: count for reason, count in turned_away(people).items()},
        people_captures=len(people),
        share_turned_away=sum(bool(each.codes) for each in people) / max(1, len(people)),
        presentations=tuple(shown),
        checks=tuple(checks),
        proposals=proposals([each for each in people if each.is_judged], limits),
        baseline=baseline_of(commissioning.groups),
        max_bpcer=max_bpcer,
    )


def proposals(judged: Sequence[Reading], limits: QualityLimits) -> tuple[Proposal, ...]:
    """Return limits that can be tightened to where people were, with room to spare.

    The room beyond the extreme value is half the way from the median to it. The next value of n
    like these is beyond the extreme with a probability of 1 / (n + 1).

    Args:
        judged: People's captures that passed the gates.
        limits: Quality limits in force.
    """
    found = []
    for name, attribute in _PROPOSED.items():
        values = _values(judged, attribute)
        # A recording's frames have one time: that says nothing about the camera's clock.
        if len(values) < _FEWEST or not values.any():
            continue
        usual, is_up = float(np.median(values)), TIGHTENS[name] is Tightens.UP
        extreme = float(values.min() if is_up else values.max())
        proposed = extreme + 0.5 * (extreme - usual)
        if name in _WHOLE:
            proposed = float(math.floor(proposed) if is_up else math.ceil(proposed))
        present = getattr(limits, name)
        if present is None or (proposed > present if is_up else proposed < present):
            found.append(Proposal(name, present, round(proposed, 3)))
    return tuple(found)


def _values(judged: Sequence[Reading], attribute: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = [getattr(each.measured, attribute) for each in judged]
    return np.array([each for each in found if each is not None], np.float64)


def _presentations(commissioning: Commissioning) -> list[Presentation]:
    """Return every presentation of which a capture was looked at, frames fused by their mean."""
    scores: dict[int, list[float]] = {}
    for reading in commissioning.readings:
        scores.setdefault(reading.step, [])
        if reading.is_judged:
            scores[reading.step].append(reading.score)
    steps = commissioning.plan.steps
    return [
        Presentation(steps[at].kind, steps[at].name, float(np.mean(found)) if found else math.nan)
        for at, found in sorted(scores.items())
    ]


def _point(commissioning: Commissioning) -> OperatingPoint | None:
    session = commissioning.session
    manifest = session.bundle.manifest
    try:
        return select_point(
            manifest.operating_points, session.level, frozenset(manifest.modalities)
        )
    except OperatingPointError:
        return None

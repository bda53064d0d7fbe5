"""Checks of a commissioning: sensors, rig, gates and scores, each with what to change."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Modality
from fasdk.reasons import Reason
from fasdk_calibration.metrics import ErrorRate
from fasdk_calibration.thresholds.sample_size import attempts_needed
from fasdk_tools.commissioning.plan import StepKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fasdk.quality import QualityLimits
    from fasdk.registration import Rig
    from fasdk.site.measurement import Measurement
    from fasdk_tools.commissioning.commissioning import Reading

# A verdict takes three frames of one person, who waits for it.
_LEAST_RATE, _USUAL_RATE = 1.5, 5.0  # captures a second
_FAULTY_SHARE, _NOTABLE_SHARE = 0.1, 0.02  # of captures with a fault of a sensor
_TURNED_AWAY, _OFTEN_TURNED_AWAY = 0.5, 0.25  # of captures that a gate turned away
_SCENE_SHARE = 0.35  # of a scene that shows nothing, dark or clipped
_WIDTH_RATIO = 1.3  # depth over the distance that the face's width tells, or the inverse
_FIELD_OF_VIEW_DEG = (25.0, 120.0)  # across a frame, of the cameras that look at faces
_FACE_WIDTH_MM = 150.0
_DISAGREE, _OFTEN_DISAGREE = 0.2, 0.05  # of captures whose sensors do not show one face

_SENSOR_FIXES = {
    Reason.MODALITY_MISSING: "connect the sensor, or choose a bundle without it",
    Reason.DEPTH_UNITS: "set the depth sensor to units of 1 mm",
    Reason.NO_IMAGE: "uncover the lens and check the cable",
    Reason.STALE: "let the camera state times of exposure, and free the machine of other work",
    Reason.NOT_NEW: "the camera or driver repeats frames: restart it, use another cable or port",
    Reason.OUT_OF_STEP: "let one clock trigger all sensors, or lower the resolution",
    Reason.IR_UNLIT: "check the infrared emitter; one that flashes needs emitter=flashing",
    Reason.BAD_CAPTURE: "check that the rig file and the camera's mode belong together",
}
_GATE_FIXES = {
    Reason.NO_FACE: "aim the camera at the height of faces, and check the face model",
    Reason.SEVERAL_FACES: "turn the camera away from people who wait",
    Reason.OUT_OF_FRAME: "aim the camera at where people stand",
    Reason.TOO_CLOSE: "mark where to stand further away",
    Reason.TOO_FAR: "mark where to stand nearer",
    Reason.NOT_FRONTAL: "hang the camera at eye height, next to what people look at",
    Reason.TOO_DARK: "more light on the face",
    Reason.TOO_BRIGHT: "less light on the face, or a shorter exposure",
    Reason.BLURRED: "clean and focus the lens, or more light for a shorter exposure",
    Reason.IR_SATURATED: "mark where to stand further away, and keep sunlight off the face",
    Reason.DEPTH_HOLES: "clean the depth sensor, and avoid glass before it",
    Reason.SENSORS_DISAGREE: "calibrate the sensors to each other (fasdk.Rig)",
}


class Status(str, Enum):
    """Result of a check; one FAIL makes a site NOT READY."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Area(str, Enum):
    """What a check is about."""

    SENSORS = "sensors"
    RIG = "rig"
    GATES = "gates"
    SCORES = "scores"
    ATTACKS = "attacks"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        area: What it is about.
        name: Name of the check.
        status: Its result.
        found: What was found, in words.
        fix: What to change; empty where nothing is.
    """

    area: Area
    name: str
    status: Status
    found: str
    fix: str = ""


def sensor_checks(
    readings: Sequence[Reading],
    modalities: Sequence[Modality],
    limits: QualityLimits,
    faults: Counter[str],
    dropped: int,
) -> list[Check]:
    """Return the checks of the sensors.

    Args:
        readings: Every capture of the commissioning.
        modalities: Modalities of the model.
        limits: Quality limits in force.
        faults: Faults of the camera, by code.
        dropped: Captures that the camera dropped.
    """
    checks = [_rate(readings, dropped), _camera(faults), _modalities(readings, modalities)]
    checks += [
        _sensor_fault(readings, reason, fix)
        for reason, fix in _SENSOR_FIXES.items()
        if reason is not Reason.MODALITY_MISSING
    ]
    skew = _values(readings, lambda each: each.skew_ms)
    if skew.size and limits.max_skew_ms is not None:
        late = float(np.percentile(skew, 95))
        status = Status.OK if late <= limits.max_skew_ms / 2 else Status.WARN
        checks.append(
            Check(
                Area.SENSORS,
                "skew",
                Status.FAIL if late > limits.max_skew_ms else status,
                f"95 % of captures have frames within {late:.0f} ms of each other, at most "
                f"{limits.max_skew_ms:.0f} ms",
                "" if status is Status.OK else _SENSOR_FIXES[Reason.OUT_OF_STEP],
            )
        )
    checks += _scene(readings)
    for name, limit, value, fix in (
        (
            "depth holes",
            limits.max_depth_holes,
            lambda each: each.depth_holes,
            _GATE_FIXES[Reason.DEPTH_HOLES],
        ),
        (
            "infrared saturation",
            limits.max_ir_saturated,
            lambda each: each.ir_saturated,
            _GATE_FIXES[Reason.IR_SATURATED],
        ),
    ):
        found = _values(readings, value)
        if found.size and limit is not None:
            usual = float(np.median(found))
            is_near = usual > limit / 2
            status = Status.FAIL if usual > limit else Status.WARN if is_near else Status.OK
            words = f"half of the captures have {usual:.0%} of the face, at most {limit:.0%} pass"
            checks.append(Check(Area.SENSORS, name, status, words, fix if is_near else ""))
    return checks


def rig_checks(readings: Sequence[Reading], rig: Rig | None) -> list[Check]:
    """Return the checks of how the sensors stand to each other, on people's captures."""
    checks = []
    lens = None if rig is None else rig.rgb
    pairs = [
        (each.measured.distance_mm, each.measured.face_px, each.measured.frame_px)
        for each in readings
    ]
    known = [(d, face, frame) for d, face, frame in pairs if d and face and frame]
    if known:
        distance, face, frame = np.array(known, np.float64).T
        if lens is not None and rig is not None:
            ratio = float(np.median(distance * face / (lens.focal_x_px * rig.face_width_mm)))
            agrees = 1 / _WIDTH_RATIO <= ratio <= _WIDTH_RATIO
            words = f"depth is {ratio:.2f} times the distance that the face's width tells"
        else:
            focal = np.median(distance * face) / _FACE_WIDTH_MM
            angle = math.degrees(2 * math.atan(float(np.median(frame)) / (2 * focal)))
            agrees = _FIELD_OF_VIEW_DEG[0] <= angle <= _FIELD_OF_VIEW_DEG[1]
            words = (
                f"depth and the face's width make a camera of {angle:.0f} degrees across, which "
                f"{'is usual' if agrees else 'no such camera has'}"
            )
        checks.append(
            Check(
                Area.RIG,
                "depth and width",
                Status.OK if agrees else Status.FAIL,
                words,
                "" if agrees else "check the depth sensor's unit and the rig file",
            )
        )
    slack = _values(readings, lambda each: each.agreement)
    if slack.size:
        apart = float((slack < 0.0).mean())
        status = Status.OK if apart <= _OFTEN_DISAGREE else Status.WARN
        checks.append(
            Check(
                Area.RIG,
                "one face in every sensor",
                Status.FAIL if apart > _DISAGREE else status,
                f"in {apart:.0%} of the captures depth, infrared or color show the face elsewhere",
                "" if status is Status.OK else _GATE_FIXES[Reason.SENSORS_DISAGREE],
            )
        )
    return checks


def turned_away(readings: Iterable[Reading]) -> dict[Reason, int]:
    """Return how many captures each reason turned away, the most frequent first."""
    counted = Counter(code for each in readings for code in each.codes)
    return dict(counted.most_common())


def gate_checks(readings: Sequence[Reading]) -> list[Check]:
    """Return the check of the share of people's captures that the gates turn away."""
    if not readings:
        return [Check(Area.GATES, "captures", Status.FAIL, "no capture of a person", "try again")]
    share = sum(bool(each.codes) for each in readings) / len(readings)
    status = Status.OK if share <= _OFTEN_TURNED_AWAY else Status.WARN
    by_reason = {
        reason: count for reason, count in turned_away(readings).items() if reason in _GATE_FIXES
    }
    often = [f"{reason.value} {count / len(readings):.0%}" for reason, count in by_reason.items()]
    fix = _GATE_FIXES[next(iter(by_reason))] if by_reason else "see the sensors"
    return [
        Check(
            Area.GATES,
            "captures turned away",
            Status.FAIL if share > _TURNED_AWAY else status,
            f"{share:.0%} of {len(readings)}" + (f": {', '.join(often[:4])}" if often else ""),
            "" if status is Status.OK else fix,
        )
    ]


@dataclass(frozen=True)
class Presentation:
    """A presentation with the mean score of its captures.

    Attributes:
        kind: Whether a person or an attack was shown.
        name: Number of the person, or the instrument.
        score: Mean P(bona fide) of the captures that were judged; NaN where none was.
    """

    kind: StepKind
    name: str
    score: float


def score_checks(
    shown: Sequence[Presentation], threshold: float | None, max_bpcer: float
) -> list[Check]:
    """Return the checks of genuine people's scores against the threshold."""
    if threshold is None:
        fix = "run `fasdk tune` on captures like these, or choose a level that the bundle has"
        words = "the bundle has no threshold for these sensors and this level"
        return [Check(Area.SCORES, "threshold", Status.FAIL, words, fix)]
    scored = [each for each in shown if math.isfinite(each.score)]
    checks = [_response(len(scored), len(shown), Area.SCORES, "presentations answered")]
    if not scored:
        return checks
    refused = ErrorRate(sum(each.score <= threshold for each in scored), len(scored))
    more = more_needed(refused, max_bpcer)
    supported = more == 0
    words = (
        f"{refused.errors} of {refused.total} presentations of genuine people refused: BPCER at "
        f"most {refused.upper():.1%} with 95 % confidence, asked for {max_bpcer:.1%}"
    )
    if supported:
        fix = ""
    elif refused.rate > max_bpcer:
        fix = "better light and distance; if it stays, re-tune for this site (`fasdk tune`)"
    else:
        fix = f"{more} more presentations without a refusal show it; have more people take part"
    return [
        *checks,
        Check(Area.SCORES, "BPCER", Status.OK if supported else Status.FAIL, words, fix),
    ]


def attack_checks(
    shown: Sequence[Presentation], threshold: float | None, apcer_upper: float | None
) -> list[Check]:
    """Return a check for each attack instrument, against the bundle's own bound of APCER."""
    if threshold is None or apcer_upper is None:
        return []
    checks = []
    for name in dict.fromkeys(each.name for each in shown):
        these = [each for each in shown if each.name == name]
        scored = [each for each in these if math.isfinite(each.score)]
        if not scored:
            words = f"none of {len(these)} presentations passed the gates, so none was judged"
            fix = "show it as an attacker would, at a person's distance"
            checks.append(Check(Area.ATTACKS, name, Status.WARN, words, fix))
            continue
        accepted = ErrorRate(sum(each.score > threshold for each in scored), len(scored))
        words = (
            f"{accepted.errors} of {accepted.total} presentations accepted: APCER at most "
            f"{accepted.upper():.1%} with 95 % confidence, the bundle's bound is {apcer_upper:.1%}"
        )
        # Whether so many acceptances, or more, are likely where the bundle's bound holds.
        unlikely = accepted.errors > 0 and _at_least(accepted, apcer_upper) < 0.05
        status = Status.WARN if accepted.errors else Status.OK
        fix = "re-tune for this site with more of it (`fasdk tune`), or use a stricter level"
        checks.append(
            Check(
                Area.ATTACKS,
                name,
                Status.FAIL if unlikely else status,
                words,
                "" if status is Status.OK else fix,
            )
        )
    return checks


def more_needed(found: ErrorRate, most: float) -> int:
    """Return how many more presentations without an error support a rate; 0 where it is."""
    return max(0, attempts_needed(found.errors, most) - found.total)


def _at_least(found: ErrorRate, rate: float) -> float:
    """Return the probability of so many errors or more at a rate."""
    terms = [
        math.comb(found.total, k) * rate**k * (1 - rate) ** (found.total - k)
        for k in range(found.errors)
    ]
    return 1.0 - math.fsum(terms)


def _response(answered: int, shown: int, area: Area, name: str) -> Check:
    missing = shown - answered
    status = Status.OK if missing == 0 else Status.WARN
    return Check(
        area,
        name,
        Status.FAIL if 2 * answered < shown or not shown else status,
        f"{answered} of {shown}",
        "" if status is Status.OK and shown else "see what turned the captures away",
    )


def _rate(readings: Sequence[Reading], dropped: int) -> Check:
    taken = np.array([each.taken_ms for each in readings], np.float64)
    steps = np.array([each.step for each in readings])
    gaps, within = np.diff(taken), np.diff(steps) == 0
    gaps = gaps[within] if within.any() else gaps  # between steps people walk
    gaps = gaps[np.isfinite(gaps) & (gaps > 0.0)]
    if not gaps.size:
        words = "too few captures with times of exposure to tell the rate"
        return Check(Area.SENSORS, "rate", Status.FAIL, words, _SENSOR_FIXES[Reason.STALE])
    rate = 1000.0 / float(np.median(gaps))
    status = Status.OK if rate >= _USUAL_RATE else Status.WARN
    return Check(
        Area.SENSORS,
        "rate",
        Status.FAIL if rate < _LEAST_RATE else status,
        f"{rate:.1f} captures a second, {dropped} dropped by the camera",
        "" if status is Status.OK else "lower the resolution, or use a faster machine",
    )


def _camera(faults: Counter[str]) -> Check:
    count = sum(faults.values())
    words = ", ".join(f"{number} {code}" for code, number in sorted(faults.items())) or "none"
    fix = "check cable, power and USB port" if count else ""
    return Check(Area.SENSORS, "faults", Status.FAIL if count else Status.OK, words, fix)


def _modalities(readings: Sequence[Reading], modalities: Sequence[Modality]) -> Check:
    absent = [
        f"{m.value} in {share:.0%}"
        for m in modalities
        if (share := sum(m not in each.modalities for each in readings) / max(1, len(readings)))
    ]
    found = f"{', '.join(m.value for m in modalities)} in every capture"
    return Check(
        Area.SENSORS,
        "modalities",
        Status.FAIL if absent else Status.OK,
        f"missing: {', '.join(absent)}" if absent else found,
        _SENSOR_FIXES[Reason.MODALITY_MISSING] if absent else "",
    )


def _sensor_fault(readings: Sequence[Reading], reason: Reason, fix: str) -> Check:
    count = sum(reason in each.codes for each in readings)
    share = count / max(1, len(readings))
    status = Status.OK if share <= _NOTABLE_SHARE else Status.WARN
    return Check(
        Area.SENSORS,
        reason.value,
        Status.FAIL if share > _FAULTY_SHARE else status,
        f"{count} of {len(readings)} captures",
        "" if status is Status.OK else fix,
    )


def _scene(readings: Sequence[Reading]) -> list[Check]:
    checks = []
    for name, value, fix in (
        ("scene too dark", lambda each: each.scene_dark, "more light, or a longer exposure"),
        (
            "scene clipped",
            lambda each: each.scene_clipped,
            "no window or lamp behind people, or a shorter exposure",
        ),
    ):
        found = _values(readings, value)
        if found.size:
            usual = float(np.median(found))
            status = Status.WARN if usual > _SCENE_SHARE else Status.OK
            words = f"{usual:.0%} of the color frame"
            checks.append(
                Check(Area.SENSORS, name, status, words, fix if status.value != "OK" else "")
            )
    return checks


def _values(
    readings: Iterable[Reading], value: Callable[[Measurement], float | None]
) -> np.ndarray:
    found = [value(each.measured) for each in readings]
    return np.array([each for each in found if each is not None], np.float64)

"""Quality gates: limits on a capture, and the findings where it misses them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fasdk.capture import LARGEST_IN_METERS, FaceBox, Modality
from fasdk.quality.exposure import (
    face_depth,
    face_light,
    is_unlit,
    saturated_share,
    spans_at_most,
)
from fasdk.quality.freshness import untimely
from fasdk.quality.pose import head_angles
from fasdk.reasons import Finding, Reason, by_rank

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fasdk.capture import Capture
    from fasdk.quality.exposure import FaceDepth


class QualityLimits(BaseModel):
    """Quality limits on a capture; None switches a limit off.

    Light, sharpness and distance are measured on the middle of the face: `exposure.middle_of`.
    There is no limit on how dark the face is in infrared or how flat it is: that is how a screen or
    a print looks, so the model must call it a spoof; a gate would turn it into a RETRY. An infrared
    frame that is dark all over, hands, clothes and background too, shows no screen: the emitter was
    off. Whether the sensors show one face is asked last, of a capture that the model calls LIVE: a
    screen shows its face to the color camera alone, and it must stay a spoof.

    Attributes:
        require_face: Whether a capture without a face is refused.
        several_faces_share: Width of another face, as a fraction of the face's width, from which
            it counts; smaller ones are passers-by.
        min_face_px: Least width of the face box, in pixels of the frame it was found in.
        max_face_share: Greatest fraction of that frame's width or height the box may take.
        min_border_px: Least distance of the box from every edge, in each frame's pixels. 0 only
            requires that the landmarks, where there are any, lie inside.
        min_distance_mm: Least median depth of the face, in millimeters.
        max_distance_mm: Greatest median depth of the face, in millimeters.
        min_plausible_depth_mm: Least median depth that can be a distance in millimeters; a smaller
            one is in another unit.
        max_yaw_deg: Greatest turn of the head to either side, in degrees, from the landmarks.
        max_pitch_deg: Greatest nod up or down, in degrees, from the landmarks.
        max_roll_deg: Greatest tilt to either shoulder, in degrees, from the landmarks.
        min_highlight: Least 95th percentile of the face's luma in RGB, 8-bit. A high percentile,
            since eyes and shine are bright on skin of every color.
        max_upper_quartile: Greatest 75th percentile of the face's luma in RGB, 8-bit.
        min_sharpness: Least `FaceLight.sharpness`, of the RGB frame or else of the infrared one.
        max_ir_saturated: Greatest fraction of the face with infrared values of 250 and more.
        max_depth_holes: Greatest fraction of the face without depth.
        max_blank_span: Greatest difference between the largest and smallest value of an 8-bit frame
            that counts as blank; a depth frame is blank where it has one value all over.
        min_ir_frame_level: Least 99th percentile of the whole infrared frame, 8-bit; below it the
            emitter was off, as between two flashes.
        max_age_ms: Greatest age of a frame with a time, in milliseconds.
        max_skew_ms: Greatest difference between the times of a capture's frames, in milliseconds.
        sensors_agree: Whether a capture that would be LIVE is refused where its sensors do not show
            one face at one place; see `fasdk.quality.agreement`. Their frames must be registered.
        require_times: Whether a frame without a time is stale; without times a camera that stands
            still shows the same face for ever.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    require_face: bool = True
    several_faces_share: float | None = Field(default=0.4, ge=0.0, allow_inf_nan=False)
    min_face_px: int | None = Field(default=64, ge=1)
    max_face_share: float | None = Field(default=0.85, gt=0.0, le=1.0)
    min_border_px: int | None = Field(default=1, ge=0)
    min_distance_mm: int | None = Field(default=250, ge=1)
    max_distance_mm: int | None = Field(default=1500, ge=1)
    min_plausible_depth_mm: int | None = Field(default=50, ge=1)
    max_yaw_deg: float | None = Field(default=30.0, gt=0.0, le=90.0)
    max_pitch_deg: float | None = Field(default=25.0, gt=0.0, le=90.0)
    max_roll_deg: float | None = Field(default=25.0, gt=0.0, le=180.0)
    min_highlight: int | None = Field(default=60, ge=0, le=255)
    max_upper_quartile: int | None = Field(default=250, ge=0, le=255)
    min_sharpness: float | None = Field(default=20.0, ge=0.0, allow_inf_nan=False)
    max_ir_saturated: float | None = Field(default=0.2, ge=0.0, le=1.0)
    max_depth_holes: float | None = Field(default=0.3, ge=0.0, le=1.0)
    max_blank_span: int | None = Field(default=2, ge=0, le=255)
    min_ir_frame_level: int | None = Field(default=12, ge=0, le=255)
    max_age_ms: float | None = Field(default=500.0, ge=0.0, allow_inf_nan=False)
    max_skew_ms: float | None = Field(default=50.0, ge=0.0, allow_inf_nan=False)
    sensors_agree: bool = True
    require_times: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> QualityLimits:
        nearest, furthest = self.min_distance_mm, self.max_distance_mm
        if nearest is not None and furthest is not None and nearest >= furthest:
            raise ValueError(
                f"min_distance_mm {nearest} must be less than max_distance_mm {furthest}"
            )
        return self

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> QualityLimits:
        """Return a copy with some limits changed, checked as on construction.

        Pydantic's own accepts any name and number: a misspelt limit or NaN would find nothing.

        Raises:
            pydantic.ValidationError: A limit is unknown or out of its range.
        """
        del deep  # nothing in it can be changed
        return type(self).model_validate(self.model_dump() | dict(update or {}))

    @classmethod
    def faults(cls) -> QualityLimits:
        """Return limits on faults of a rig alone.

        They find stale or skewed frames, depth in meters, infrared frames without their emitter.
        """
        kept = ("max_age_ms", "max_skew_ms", "min_plausible_depth_mm", "min_ir_frame_level")
        usual = cls()
        return cls.off().model_copy(update={name: getattr(usual, name) for name in kept})

    @classmethod
    def off(cls) -> QualityLimits:
        """Return limits that find nothing, to switch single ones on with `model_copy`."""
        asks = {"require_face": False, "sensors_agree": False, "require_times": False}
        return cls(**{name: asks.get(name) for name in cls.model_fields})


_DEFAULT_LIMITS = QualityLimits()
_LIMITS_OF_DEPTH = (
    "min_plausible_depth_mm",
    "min_distance_mm",
    "max_distance_mm",
    "max_depth_holes",
)


def assess(
    capture: Capture, limits: QualityLimits = _DEFAULT_LIMITS, *, now_ms: float
) -> tuple[Finding, ...]:
    """Return a finding for every limit a capture misses, by rank of the reasons.

    Args:
        capture: Registered capture, with face and landmarks where a detector found them.
        limits: Quality limits to check against.
        now_ms: `time.monotonic` in milliseconds.

    Returns:
        At most one finding per reason; none means the model may score it. A retry helps against
        all of them but DEPTH_UNITS: see `Reason.remedy`.
    """
    blank = _blank(capture, limits)
    found = [
        *_no_image(capture, blank),
        *untimely(
            capture,
            now_ms=now_ms,
            max_age_ms=limits.max_age_ms,
            max_skew_ms=limits.max_skew_ms,
            require_times=limits.require_times,
        ),
        *_ir_unlit(capture, limits, blank),
    ]
    if capture.face is None and limits.require_face:
        found.append(Finding(Reason.NO_FACE, "no face in view: step in front of the camera"))
    if capture.face is not None:
        found += _several_faces(capture, limits)
        found += _out_of_frame(capture, limits)
        found += _not_frontal(capture, limits)
        found += _light(capture, limits, blank)
    # Distance before size: a measured distance shows where to stand better than pixels do.
    found += _depth(capture, limits, blank)
    if capture.face is not None:
        found += _size(capture, limits)
    return by_rank(found)


def _blank(capture: Capture, limits: QualityLimits) -> frozenset[Modality]:
    """Return the modalities whose frame is blank, on which no other gate is meaningful."""
    most = limits.max_blank_span
    if most is None:
        return frozenset()
    # Depth in whole meters spans few values too, and must differ from a blank frame.
    spans = {m: 0 if m is Modality.DEPTH else most for m in capture.present}
    return frozenset(m for m, span in spans.items() if spans_at_most(capture.frame(m), span))


def _no_image(capture: Capture, blank: frozenset[Modality]) -> Iterator[Finding]:
    for modality in capture.present:
        if modality in blank:
            value = capture.frame(modality)[0, 0].tolist()
            fix = "uncover the lens, check the sensor's cable"
            if modality is Modality.DEPTH:
                fix += ", and that distances are millimeters, not meters cut to whole numbers"
            yield Finding(
                Reason.NO_IMAGE, f"the {modality.value} frame is {value} everywhere: {fix}"
            )


def _ir_unlit(
    capture: Capture, limits: QualityLimits, blank: frozenset[Modality]
) -> Iterator[Finding]:
    least = limits.min_ir_frame_level
    if least is None or Modality.IR not in capture.present or Modality.IR in blank:
        return
    if is_unlit(capture.frame(Modality.IR), least):
        yield Finding(
            Reason.IR_UNLIT,
            f"99% of the whole ir frame is below {least} of 255, so its emitter was off: for one "
            "that flashes use every lit frame alone (emitter=flashing), else check the emitter",
        )


def _several_faces(capture: Capture, limits: QualityLimits) -> Iterator[Finding]:
    if limits.several_faces_share is None or capture.face is None:
        return
    least_px = limits.several_faces_share * FaceBox.of(capture.face).width
    others = sum(box.width >= least_px for box in capture.other_faces)
    if others:
        yield Finding(
            Reason.SEVERAL_FACES, f"{others + 1} faces in view: one person at a time, please"
        )


def _out_of_frame(capture: Capture, limits: QualityLimits) -> Iterator[Finding]:
    least_px = limits.min_border_px
    if least_px is None:
        return
    for modality in capture.present:
        box = capture.face_in(modality)
        if box is None:
            continue
        width, height = capture.size_of(modality)
        border_px = min(box.x, box.y, width - box.x - box.width, height - box.y - box.height)
        if border_px < least_px:
            yield Finding(
                Reason.OUT_OF_FRAME,
                f"the face is {border_px} px from the edge of the {modality.value} frame, at least "
                f"{least_px} px: move to the middle",
            )
    if capture.landmarks is not None:
        width, height = capture.size_of(capture.present[0])
        x, y = capture.landmarks.T
        outside = int(((x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)).sum())
        if outside:
            yield Finding(
                Reason.OUT_OF_FRAME,
                f"{outside} of the eyes, nose and corners of the mouth lie outside the "
                f"{capture.present[0].value} frame: move to the middle",
            )


def _not_frontal(capture: Capture, limits: QualityLimits) -> Iterator[Finding]:
    most = (limits.max_yaw_deg, limits.max_pitch_deg, limits.max_roll_deg)
    if capture.landmarks is None or all(limit is None for limit in most):
        return
    angles = head_angles(capture.landmarks)
    if math.isnan(angles.yaw):
        yield Finding(Reason.NOT_FRONTAL, "the landmarks span no face: look straight at the camera")
        return
    turns = [
        f"{how} by {abs(angle):.0f}°, at most {limit:.0f}°"
        for how, angle, limit in zip(
            ("turned to the side", "nodded", "tilted"),
            (angles.yaw, angles.pitch, angles.roll),
            most,
            strict=True,
        )
        if limit is not None and not abs(angle) <= limit
    ]
    if not turns:
        return
    fix = "look straight at the camera"
    if abs(angles.roll) > 90.0:
        fix += " (upside down: turn the camera's picture, or put the person's right eye first)"
    yield Finding(Reason.NOT_FRONTAL, f"the head is {'; '.join(turns)}: {fix}")


def _light(
    capture: Capture, limits: QualityLimits, blank: frozenset[Modality]
) -> Iterator[Finding]:
    seen = [m for m in (Modality.RGB, Modality.IR) if m in capture.present and m not in blank]
    asked = (limits.min_highlight, limits.max_upper_quartile, limits.min_sharpness)
    if seen and any(limit is not None for limit in asked):
        first = seen[0]
        light = face_light(capture.frame(first), _face(capture, first))
        if first is Modality.RGB:
            least, most = limits.min_highlight, limits.max_upper_quartile
            if least is not None and light.highlight < least:
                yield Finding(
                    Reason.TOO_DARK,
                    f"the face's highlights are at {light.highlight} of 255, at least "
                    f"{least}: more light on the face",
                )
            if most is not None and light.upper_quartile > most:
                yield Finding(
                    Reason.TOO_BRIGHT,
                    f"a quarter of the face is at {light.upper_quartile} of 255 or brighter, "
                    f"at most {most}: less light on the face, or a shorter exposure",
                )
        if limits.min_sharpness is not None and light.sharpness < limits.min_sharpness:
            yield Finding(
                Reason.BLURRED,
                f"the face in the {first.value} frame has sharpness {light.sharpness:.1f}, at "
                f"least {limits.min_sharpness:.1f}: hold still, or clean and focus the lens",
            )
    if Modality.IR in seen and limits.max_ir_saturated is not None:
        share = saturated_share(capture.frame(Modality.IR), _face(capture, Modality.IR))
        if share > limits.max_ir_saturated:
            yield Finding(
                Reason.IR_SATURATED,
                f"{share:.1%} of the face is saturated in infrared, at most "
                f"{limits.max_ir_saturated:.1%}: step back, or keep sunlight off the face",
            )


def _depth(
    capture: Capture, limits: QualityLimits, blank: frozenset[Modality]
) -> Iterator[Finding]:
    if Modality.DEPTH not in capture.present or Modality.DEPTH in blank:
        return
    if all(getattr(limits, name) is None for name in _LIMITS_OF_DEPTH):
        return  # no limit applies to it, so nothing is measured
    frame, box = capture.frame(Modality.DEPTH), capture.face_in(Modality.DEPTH)
    seen = None if box is None else face_depth(frame, box)
    least_mm = limits.min_plausible_depth_mm
    if least_mm is not None:
        what, depth, least = "the face", None if seen is None else seen.median_mm, least_mm
        if depth is None:  # without a face, the furthest point in view reveals meters
            what, depth, least = "nothing", float(frame.max()), min(least_mm, LARGEST_IN_METERS)
        if 0 < depth < least:
            unit, factor = ("meters", 1000) if depth < LARGEST_IN_METERS else ("centimeters", 10)
            where = f"{what} is {'at' if what == 'the face' else 'beyond'} depth {depth:.0f}"
            yield Finding(
                Reason.DEPTH_UNITS,
                f"{where}, which cannot be millimeters: these look like {unit}, multiply by "
                f"{factor} before rounding",
            )
            return  # in another unit neither distance nor holes mean anything
    if seen is not None:
        yield from _distance(seen, limits)
        if limits.max_depth_holes is not None and seen.hole_share > limits.max_depth_holes:
            yield Finding(
                Reason.DEPTH_HOLES,
                f"{seen.hole_share:.1%} of the face has no depth, at most "
                f"{limits.max_depth_holes:.1%}: turn away from glare, and clean the sensor",
            )


def _distance(seen: FaceDepth, limits: QualityLimits) -> Iterator[Finding]:
    if seen.median_mm is None:
        return
    distance_mm, nearest, furthest = seen.median_mm, limits.min_distance_mm, limits.max_distance_mm
    if nearest is not None and distance_mm < nearest:
        yield Finding(
            Reason.TOO_CLOSE,
            f"the face is {distance_mm:.0f} mm away, at least {nearest} mm: step back",
        )
    if furthest is not None and distance_mm > furthest:
        yield Finding(
            Reason.TOO_FAR,
            f"the face is {distance_mm:.0f} mm away, at most {furthest} mm: come closer "
            "(if it is nearer, the sensor's depth unit is not 1 mm: scale by it)",
        )


def _size(capture: Capture, limits: QualityLimits) -> Iterator[Finding]:
    box = _face(capture, capture.present[0])
    width, height = capture.size_of(capture.present[0])
    share = max(box.width / width, box.height / height)
    if limits.max_face_share is not None and share > limits.max_face_share:
        yield Finding(
            Reason.TOO_CLOSE,
            f"the face fills {share:.0%} of the frame, at most {limits.max_face_share:.0%}: "
            "step back",
        )
    if limits.min_face_px is not None and box.width < limits.min_face_px:
        yield Finding(
            Reason.TOO_FAR,
            f"the face is {box.width} px wide, at least {limits.min_face_px} px: come closer",
        )


def _face(capture: Capture, modality: Modality) -> FaceBox:
    box = capture.face_in(modality)
    assert box is not None, "gates on the face run where there is one"  # noqa: S101
    return box

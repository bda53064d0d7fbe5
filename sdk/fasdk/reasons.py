"""Why a verdict is not a plain LIVE or SPOOF: one code for programs, one sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """What stood in the way; the first group is a RETRY's, the second an ERROR's."""

    # What the person in front of the camera, or the next frame, can mend.
    NO_FACE = "no-face"
    SEVERAL_FACES = "several-faces"
    TOO_FAR = "too-far"
    TOO_CLOSE = "too-close"
    NOT_FRONTAL = "not-frontal"
    OUT_OF_FRAME = "out-of-frame"
    BLURRED = "blurred"
    TOO_DARK = "too-dark"
    TOO_BRIGHT = "too-bright"
    IR_SATURATED = "ir-saturated"
    DEPTH_HOLES = "depth-holes"
    NO_IMAGE = "no-image"
    STALE = "stale"
    OUT_OF_STEP = "out-of-step"
    MODALITY_MISSING = "modality-missing"
    UNDECIDED = "undecided"

    # What only the integrator can mend.
    BAD_CAPTURE = "bad-capture"
    DEPTH_UNITS = "depth-units"
    NO_OPERATING_POINT = "no-operating-point"
    NOT_FINITE = "not-finite"
    ENGINE_FAULT = "engine-fault"
    QUEUE_FULL = "queue-full"
    DEADLINE = "deadline"
    CLOSED = "closed"
    CAMERA = "camera"
    LOCKED_OUT = "locked-out"
    UNEXPECTED = "unexpected"

    @property
    def mendable(self) -> bool:
        """Whether the person or the next frame can mend it: a RETRY; otherwise an ERROR."""
        return self in _MENDABLE


_MENDABLE = frozenset(
    {
        Reason.NO_FACE,
        Reason.SEVERAL_FACES,
        Reason.TOO_FAR,
        Reason.TOO_CLOSE,
        Reason.NOT_FRONTAL,
        Reason.OUT_OF_FRAME,
        Reason.BLURRED,
        Reason.TOO_DARK,
        Reason.TOO_BRIGHT,
        Reason.IR_SATURATED,
        Reason.DEPTH_HOLES,
        Reason.NO_IMAGE,
        Reason.STALE,
        Reason.OUT_OF_STEP,
        Reason.MODALITY_MISSING,
        Reason.UNDECIDED,
    }
)


@dataclass(frozen=True)
class Finding:
    """One reason with what was found.

    Attributes:
        reason: The code.
        message: What was found, what is expected and what to do, in one line.
    """

    reason: Reason
    message: str

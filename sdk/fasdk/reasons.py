"""Reason codes of refused or failed captures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Remedy(Enum):
    """Action that can remove the cause of a reason.

    - RETRY: Another capture, after the person has followed the message.
    - RESTART: A restart of the process.
    - OPERATOR: A change to the installation by the person responsible for it: the rig, the
      settings, the bundle, or the release of a lock-out.
    """

    RETRY = "retry"
    RESTART = "restart"
    OPERATOR = "operator"


@dataclass(frozen=True)
class _Definition:
    """Definition of a `Reason` member.

    Attributes:
        code: Value of the member, as written to JSON and logs.
        remedy: Action that can remove the cause.
    """

    code: str
    remedy: Remedy


class Reason(str, Enum):
    """Cause of a verdict other than a plain LIVE or SPOOF.

    A member's position is its rank: of several reasons the first defined one is reported first.
    A cause that makes the others meaningless comes first, then where to stand, how to look, the
    light, and last what is not about the capture. There is no second list to add a member to.
    """

    #: Action that can remove the cause.
    remedy: Remedy
    #: Position in the order of definition, from 0.
    rank: int

    def __new__(cls, definition: _Definition) -> Reason:
        """Make a member of its definition.

        Raises:
            TypeError: A member is defined by something else, such as its code alone.
        """
        if not isinstance(definition, _Definition):
            raise TypeError(
                f"a Reason is defined as {definition!r}, expected _Definition(code, remedy)"
            )
        member = str.__new__(cls, definition.code)
        member._value_ = definition.code
        member.remedy = definition.remedy
        member.rank = len(cls.__members__)
        return member

    BAD_CAPTURE = _Definition("bad-capture", Remedy.OPERATOR)
    MODALITY_MISSING = _Definition("modality-missing", Remedy.RETRY)
    NEW_COMBINATION = _Definition("new-combination", Remedy.OPERATOR)
    DEPTH_UNITS = _Definition("depth-units", Remedy.OPERATOR)
    NO_IMAGE = _Definition("no-image", Remedy.RETRY)
    STALE = _Definition("stale", Remedy.RETRY)
    NOT_NEW = _Definition("not-new", Remedy.RETRY)
    REPLAYED = _Definition("replayed", Remedy.RETRY)
    DEVICE_STAMPS = _Definition("device-stamps", Remedy.RETRY)
    OUT_OF_STEP = _Definition("out-of-step", Remedy.RETRY)
    IR_UNLIT = _Definition("ir-unlit", Remedy.RETRY)
    NO_FACE = _Definition("no-face", Remedy.RETRY)
    SEVERAL_FACES = _Definition("several-faces", Remedy.RETRY)
    OUT_OF_FRAME = _Definition("out-of-frame", Remedy.RETRY)
    TOO_CLOSE = _Definition("too-close", Remedy.RETRY)
    TOO_FAR = _Definition("too-far", Remedy.RETRY)
    NOT_FRONTAL = _Definition("not-frontal", Remedy.RETRY)
    TOO_DARK = _Definition("too-dark", Remedy.RETRY)
    TOO_BRIGHT = _Definition("too-bright", Remedy.RETRY)
    BLURRED = _Definition("blurred", Remedy.RETRY)
    IR_SATURATED = _Definition("ir-saturated", Remedy.RETRY)
    DEPTH_HOLES = _Definition("depth-holes", Remedy.RETRY)
    SENSORS_DISAGREE = _Definition("sensors-disagree", Remedy.RETRY)
    NOT_FINITE = _Definition("not-finite", Remedy.RESTART)
    NO_OPERATING_POINT = _Definition("no-operating-point", Remedy.OPERATOR)
    UNDECIDED = _Definition("undecided", Remedy.RETRY)
    WAIT = _Definition("wait", Remedy.RETRY)
    LOCKED_OUT = _Definition("locked-out", Remedy.OPERATOR)  # kept on disk: no restart lifts it
    UNRECORDED = _Definition("unrecorded", Remedy.OPERATOR)
    FOREIGN_CAMERA = _Definition("foreign-camera", Remedy.OPERATOR)
    CAMERA = _Definition("camera", Remedy.OPERATOR)  # read again after a pause, without a restart
    ENGINE_FAULT = _Definition("engine-fault", Remedy.RESTART)
    QUEUE_FULL = _Definition("queue-full", Remedy.RESTART)
    DEADLINE = _Definition("deadline", Remedy.RESTART)
    CLOSED = _Definition("closed", Remedy.RESTART)
    UNEXPECTED = _Definition("unexpected", Remedy.RESTART)

    @property
    def retry_helps(self) -> bool:
        """Whether the person or the next capture can remove the cause: RETRY, otherwise ERROR."""
        return self.remedy is Remedy.RETRY


@dataclass(frozen=True)
class Finding:
    """One reason with its explanation.

    Attributes:
        reason: Reason code of the finding.
        message: One line with what was found, what is expected and how to fix it.
    """

    reason: Reason
    message: str


def by_rank(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the first finding of every reason, in the order of the reasons' ranks."""
    first: dict[Reason, Finding] = {}
    for finding in findings:
        first.setdefault(finding.reason, finding)
    return tuple(sorted(first.values(), key=lambda finding: finding.reason.rank))

"""Mapping from exceptions to findings."""

from __future__ import annotations

from fasdk.errors import (
    AttemptError,
    AuditError,
    BackendError,
    BadCaptureError,
    CaptureError,
    ClosedError,
    FaceFinderError,
    FasdkError,
    ForeignCameraError,
    OutOfViewError,
    PreprocessError,
    RigError,
)
from fasdk.reasons import Finding, Reason

# The first match counts; any other exception is UNEXPECTED.
_REASONS: dict[type[Exception], Reason] = {
    OutOfViewError: Reason.OUT_OF_FRAME,
    CaptureError: Reason.BAD_CAPTURE,
    BadCaptureError: Reason.BAD_CAPTURE,
    RigError: Reason.BAD_CAPTURE,
    ForeignCameraError: Reason.FOREIGN_CAMERA,
    FaceFinderError: Reason.CAMERA,
    PreprocessError: Reason.BAD_CAPTURE,
    AttemptError: Reason.UNRECORDED,
    AuditError: Reason.UNRECORDED,
    ClosedError: Reason.CLOSED,
    BackendError: Reason.ENGINE_FAULT,
}


def finding_of(error: BaseException) -> Finding:
    """Return the finding for an exception; fasdk's own messages are kept, others are named."""
    known = isinstance(error, FasdkError)
    message = str(error) if known else f"unexpected {type(error).__name__}: {error}"
    fitting = (reason for kind, reason in _REASONS.items() if isinstance(error, kind))
    return Finding(next(fitting, Reason.UNEXPECTED), message)

"""Exceptions of fasdk, whose messages name the object, what was found and how to fix it."""

from fasdk.plain_text import plain


class FasdkError(Exception):
    """Base of all errors a caller of fasdk may want to catch.

    A message may name what stands in a file; control characters in it are shown as escapes.
    """

    def __str__(self) -> str:
        """Return the message, which no terminal acts on."""
        return plain(super().__str__())


class UsageError(FasdkError):
    """A command or call was asked for something that does not exist or does not fit together."""


class PackageError(FasdkError):
    """An optional package is needed that is not installed or cannot be imported."""


class CaptureError(FasdkError):
    """A capture cannot be scored: wrong dtype, shape or unit, absent modality, bad face box."""


class CameraError(FasdkError):
    """A camera is not there, stopped, or gave no fresh frame in time; reading again may help."""


class ForeignCameraError(CameraError):
    """A camera is another than it must be, or software that is not allowed gives its frames."""


class EndOfStreamError(CameraError):
    """A recording has no further frame; this camera fault is final."""


class UnreadableRecordingError(CameraError):
    """A recording cannot be read, now or later; this camera fault is final."""


class BadCaptureError(CameraError):
    """A recording's capture cannot be read; the next read goes on with the one after it."""


class OutOfViewError(CaptureError):
    """The face lies outside what another sensor sees; the person can fix it by moving."""


class RigError(FasdkError):
    """A rig's calibration file is unreadable, inconsistent, or for another camera mode."""


class SiteError(FasdkError):
    """A site's profile is unreadable, edited, of another bundle or camera, or loosens a limit."""


class FaceFinderError(FasdkError):
    """A face detector's model cannot be read, is another than asked for, or failed."""


class PreprocessError(FasdkError):
    """A frame cannot be turned into the tensor the model was trained on."""


class BundleError(FasdkError):
    """A bundle is truncated, altered, malformed or of another schema version."""


class TamperedError(BundleError):
    """A whole bundle's bytes are not those it was written with."""


class TrustError(BundleError):
    """A bundle's signature is absent where one is required, or does not hold."""


class RollbackError(BundleError):
    """A bundle falls short of the one whose place it takes: it is older, or lacks what that had."""


class StateError(FasdkError):
    """What a machine remembers of earlier runs is damaged, locked or open to others."""


class HomeError(FasdkError):
    """The account's folder cannot be created or read, or another account could have filled it."""


class OperatingPointError(FasdkError):
    """No threshold was tuned for what was asked, so nothing may be decided."""


class AttemptError(FasdkError):
    """A camera's attempts cannot be read or recorded, so no attempt may begin."""


class AuditError(FasdkError):
    """An audit log cannot be written or read, or is written by another process."""


class BackendError(FasdkError):
    """A backend is not installed, cannot load the graph, or failed while running it."""


class ClosedError(BackendError):
    """A session was used after it was closed."""


class PlanError(BackendError):
    """A TensorRT plan could not be built, does not fit this machine, or fails its own captures."""


class CheckpointError(FasdkError):
    """A checkpoint is unreadable, unsafe, truncated, or holds the weights of another model."""


class ModelError(FasdkError):
    """A model name or its configuration is unknown or inconsistent."""


class ExportError(FasdkError):
    """A module cannot be turned into a graph every backend accepts."""


class ParityError(FasdkError):
    """Two forms of one model disagree by more than their budget."""


class PrecisionError(FasdkError):
    """A precision is unknown, not available yet, or breaks its numeric budget."""


class BudgetError(PrecisionError):
    """A precision moves decisions by more than the liveness budget allows.

    Attributes:
        report: Dataclass with the candidates tried and the limits they miss.
    """

    def __init__(self, message: str, report: object) -> None:
        super().__init__(message)
        self.report = report


class DatasetError(FasdkError):
    """A folder or list of captures is missing, malformed or too small for what was asked."""


class NoThresholdError(DatasetError):
    """The scores of labeled captures allow no threshold that would let a person in."""


class TrainingError(FasdkError):
    """A training cannot start as asked, cannot be resumed, or diverged."""

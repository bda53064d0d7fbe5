"""Public names of fasdk, listed once; `import fasdk` loads them on first use."""

from fasdk.audit import AuditLog as AuditLog
from fasdk.audit import AuditPolicy as AuditPolicy
from fasdk.backends.engine import Backend as Backend
from fasdk.backends.engine import Preprocessing as Preprocessing
from fasdk.batching import BatchingPolicy as BatchingPolicy
from fasdk.batching import WhenFull as WhenFull
from fasdk.bundle.bundle import Bundle as Bundle
from fasdk.bundle.bundle import open_bundle as open_bundle
from fasdk.bundle.manifest import Precision as Precision
from fasdk.bundle.trust import TrustPolicy as TrustPolicy
from fasdk.capture import Capture as Capture
from fasdk.capture import FaceBox as FaceBox
from fasdk.capture import Modality as Modality
from fasdk.decision import Decision as Decision
from fasdk.decision import MissingModalities as MissingModalities
from fasdk.decision import OperatingPoint as OperatingPoint
from fasdk.decision import Verdict as Verdict
from fasdk.errors import FasdkError as FasdkError
from fasdk.faces import FaceFinder as FaceFinder
from fasdk.quality import QualityLimits as QualityLimits
from fasdk.reasons import Reason as Reason
from fasdk.registration import Rig as Rig
from fasdk.session.opening import open as open  # noqa: A004 - the word a caller expects
from fasdk.session.session import Liveness as Liveness
from fasdk.site.profile import SiteProfile as SiteProfile
from fasdk.tracking.policy import AttemptPolicy as AttemptPolicy
from fasdk.tracking.policy import LockOutPolicy as LockOutPolicy
from fasdk.tracking.policy import TrackPolicy as TrackPolicy
from fasdk.tracking.track import Track as Track
from fasdk.tracking.track import TrackDecision as TrackDecision

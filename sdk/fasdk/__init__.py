"""fasdk on the device: verify a bundle, judge captures, and only ever open a door on LIVE.

    import fasdk

    with fasdk.open("lobby.fasb") as liveness:
        decision = liveness.check(fasdk.Capture(rgb=rgb, depth=depth_mm, ir=ir, face=(x, y, w, h)))
        if decision.verdict is fasdk.Verdict.LIVE:
            ...
"""

from fasdk.backends import Backend
from fasdk.bundle import Bundle, Precision, open_bundle
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.decision import OperatingPoint, Verdict
from fasdk.errors import FasdkError
from fasdk.session import Decision, Liveness, open  # noqa: A004
from fasdk.trust import TrustPolicy

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "Bundle",
    "Capture",
    "Decision",
    "FaceBox",
    "FasdkError",
    "Liveness",
    "Modality",
    "OperatingPoint",
    "Precision",
    "TrustPolicy",
    "Verdict",
    "open",
    "open_bundle",
]

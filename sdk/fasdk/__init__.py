"""fasdk on the device: verify a bundle, judge captures, and only ever open a door on LIVE.

    import fasdk

    with fasdk.open("lobby.fasb") as liveness:
        decision = liveness.check(fasdk.Capture(rgb=rgb, depth=depth_mm, ir=ir, face=(x, y, w, h)))
        if decision.verdict is fasdk.Verdict.LIVE:
            ...

Each public name loads its module when it is first used, so that importing fasdk costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasdk.backends.engine import Backend
    from fasdk.batching import BatchingPolicy, WhenFull
    from fasdk.bundle.bundle import Bundle, open_bundle
    from fasdk.bundle.manifest import Precision
    from fasdk.bundle.trust import TrustPolicy
    from fasdk.capture import Capture, FaceBox, Modality
    from fasdk.decision import (
        Decision,
        MissingModalities,
        OperatingPoint,
        Verdict,
    )
    from fasdk.errors import FasdkError
    from fasdk.faces import FaceFinder
    from fasdk.quality import QualityLimits
    from fasdk.reasons import Reason
    from fasdk.registration import Rig
    from fasdk.session.session import Liveness, open  # noqa: A004
    from fasdk.tracking.policy import LockOutPolicy, TrackPolicy
    from fasdk.tracking.track import Track, TrackDecision

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BatchingPolicy",
    "Bundle",
    "Capture",
    "Decision",
    "FaceBox",
    "FaceFinder",
    "FasdkError",
    "Liveness",
    "LockOutPolicy",
    "MissingModalities",
    "Modality",
    "OperatingPoint",
    "Precision",
    "QualityLimits",
    "Reason",
    "Rig",
    "Track",
    "TrackDecision",
    "TrackPolicy",
    "TrustPolicy",
    "Verdict",
    "WhenFull",
    "open",
    "open_bundle",
]

_MODULES = {
    "backends.engine": ("Backend",),
    "batching": ("BatchingPolicy", "WhenFull"),
    "bundle.bundle": ("Bundle", "open_bundle"),
    "bundle.manifest": ("Precision",),
    "capture": ("Capture", "FaceBox", "Modality"),
    "decision": ("Decision", "MissingModalities", "OperatingPoint", "Verdict"),
    "errors": ("FasdkError",),
    "faces": ("FaceFinder",),
    "quality": ("QualityLimits",),
    "reasons": ("Reason",),
    "registration": ("Rig",),
    "session.session": ("Liveness", "open"),
    "tracking.track": ("Track", "TrackDecision"),
    "tracking.policy": ("LockOutPolicy", "TrackPolicy"),
    "bundle.trust": ("TrustPolicy",),
}


def __getattr__(name: str) -> object:
    """Load a public name's module and return it (PEP 562)."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            value: object = getattr(import_module(f"fasdk.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'fasdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

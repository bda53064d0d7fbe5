"""Comparison of two bundles by calls that take turns in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fasdk.errors import UsageError
from fasdk_tools.profiling.checked_calls import timed_check
from fasdk_tools.profiling.document import Document
from fasdk_tools.profiling.interleaved import (
    MEDIAN,
    TAIL,
    PairedTimes,
    Ratio,
    interleave,
    ratio_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fasdk.bundle.bundle import Bundle
    from fasdk.capture import Capture
    from fasdk.session.session import Liveness

TOLERANCE: Final = 0.05
"""Share by which a bundle may be slower than another before it counts."""


class ComparedBundle(Document):
    """One of the bundles that were compared.

    Attributes:
        bundle: Path as it was given.
        bundle_id: SHA-256 of its manifest.
        backend: Backend and release that ran it.
        precision: Precision of its graph.
    """

    bundle: str
    bundle_id: str
    backend: str
    precision: str

    @classmethod
    def of(cls, liveness: Liveness) -> ComparedBundle:
        """Describe the bundle in force of a session."""
        return cls(
            bundle=str(liveness.bundle.path),
            bundle_id=liveness.bundle.id,
            backend=f"{liveness.engine.backend.value} {liveness.engine.version}",
            precision=liveness.bundle.manifest.precision.value,
        )


class Against(Document):
    """The answer to `fasdk profile BUNDLE --against OTHER`.

    Attributes:
        schema_version: Version of this layout.
        bundle: The bundle in question.
        against: The bundle it is compared with.
        rounds: ABBA rounds that were made.
        calls: Calls counted of each bundle.
        tolerance: Share by which the bundle may be slower.
        median: Ratio of the medians, bundle over other.
        p99: Ratio of the 99th percentiles.
        slower: Whether the whole interval of a ratio lies above 1 + `tolerance`.
    """

    schema_version: Literal[1] = 1
    bundle: ComparedBundle
    against: ComparedBundle
    rounds: int
    calls: int
    tolerance: float
    median: Ratio
    p99: Ratio
    slower: bool


def require_same_inputs(bundle: Bundle, other: Bundle) -> None:
    """Check that two bundles take the same tensors of the same captures.

    Raises:
        UsageError: Their modalities or their preprocessing differ; what differs is named.
    """
    first, second = bundle.manifest, other.manifest
    named = [
        ("modalities", *("+".join(m.value for m in each.modalities) for each in (first, second)))
    ]
    named += [
        (
            f"inputs.{modality.value}",
            spec.model_dump_json(),
            second.inputs[modality].model_dump_json(),
        )
        for modality, spec in first.inputs.items()
        if modality in second.inputs
    ]
    for field, mine, theirs in named:
        if mine != theirs:
            raise UsageError(
                f"{bundle.path} and {other.path} have different {field}, {mine} and {theirs}: "
                "compare bundles that take the same inputs"
            )


def compare_bundles(
    liveness: Liveness,
    other: Liveness,
    captures: Sequence[Capture],
    *,
    seconds: float,
    tolerance: float = TOLERANCE,
    on_progress: Callable[[float], None] | None = None,
) -> Against:
    """Measure two sessions in ABBA blocks and return the ratios of their times.

    Args:
        liveness: Session on the bundle in question.
        other: Session on the bundle it is compared with, of the same inputs.
        captures: Captures that both check in turn.
        seconds: Time to measure for, in seconds.
        tolerance: Share by which the bundle may be slower.
        on_progress: Callback with the share that is done, in [0, 1].

    Raises:
        UsageError: The bundles take different inputs, or there is no capture.
        BackendError: A capture was not scored.
    """
    require_same_inputs(liveness.bundle, other.bundle)
    times = interleave(
        timed_check(other, captures),
        timed_check(liveness, captures),
        seconds=seconds,
        on_progress=on_progress,
    )
    return compared(times, ComparedBundle.of(liveness), ComparedBundle.of(other), tolerance)


def compared(
    times: PairedTimes, bundle: ComparedBundle, against: ComparedBundle, tolerance: float
) -> Against:
    """Return the answer that interleaved times give; the other bundle's are the first side."""
    median, p99 = (
        ratio_of(times.first_ms, times.second_ms, p, is_paired=True) for p in (MEDIAN, TAIL)
    )
    return Against(
        bundle=bundle,
        against=against,
        rounds=len(times.first_ms),
        calls=times.first_ms.size,
        tolerance=tolerance,
        median=median,
        p99=p99,
        slower=median.exceeds(tolerance) or p99.exceeds(tolerance),
    )

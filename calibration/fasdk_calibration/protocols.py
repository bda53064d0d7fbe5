"""Cross-domain protocols of the MMDG benchmark: source and target domains.

P1 leaves one domain out, P2 takes modalities away from P1's tests, P3 trains on two domains and
tests on the other two (Lin et al., CVPR 2024). Domains are named by the letters of the benchmark's
data sets: W WMCA, C CeFA, P PADISI, S CASIA-SURF. The published figures set the threshold on the
test set itself; here it comes from the training domains' development captures, as a device's must.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk.settings import as_choices
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.metrics import auc, eer_threshold, half_total_error_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

Missing = frozenset[Modality]
NONE_MISSING: Missing = frozenset()


def as_missing(sets: Iterable[Iterable[Modality | str]]) -> tuple[Missing, ...]:
    """Return sets of missing modalities, each given by members or by names.

    Raises:
        UsageError: There is no such modality.
    """
    return tuple(frozenset(as_choices("missing", names, Modality)) for names in sets)


@dataclass(frozen=True)
class DomainSplit:
    """Source and target domains of one training.

    Attributes:
        train: Letters of the domains that are trained on and whose development captures choose
            the threshold.
        test: Letters of the domains that are tested on, together.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a split that tests on what it trained on, or that lacks a side."""
        if not self.train or not self.test:
            raise DatasetError(f"split {self.name} needs a domain on either side")
        both = sorted(set(self.train) & set(self.test))
        if both:
            raise DatasetError(
                f"split {self.name} trains and tests on {', '.join(both)}: take it off one side"
            )

    @property
    def name(self) -> str:
        """As papers write it, such as CPS->W."""
        return f"{''.join(self.train)}->{''.join(self.test)}"


@dataclass(frozen=True)
class Protocol:
    """Splits and missing modalities; the protocol's figure is the mean over both.

    Attributes:
        name: Name, P1, P2 or P3.
        title: Question the protocol asks.
        splits: Splits, each of which is one training.
        missing: Sets of modalities taken away at test; P2 has several.
    """

    name: str
    title: str
    splits: tuple[DomainSplit, ...]
    missing: tuple[Missing, ...] = (NONE_MISSING,)


_LEAVE_ONE_OUT = (
    DomainSplit(("C", "P", "S"), ("W",)),
    DomainSplit(("C", "P", "W"), ("S",)),
    DomainSplit(("C", "S", "W"), ("P",)),
    DomainSplit(("P", "S", "W"), ("C",)),
)
PROTOCOLS = (
    Protocol("P1", "leave one domain out", _LEAVE_ONE_OUT),
    Protocol(
        "P2",
        "modalities missing at test",
        _LEAVE_ONE_OUT,
        (
            frozenset({Modality.DEPTH}),
            frozenset({Modality.IR}),
            frozenset({Modality.DEPTH, Modality.IR}),
        ),
    ),
    Protocol(
        "P3",
        "two sources only",
        (DomainSplit(("C", "W"), ("P", "S")), DomainSplit(("P", "S"), ("C", "W"))),
    ),
)


@dataclass(frozen=True)
class DomainCaptures:
    """One domain's captures; no subject is in two of the three parts.

    Attributes:
        train: Captures the model is trained on.
        development: Captures that choose the epoch and the threshold.
        test: Captures of the report where the domain is a target.
    """

    train: Sequence[LabeledCapture]
    development: Sequence[LabeledCapture]
    test: Sequence[LabeledCapture]


def gather(split: DomainSplit, domains: Mapping[str, DomainCaptures]) -> DomainCaptures:
    """Return the training, development and test captures of one split.

    Args:
        split: Source and target domains.
        domains: Captures of every domain by letter.

    Raises:
        DatasetError: A domain is not among `domains`, or a person or a domain's name is seen both
            in training or development and in the test.
    """
    absent = sorted((set(split.train) | set(split.test)) - set(domains))
    if absent:
        raise DatasetError(
            f"split {split.name} needs domain {', '.join(absent)}; there are {', '.join(domains)}"
        )
    gathered = DomainCaptures(
        train=[c for letter in split.train for c in domains[letter].train],
        development=[c for letter in split.train for c in domains[letter].development],
        test=[c for letter in split.test for c in domains[letter].test],
    )
    seen = {item.domain for item in (*gathered.train, *gathered.development)}
    leaked = sorted(seen & {item.domain for item in gathered.test})
    if leaked:
        raise DatasetError(
            f"split {split.name} tests on {', '.join(leaked)}, which it also trains on: "
            "its captures are listed under two letters"
        )
    return gathered


def without(item: LabeledCapture, missing: Missing) -> LabeledCapture:
    """Return a labeled capture as a rig without some sensors would hand it in.

    Raises:
        CaptureError: Nothing would be left.
    """
    reduced = reduce_capture(item.capture, missing)
    return item if reduced is item.capture else replace(item, capture=reduced)


def reduce_capture(capture: Capture, missing: Missing) -> Capture:
    """Return a capture as a rig without some sensors would hand it in.

    Raises:
        CaptureError: Nothing would be left.
    """
    if not missing & set(capture.present):
        return capture
    left = [m for m in capture.present if m not in missing]
    frames = {m: capture.frame(m) for m in left}
    if not left:
        return Capture.of(frames)
    # The face is given in pixels of the first frame present, which may be another now.
    return Capture.of(frames, capture.face_in(left[0]), capture.landmarks_in(left[0]))


def missing_name(missing: Missing) -> str:
    """Return what is missing as tables write it, such as "depth+ir", or "none"."""
    return "+".join(m.value for m in Modality if m in missing) or "none"


@dataclass(frozen=True)
class Outcome:
    """Error rates of one model on one test.

    Attributes:
        threshold: Score at which the development captures' error rates are equal.
        hter: Half total error rate of the test captures at that threshold, in [0, 1].
        test_eer: Half total error rate where the test captures' own error rates meet: what the
            published tables call HTER. It needs the test's labels, so no device can reach it.
        auc: Area under the test captures' ROC curve.
    """

    threshold: float
    hter: float
    test_eer: float
    auc: float


def compute_outcome(
    development: NDArray[np.float64],
    development_live: NDArray[np.bool_],
    test: NDArray[np.float64],
    test_live: NDArray[np.bool_],
) -> Outcome:
    """Return the error rates of a model, given its scores.

    Args:
        development: float64 [N], P(bona fide) of the training domains' development captures, with
            the same modalities missing as in the test.
        development_live: bool [N], whether each development capture is bona fide.
        test: float64 [M], P(bona fide) of the test captures.
        test_live: bool [M], whether each test capture is bona fide.

    Raises:
        DatasetError: A class is absent from either side, a score is NaN, or lengths differ.
    """
    threshold = eer_threshold(development, development_live)
    return Outcome(
        threshold=threshold,
        hter=half_total_error_rate(test, test_live, threshold),
        test_eer=half_total_error_rate(test, test_live, eer_threshold(test, test_live)),
        auc=auc(test, test_live),
    )

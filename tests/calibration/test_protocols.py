"""Cross-domain protocols of the MMDG benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, DatasetError
from fasdk_calibration.datasets import Label, LabeledCapture
from fasdk_calibration.protocols import (
    NONE_MISSING,
    PROTOCOLS,
    DomainCaptures,
    DomainSplit,
    compute_outcome,
    gather,
    missing_name,
    without,
)

P1, P2, P3 = PROTOCOLS


def capture_of(domain: str, part: str, number: int) -> LabeledCapture:
    """A labeled capture; its depth has half the resolution of the rest."""
    live = number % 2 == 0
    return LabeledCapture(
        capture=Capture(
            rgb=np.full((8, 8, 3), number, np.uint8),
            depth=np.full((4, 4), 500 + number, np.uint16),
            ir=np.full((8, 8), number, np.uint8),
            face=(2, 2, 4, 6),
        ),
        id=f"{domain}-{part}-{number}",
        label=Label.BONA_FIDE if live else Label.ATTACK,
        species="bona fide" if live else "print",
        subject=f"{part}-{number}",
        domain=domain,
        presentation=f"{domain}-{part}-{number}",
    )


def domain_of(name: str) -> DomainCaptures:
    return DomainCaptures(
        *([capture_of(name, part, n) for n in range(4)] for part in ("train", "dev", "test"))
    )


DOMAINS = {letter: domain_of(f"domain {letter}") for letter in "WCPS"}


def test_the_splits_are_the_benchmarks():
    assert [split.name for split in P1.splits] == ["CPS->W", "CPW->S", "CSW->P", "PSW->C"]
    assert P2.splits == P1.splits
    assert [missing_name(missing) for missing in P2.missing] == ["depth", "ir", "depth+ir"]
    assert [split.name for split in P3.splits] == ["CW->PS", "PS->CW"]
    assert P1.missing == P3.missing == (NONE_MISSING,)


@pytest.mark.parametrize(
    "split", dict.fromkeys([*P1.splits, *P3.splits]), ids=lambda split: split.name
)
def test_gather_keeps_the_target_domain_out_of_training_and_development(split):
    gathered = gather(split, DOMAINS)
    seen = {item.domain for item in (*gathered.train, *gathered.development)}
    assert seen == {f"domain {letter}" for letter in split.train}
    assert {item.domain for item in gathered.test} == {f"domain {letter}" for letter in split.test}
    assert seen.isdisjoint(item.domain for item in gathered.test)
    assert {item.id.split("-")[1] for item in gathered.train} == {"train"}
    assert {item.id.split("-")[1] for item in gathered.development} == {"dev"}
    assert {item.id.split("-")[1] for item in gathered.test} == {"test"}
    assert len(gathered.train) == 4 * len(split.train)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DomainSplit(("C", "W"), ("W",)), "split CW->W trains and tests on W"),
        (lambda: DomainSplit((), ("W",)), "a domain on either side"),
        (lambda: DomainSplit(("W",), ()), "a domain on either side"),
        (lambda: gather(P1.splits[0], {"C": DOMAINS["C"]}), "needs domain P, S, W; there are C"),
        # One folder given twice under two letters.
        (
            lambda: gather(P1.splits[0], DOMAINS | {"W": DOMAINS["C"]}),
            "tests on domain C, which it also trains on",
        ),
    ],
)
def test_a_split_that_would_leak_is_refused(call, message):
    with pytest.raises(DatasetError, match=message):
        call()


def test_a_missing_modality_is_absent_from_the_capture_itself():
    """Not zeros: each model then takes its own published convention, by value or by presence."""
    item = capture_of("W", "test", 0)
    assert without(item, NONE_MISSING) is item
    for missing in P2.missing:
        left = without(item, missing)
        assert left.capture.present == tuple(m for m in Modality if m not in missing)
        assert all(left.capture.frame(m) is item.capture.frame(m) for m in left.capture.present)
        assert (left.id, left.label, left.domain) == (item.id, item.label, item.domain)
    assert without(without(item, P2.missing[2]), P2.missing[0]).capture.present == (Modality.RGB,)


def test_the_face_box_follows_to_the_first_frame_left():
    left = without(capture_of("W", "test", 0), frozenset({Modality.RGB}))
    assert left.capture.face == FaceBox(1, 1, 2, 3)
    with pytest.raises(CaptureError, match="holds no frame"):
        without(left, frozenset(Modality))


def test_the_threshold_comes_from_the_development_captures():
    live = np.array([True, True, False, False])
    separated = np.array([0.9, 0.8, 0.4, 0.3])
    # The target domain separates just as well, but lower: the threshold refuses all its faces.
    outcome = compute_outcome(separated, live, separated - 0.3, live)
    assert outcome.threshold == pytest.approx(0.6)
    assert (outcome.hter, outcome.test_eer, outcome.auc) == (0.5, 0.0, 1.0)
    assert compute_outcome(separated, live, separated, live).hter == 0.0
    with pytest.raises(DatasetError, match="both classes"):
        compute_outcome(separated, np.ones(4, bool), separated, live)
    with pytest.raises(DatasetError, match="no attack"):
        compute_outcome(separated, live, separated, np.ones(4, bool))

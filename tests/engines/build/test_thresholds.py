"""Provisional thresholds, one for each combination of modalities."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import CaptureRecord, Label
from fasdk_engines.build.thresholds import choose_provisional_points
from fasdk_engines.graph.captures import DevelopmentSet

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR
GRAPH = "0" * 64
FRAMES = {
    RGB: np.zeros((4, 4, 3), np.uint8),
    DEPTH: np.zeros((4, 4), np.uint16),
    IR: np.zeros((4, 4), np.uint8),
}


def development(rows: list[tuple[tuple[Modality, ...], bool]]) -> DevelopmentSet:
    """Return captures by the modalities they hold and whether they are bona fide."""
    captures = [Capture(**{m.value: FRAMES[m] for m in held}) for held, _ in rows]
    records = [
        CaptureRecord(
            id=f"c{index}",
            subject=f"s{index}",
            label=Label.BONA_FIDE if bona_fide else Label.ATTACK,
            species="bona fide" if bona_fide else "print",
            domain="made up",
            presentation=f"p{index}",
            **{m.value: f"{m.value}.png" for m in held},
        )
        for index, (held, bona_fide) in enumerate(rows)
    ]
    return DevelopmentSet("dev.jsonl", tuple(records), tuple(captures))


def logits_of(scores: list[float]) -> np.ndarray:
    return np.array([[0.0, np.log(s / (1 - s))] for s in scores], np.float32)


def test_each_combination_gets_its_own_threshold():
    whole, no_depth = (RGB, DEPTH, IR), (RGB, IR)
    rows = [(whole, False), (whole, True), (no_depth, False), (no_depth, True)]
    points, note, document = choose_provisional_points(
        development(rows), logits_of([0.1, 0.9, 0.6, 0.8]), 1, whole, GRAPH
    )
    assert [point.id for point in points] == ["standard/rgb+depth+ir", "standard/rgb+ir"]
    assert [point.threshold for point in points] == pytest.approx([0.5, 0.7], abs=1e-6)
    assert "2 development captures of 2 subjects" in points[1].source
    assert note == "provisional: 4 development captures of 4 subjects in dev.jsonl"
    assert [p["threshold"] for p in document["operating_points"]] == [p.threshold for p in points]


def test_a_combination_of_one_class_gets_none_and_is_named():
    rows = [((RGB, IR), False), ((RGB, IR), True), ((RGB,), True)]
    points, note, _ = choose_provisional_points(
        development(rows), logits_of([0.1, 0.9, 0.9]), 1, (RGB, IR), GRAPH
    )
    assert [point.id for point in points] == ["standard/rgb+ir"]
    assert note.endswith("; no threshold for rgb (1 captures of one class)")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([((RGB,), True), ((RGB,), True)], "hold no attack presentation"),
        ([((RGB,), True), ((IR,), False)], "no threshold can be chosen: rgb .*, ir .*"),
    ],
)
def test_without_both_classes_anywhere_there_is_no_threshold(rows, words):
    with pytest.raises(DatasetError, match=words):
        choose_provisional_points(development(rows), logits_of([0.8, 0.9]), 1, (RGB, IR), GRAPH)

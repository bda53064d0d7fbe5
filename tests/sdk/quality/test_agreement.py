"""Agreement of the sensors: where a face is, how large, and its outline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.quality.agreement import Pair, disagreement, margins
from fasdk.reasons import Reason
from fasdk_calibration.synthetic import Species, Split, generate

RGB, DEPTH, IR = Modality.RGB, Modality.DEPTH, Modality.IR


@pytest.fixture(scope="module")
def person():
    return generate(4, 3, Split.HELD_OUT, species=Species.BONA_FIDE).capture


def moved(frame, right, down):
    """Return a frame whose picture is so many pixels further right and down."""
    return np.roll(frame, (down, right), axis=(0, 1))


def only(capture, *modalities):
    return Capture.of({m: capture.frame(m) for m in modalities}, face=capture.face)


@pytest.mark.parametrize(
    ("modalities", "pairs"),
    [
        ((RGB, DEPTH, IR), {Pair.RGB_IR, Pair.DEPTH_BOTH}),
        ((RGB, IR), {Pair.RGB_IR}),
        ((RGB, DEPTH), {Pair.DEPTH_RGB}),
        ((DEPTH, IR), {Pair.DEPTH_IR}),
        ((RGB,), set()),
        ((DEPTH,), set()),
    ],
)
def test_what_sensors_there_are_is_compared(person, modalities, pairs):
    capture = only(person, *modalities)
    assert margins(capture).keys() == pairs
    assert disagreement(capture) is None


@pytest.mark.parametrize("modality", [RGB, DEPTH, IR])
@pytest.mark.parametrize(("right", "down"), [(45, 0), (-45, 0), (0, 40), (-35, -35)])
def test_a_face_at_another_place_in_one_sensor_is_found(person, modality, right, down):
    frame = moved(person.frame(modality), right, down)
    found = disagreement(replace(person, **{modality.value: frame}))
    assert found is not None
    assert found.reason is Reason.SENSORS_DISAGREE
    assert "do not show the same face" in found.message


@pytest.mark.parametrize("modality", [RGB, DEPTH, IR])
def test_a_few_pixels_are_how_well_sensors_are_registered(person, modality):
    frame = moved(person.frame(modality), 2, -2)
    assert disagreement(replace(person, **{modality.value: frame})) is None


def test_light_and_the_units_of_light_change_nothing(person):
    dim = replace(person, rgb=person.rgb // 2, ir=person.ir // 3 * 2)
    assert disagreement(dim) is None
    assert margins(dim)[Pair.RGB_IR] == pytest.approx(margins(person)[Pair.RGB_IR], abs=0.15)


def test_frames_of_other_sizes_are_compared_in_their_own_boxes(person):
    half = replace(person, ir=np.ascontiguousarray(person.ir[::2, ::2]))
    assert disagreement(half) is None


@pytest.mark.parametrize("box", [FaceBox(0, 0, 1, 1), FaceBox(319, 239, 1, 1), (0, 0, 320, 240)])
def test_any_box_gets_an_answer(person, box):
    found = margins(replace(person, face=box))
    assert all(-3.0 <= margin <= 3.0 for margin in found.values())


def test_without_a_face_or_depth_on_it_nothing_is_compared(person):
    assert margins(replace(person, face=None)) == {}
    blind = replace(person, depth=np.zeros_like(person.depth))
    assert margins(blind).keys() == {Pair.RGB_IR}


def test_a_sensor_that_shows_nothing_agrees_with_none(person):
    blank = replace(person, ir=np.full_like(person.ir, 90))
    assert disagreement(blank).reason is Reason.SENSORS_DISAGREE

"""Synthetic generator: captures from a seed and a number."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk.capture import FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import Label, LabeledCapture, load_list
from fasdk_calibration.metrics import auc
from fasdk_calibration.synthetic import (
    SceneSettings,
    Species,
    Split,
    generate,
    generate_many,
    split_sizes,
    write_dataset,
)

from support.progress import RecordedProgress

SMALL = SceneSettings(width=160, height=120)
Population = dict[Species, list[LabeledCapture]]


def frames(item: LabeledCapture) -> list[np.ndarray]:
    return [item.capture.frame(m) for m in Modality]


def face_of(item: LabeledCapture, modality: Modality) -> np.ndarray:
    box = FaceBox.of(item.capture.face)
    frame = item.capture.frame(modality)
    return frame[box.y : box.y + box.height, box.x : box.x + box.width]


def test_frames_are_registered_and_have_the_units_of_a_capture():
    item = generate(0, 0)
    rgb, depth, ir = frames(item)
    assert (rgb.shape, depth.shape, ir.shape) == ((240, 320, 3), (240, 320), (240, 320))
    assert (rgb.dtype, depth.dtype, ir.dtype) == (np.uint8, np.uint16, np.uint8)


def test_a_capture_depends_on_its_seed_split_and_number_alone():
    alone = generate(3, 5, settings=SMALL)
    among = list(generate_many(3, 8, settings=SMALL, threads=3))
    assert [item.id for item in among] == [f"train-{i:06d}" for i in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(frames(alone), frames(among[5]), strict=True))
    others = (
        generate(4, 5, settings=SMALL),
        generate(3, 7, settings=SMALL),
        generate(3, 5, Split.HELD_OUT, settings=SMALL),
    )
    for other in others:
        assert not np.array_equal(alone.capture.rgb, other.capture.rgb)


def test_labels_alternate_and_every_species_takes_its_turn():
    made = list(generate_many(0, 18, settings=SMALL))
    assert sum(item.is_bona_fide for item in made) == 9
    assert {item.species for item in made} == {s.value for s in Species}
    assert all(item.is_bona_fide == (item.species == "bona fide") for item in made)


def test_no_subject_is_in_two_splits():
    seen = [set(split.subjects) for split in Split]
    assert not seen[0] & seen[1] and not seen[1] & seen[2] and not seen[0] & seen[2]


def test_the_face_box_lies_on_the_nearest_thing_in_view(population: Population):
    for item in (c for species in Species for c in population[species]):
        face = face_of(item, Modality.DEPTH)
        valid = face[face > 0]
        if item.species == Species.REPLAY:
            continue  # glass leaves holes
        assert valid.size > 0.6 * face.size
        assert 250 < np.median(valid) < 800


def test_depth_tells_relief_from_flat(population: Population):
    def relief_mm(item: LabeledCapture) -> float:
        face = face_of(item, Modality.DEPTH).astype(float)
        rows, columns = np.nonzero(face)
        z = face[rows, columns]
        plane = np.column_stack([rows, columns, np.ones_like(rows)])
        near = np.abs(z - np.median(z)) < 150  # not the wall beside the sheet
        residual = z - plane @ np.linalg.lstsq(plane[near], z[near], rcond=None)[0]
        return float(np.percentile(residual[near], 90) - np.percentile(residual[near], 10))

    faces = [relief_mm(c) for c in population[Species.BONA_FIDE]]
    masks = [relief_mm(c) for c in population[Species.RIGID_MASK]]
    sheets = [relief_mm(c) for c in population[Species.PRINT_FLAT]]
    assert np.median(faces) > 15 and np.median(masks) > 15
    assert np.median(sheets) < 10


def test_infrared_falls_with_distance_squared_and_screens_stay_dark(population: Population):
    lit = [
        (np.median(face_of(c, Modality.DEPTH)), np.median(face_of(c, Modality.IR)))
        for c in population[Species.BONA_FIDE]
    ]
    distance, level = np.array(lit).T
    slope = np.polyfit(np.log(distance), np.log(level), 1)[0]
    assert -3.0 < slope < -1.0
    dark = [np.median(face_of(c, Modality.IR)) for c in population[Species.REPLAY]]
    assert np.median(dark) < 0.5 * np.median(level)


def test_no_single_pixel_statistic_tells_live_from_attack(population: Population):
    """Otherwise a model would learn that statistic and the instrument would measure nothing."""
    items = [c for species in Species for c in population[species]]
    # As many bona fide captures as attacks.
    items += [generate(5, i, species=Species.BONA_FIDE, settings=SMALL) for i in range(16, 48)]
    labels = np.array([c.is_bona_fide for c in items])
    for modality in Modality:
        for statistic in (np.mean, np.std, np.median, np.min, np.max):
            values = np.array([float(statistic(face_of(c, modality))) for c in items])
            area = auc(values, labels)
            assert max(area, 1 - area) < 0.95, (modality, statistic.__name__)


def test_a_data_set_is_written_with_the_same_captures_whatever_its_size(tmp_path):
    progress = RecordedProgress()
    lists = write_dataset(tmp_path, 30, seed=1, settings=SMALL, progress=progress)
    assert progress.reports == [("captures", i, 30) for i in range(1, 31)]
    assert {s: len(load_list(p)) for s, p in lists.items()} == split_sizes(30)
    first = load_list(lists[Split.HELD_OUT])[0]
    again = generate(1, 0, Split.HELD_OUT, settings=SMALL)
    assert all(np.array_equal(a, b) for a, b in zip(frames(first), frames(again), strict=True))
    assert (first.id, first.subject, first.label) == (again.id, again.subject, Label.BONA_FIDE)
    subjects = [{c.subject for c in load_list(path)} for path in lists.values()]
    assert not set.intersection(*subjects)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generate(-1, 0), "seed -1"),
        (lambda: generate(0, -1), "index -1"),
        (lambda: SceneSettings(width=10), "at least 64x48"),
        (lambda: SceneSettings(distance_mm=(500.0, 400.0)), "must rise"),
        (lambda: split_sizes(29), "at least 30"),
    ],
)
def test_generator_refuses_negative_seeds_and_unusable_settings(call, message):
    with pytest.raises(DatasetError, match=message):
        call()

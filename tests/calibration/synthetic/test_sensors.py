"""Sensor models of the synthetic captures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fasdk.capture import FaceBox, Modality
from fasdk.errors import DatasetError
from fasdk_calibration.synthetic import (
    ContactSheet,
    Population,
    SceneSettings,
    Species,
    Split,
    draw_contact_sheet,
    generate,
    generate_mixed,
    write_dataset,
)
from fasdk_calibration.synthetic.domains import populations_of
from fasdk_calibration.synthetic.sensors import Misregistration, SensorSettings

SMALL = SceneSettings(width=128, height=96)
IDEAL = replace(SMALL, sensors=SensorSettings(misregistration_px=0.0, flying=0.0))


def frames_of(settings: SceneSettings, index: int = 0, species: Species | None = None):
    capture = generate(2, index, species=species, settings=settings).capture
    return capture.rgb, capture.depth, capture.ir


def test_a_rigs_error_moves_depth_and_infrared_together_against_color():
    plain = frames_of(IDEAL)
    moved = frames_of(replace(IDEAL, sensors=replace(IDEAL.sensors, misregistration_px=6.0)))
    assert np.array_equal(plain[0], moved[0])
    assert not np.array_equal(plain[1], moved[1]) and not np.array_equal(plain[2], moved[2])
    picture = np.arange(96 * 128, dtype=np.uint16).reshape(96, 128)
    shifted = Misregistration((5.0, -2.5), 0.0, 1.0).apply(picture)
    assert np.array_equal(shifted[0:90, 10:], picture[1:91, 8:-2])  # 128 is 0.4 of 320 pixels
    assert np.array_equal(Misregistration((0.0, 0.0), 0.0, 1.0).apply(picture), picture)


def test_a_small_full_well_saturates_where_a_large_one_does_not():
    shallow = SensorSettings(rgb_full=0.3, nir_full=0.3)
    for plain, clipped in zip(
        frames_of(IDEAL)[::2], frames_of(replace(IDEAL, sensors=shallow))[::2], strict=True
    ):
        assert (clipped == 255).mean() > (plain == 255).mean() + 0.005


def test_pixels_fly_only_at_silhouettes_and_only_where_the_sensor_lets_them():
    def between(flying: float) -> int:
        sensors = SensorSettings(misregistration_px=0.0, flying=flying)
        depth = frames_of(replace(IDEAL, sensors=sensors))[1].astype(int)
        return int(((depth > 680) & (depth < 900)).sum())  # no head reaches there, no wall begins

    assert between(0.0) < 0.2 * between(0.7)
    assert between(0.7) > 20


def test_frames_of_a_presentation_show_one_subject_who_moves():
    scene = replace(SMALL, frames_per_presentation=4)
    made = [generate(7, i, settings=scene) for i in range(12)]
    for first in range(0, 12, 4):
        group = made[first : first + 4]
        assert len({(c.subject, c.species, c.presentation) for c in group}) == 1
        assert group[0].presentation == group[0].id
        boxes = {FaceBox.of(c.capture.face) for c in group}
        assert len(boxes) > 1
        pairs = pairwise(group)
        assert all(not np.array_equal(a.capture.rgb, b.capture.rgb) for a, b in pairs)
    assert len({c.presentation for c in made}) == 3
    assert [c.is_bona_fide for c in made] == [True] * 4 + [False] * 4 + [True] * 4
    # One frame a presentation is the first of several.
    for number in range(3):
        alone = generate(7, number, settings=SMALL).capture
        assert np.array_equal(alone.rgb, made[4 * number].capture.rgb)


def test_populations_take_turns_and_their_ids_and_subjects_do_not_collide():
    made = list(generate_mixed(populations_of(["W", "S"], 0, size=(96, 72)), 8, threads=2))
    assert [c.domain for c in made] == ["office", "studio"] * 4
    assert len({c.id for c in made}) == 8
    assert {c.subject.split("-")[0] for c in made} == {"office", "studio"}
    assert {c.capture.frame(Modality.IR).shape for c in made} == {(72, 96)}
    assert [c.is_bona_fide for c in made] == [True, True, False, False] * 2


def test_a_population_may_be_asked_for_some_species_alone():
    (population,) = populations_of([], 3, attacks=(Species.MAKEUP,), frames_per_presentation=2)
    made = [
        generate(3, i, settings=replace(population.settings, width=96, height=72)) for i in range(4)
    ]
    assert [c.species for c in made] == ["bona fide", "bona fide", "makeup", "makeup"]


def test_a_contact_sheet_has_a_row_a_species_and_three_frames_a_capture(tmp_path):
    sheet = ContactSheet(each=2)
    lists = write_dataset(
        tmp_path, 30, 1, populations=[Population(1, SMALL)], look=sheet.add, threads=1
    )
    assert set(lists) == set(Split)
    rows = sheet.rows
    assert list(rows)[:2] == ["bona fide", "print flat"]
    assert all(0 < len(row) <= 2 for row in rows.values())
    drawn = draw_contact_sheet(rows)
    alone = draw_contact_sheet({"bona fide": rows["bona fide"]})
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
    row = (drawn.shape[0] - alone.shape[0]) / (len(rows) - 1)
    assert row == pytest.approx(160) and drawn.shape[1] == alone.shape[1]
    assert np.array_equal(drawn[: alone.shape[0]], alone)
    sheet.write(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: SceneSettings(frames_per_presentation=0), "frames_per_presentation 0"),
        (lambda _: SceneSettings(spectacles=1.5), "spectacles 1.5"),
        (lambda _: SensorSettings(flying=0.9), "flying 0.9"),
        (lambda _: SensorSettings(rgb_full=0.0), "rgb_full 0.0"),
        (lambda _: SensorSettings(misregistration_px=11.0), "misregistration_px 11.0"),
        (lambda _: populations_of(["W", "W"], 0), "name one twice"),
        (lambda _: populations_of([], 0, size=(10, 10)), "at least 64x48"),
        (lambda _: list(generate_mixed([], 3)), "no population"),
        (lambda _: draw_contact_sheet({}), "no captures"),
        (lambda path: ContactSheet().write(path / "sheet.png"), "no captures"),
    ],
)
def test_sensor_and_lighting_settings_out_of_range_are_refused(call, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        call(tmp_path)

"""Species of the synthetic presentations."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import numpy as np
import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.synthetic import (
    ATTACKS,
    SceneSettings,
    Species,
    generator,
    parse_attacks,
    taking_turns,
)
from fasdk_calibration.synthetic.attacks import print_face, replay_face
from fasdk_calibration.synthetic.head import EYES_Y_MM, Grid, Head, build_head, draw_subject
from fasdk_calibration.synthetic.scene import Camera, Pose, see_carrier, see_wall
from fasdk_calibration.synthetic.worn import (
    fake_head,
    wear_flexible_mask,
    wear_makeup,
    wear_paper_mask,
    wear_partial_glasses,
    wear_rigid_mask,
    wear_spectacles,
)

DRAWS = 12
FACING = Pose((0.0, 0.0, -500.0), 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def people() -> list[Head]:
    return [build_head(draw_subject(np.random.default_rng(i))) for i in range(2)]


def worn(make, people: list[Head]) -> list[Head]:
    return [make(people[0], people[1], np.random.default_rng(i)) for i in range(DRAWS)]


def face(head: Head) -> np.ndarray:
    return head.face > 0.5


def eyes(head: Head) -> np.ndarray:
    grid = Grid()
    across = (np.abs(grid.x) - head.eye_spacing / 2) / 8.0
    return across**2 + ((grid.y - EYES_Y_MM) / 4.0) ** 2 < 1.0


def infrared(head: Head) -> float:
    return float(np.median(head.nir[face(head) & ~eyes(head)]))


@pytest.mark.parametrize(
    "make", [wear_paper_mask, wear_rigid_mask, wear_flexible_mask, wear_partial_glasses]
)
def test_worn_instruments_lie_before_the_face_and_are_thin(make, people):
    for head in worn(make, people):
        lift = (head.height - people[0].height)[face(people[0])]
        assert lift.min() > -6.0  # eye holes of a hard mask are set back
        assert 0.0 < lift.max() < 80.0


def test_makeup_changes_albedo_and_infrared_but_no_relief(people):
    for head in worn(wear_makeup, people):
        assert np.array_equal(head.height, people[0].height)
        assert not np.array_equal(head.albedo, people[0].albedo)
        off = ~face(people[0])
        assert np.array_equal(head.albedo[off], people[0].albedo[off])


@pytest.mark.parametrize("make", [wear_rigid_mask, wear_flexible_mask])
def test_no_mask_has_the_infrared_reflectance_of_skin(make, people):
    off = [abs(infrared(head) - infrared(people[0])) for head in worn(make, people)]
    assert np.median(off) > 0.08
    assert infrared(people[0]) == pytest.approx(0.55, abs=0.06)


def test_a_flexible_mask_follows_its_wearer_and_a_rigid_one_the_victim(people):
    wearer, victim = people
    inside = face(wearer) & face(victim) & (wearer.height > 40) & (victim.height > 40)

    def unlike(made: list[Head], whose: Head) -> float:
        found = [(head.height - whose.height)[inside] for head in made]
        return float(np.mean([np.std(f) for f in found]))

    flexible, rigid = worn(wear_flexible_mask, people), worn(wear_rigid_mask, people)
    assert unlike(flexible, wearer) < unlike(rigid, wearer)
    assert unlike(rigid, victim) < unlike(rigid, wearer)


def test_the_wearers_own_eyes_show_through_masks_of_paper_and_silicone(people):
    for make in (wear_paper_mask, wear_flexible_mask):
        for head in worn(make, people):
            pupils = eyes(people[0]) & (np.abs(np.abs(Grid().x) - head.eye_spacing / 2) < 4)
            assert np.array_equal(head.gloss[pupils], people[0].gloss[pupils])
    for head in worn(wear_partial_glasses, people):
        assert not np.array_equal(head.albedo[eyes(head)], people[0].albedo[eyes(head)])


def test_a_fake_heads_eyes_are_dry(people):
    assert people[0].gloss[eyes(people[0])].mean() > 5 * np.median(people[0].gloss[face(people[0])])
    for i in range(DRAWS):
        head = fake_head(people[0], np.random.default_rng(i))
        assert np.ptp(head.gloss[face(head)]) == 0.0  # as dull or shiny as the cheeks
        assert np.ptp(np.quantile(head.nir[eyes(head)], [0.1, 0.9])) < np.ptp(
            np.quantile(people[0].nir[eyes(people[0])], [0.1, 0.9])
        )


def test_spectacles_leave_the_eyes_visible(people):
    for i in range(DRAWS):
        head = wear_spectacles(people[0], np.random.default_rng(i))
        assert np.array_equal(head.albedo[eyes(head)], people[0].albedo[eyes(head)])
        assert (head.height >= people[0].height).all()
        assert (head.height > people[0].height).sum() > 50


def test_only_a_curved_sheet_has_relief_and_no_sheet_has_a_nose(people):
    camera = Camera(96, 72, 86.0)
    wall = see_wall(camera, np.random.default_rng(0))

    def bow_mm(curved: bool, seed: int) -> float:
        sheet = print_face(people[0], np.random.default_rng(seed), curved=curved)
        view = see_carrier(replace(sheet, cut_out=False), FACING, camera, wall)
        on = view.face > 0.5
        middle = on[36].nonzero()[0]
        row = view.distance[36, middle]
        return float(row.max() - row.min())

    assert max(bow_mm(False, i) for i in range(6)) < 3.0
    assert min(bow_mm(True, i) for i in range(6)) > 3.0


def test_a_screen_beats_with_the_cameras_pixels_and_a_print_does_not(people):
    camera = Camera(128, 96, 115.0)
    wall = see_wall(camera, np.random.default_rng(0))
    screen = replace(replay_face(people[0], np.random.default_rng(3)), moire=0.2)
    still = replace(screen, moire=0.0)
    shown = see_carrier(screen, FACING, camera, wall).emission
    plain = see_carrier(still, FACING, camera, wall).emission
    lit = plain > 0.05
    ripple = shown[lit] / plain[lit] - 1.0
    assert 0.03 < ripple.std() < 0.2
    assert abs(float(ripple.mean())) < 0.03
    # The beat moves when the screen does: it belongs to the two grids, not to the picture.
    moved = see_carrier(screen, replace(FACING, position_mm=(0.0, 0.0, -523.0)), camera, wall)
    before = see_carrier(still, replace(FACING, position_mm=(0.0, 0.0, -523.0)), camera, wall)
    both = lit & (before.emission > 0.05)
    other = moved.emission[both] / before.emission[both] - 1.0
    assert abs(np.corrcoef(other, (shown[both] / plain[both] - 1.0))[0, 1]) < 0.5
    paper = print_face(people[0], np.random.default_rng(3), curved=False)
    assert not see_carrier(paper, FACING, camera, wall).emission.any()


@pytest.mark.parametrize(
    "make", [wear_paper_mask, wear_rigid_mask, wear_makeup, wear_flexible_mask]
)
def test_head_maps_stay_within_their_units(make, people):
    for head in worn(make, people):
        for item in fields(Head):
            values = np.asarray(getattr(head, item.name), np.float64)
            assert np.isfinite(values).all()
        assert head.albedo.min() >= 0.0 and head.albedo.max() <= 1.0
        assert head.nir.min() >= 0.0 and head.nir.max() <= 1.2
        assert {m.dtype for m in (head.height, head.albedo, head.nir, head.gloss, head.face)} == {
            np.dtype(np.float32)
        }


def test_nine_attack_species_alternate_with_bona_fide():
    assert len(ATTACKS) == 9
    turns = taking_turns(*ATTACKS)
    assert set(SceneSettings().turns[1::2]) == set(ATTACKS)
    assert turns[::2] == (Species.BONA_FIDE,) * 9 and turns[1::2] == ATTACKS


def test_a_species_without_an_instrument_is_refused():
    whole = {species: generator._INSTRUMENTS[species] for species in ATTACKS}
    assert generator.turns_of(whole) == taking_turns(*ATTACKS)
    del whole[Species.RIGID_MASK]
    with pytest.raises(TypeError, match="no instrument for RIGID_MASK: add a row to _INSTRUMENTS"):
        generator.turns_of(whole)


def test_every_species_is_described():
    for species in ATTACKS:
        assert re.search(rf"^    - {species.name}: ", Species.__doc__, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["print flat", " makeup"], (Species.PRINT_FLAT, Species.MAKEUP)),
        (["makeup", "makeup"], (Species.MAKEUP,)),
        (["mask"], "unknown attack species 'mask': choose from print flat, "),
        (["bona fide"], "unknown attack species 'bona fide'"),
        ([""], "unknown attack species ''"),
    ],
)
def test_attacks_are_named_in_plain_words(names, found):
    if isinstance(found, str):
        with pytest.raises(DatasetError, match=found):
            parse_attacks(names)
    else:
        assert parse_attacks(names) == found

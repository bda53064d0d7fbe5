"""Attack instruments with the relief of a head: masks, mannequin, partial glasses, makeup.

Each draws how well it was made, 0 to 1: the best come within a sensor's noise of skin in one
respect and keep what their material cannot hide in another. Near-infrared reflectance of skin is
about 0.5 to 0.6 whatever its tone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.synthetic.attacks import photograph, print_on_paper
from fasdk_calibration.synthetic.head import (
    COLUMNS,
    EYES_Y_MM,
    NOTHING_MM,
    ROWS,
    STEP_MM,
    Grid,
    Head,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SKIN_NIR = 0.55


def wear_paper_mask(wearer: Head, victim: Head, rng: np.random.Generator) -> Head:
    """Return the wearer's head behind a print of the victim's face, the eyes cut out.

    Paper bends one way only: the sheet is a cylinder that rests on the nose.
    """
    photo, _ = photograph(victim, rng)
    ink = print_on_paper(photo, rng)
    grid = Grid()
    bend = rng.uniform(0.0025, 0.006)
    rests = float(np.quantile(wearer.height[wearer.face > 0.5], rng.uniform(0.85, 0.97)))
    sheet = rests + rng.uniform(1, 4) - bend * grid.x**2 + rng.uniform(-0.06, 0.06) * grid.y
    holes = _eye_holes(wearer, grid, rng.uniform(0.85, 1.5))
    covered = (victim.face > 0.5) & ~holes & (sheet > -20.0)
    # The nose pokes the sheet out instead of through.
    height = np.maximum(sheet, _solid(wearer) + 0.5)
    return replace(
        wearer,
        height=np.where(covered, height, wearer.height).astype(np.float32),
        albedo=np.where(covered[..., None], ink.albedo, wearer.albedo),
        nir=np.where(covered, ink.nir, wearer.nir),
        gloss=np.where(covered, np.float32(rng.uniform(0.0, 0.08)), wearer.gloss),
        face=np.maximum(victim.face, wearer.face),
    )


def wear_rigid_mask(wearer: Head, victim: Head, rng: np.random.Generator) -> Head:
    """Return the wearer's head with a hard mask of the victim's face over it, eye holes apart."""
    import cv2

    made = rng.random()
    smooth = cv2.GaussianBlur(_solid(victim), (0, 0), (6.5 - 4.0 * made) / STEP_MM)
    covered = cv2.erode(victim.face, np.ones((3, 3), np.uint8)) > 0.5
    holes = _eye_holes(wearer, Grid(), rng.uniform(0.8, 1.25)) & covered
    thick = rng.uniform(3.0, 9.0)
    # The victim's form, pushed forward until the wearer's face fits behind most of it.
    room = max(0.0, float(np.quantile((wearer.height - smooth)[covered], 0.8)))
    height = np.where(covered, np.maximum(smooth + room, wearer.height) + thick, wearer.height)
    height = np.where(holes, height - thick - rng.uniform(1.0, 4.0), height)
    mask = covered & ~holes
    coat = _coat(victim, rng, rng.uniform(0.3, 0.6) + 0.35 * made)
    material = _material(rng, _off_skin(rng, made, 0.26, 0.42), 0.04)
    return replace(
        wearer,
        height=height.astype(np.float32),
        albedo=np.where(mask[..., None], coat, wearer.albedo),
        nir=np.where(mask, material * _painted_nir(victim, 0.35 * made), wearer.nir),
        gloss=np.where(mask, np.float32(rng.uniform(0.04, 0.25)), wearer.gloss),
        face=victim.face,
    )


def wear_flexible_mask(wearer: Head, victim: Head, rng: np.random.Generator) -> Head:
    """Return the wearer's head under a thin silicone skin of the victim's, eyes and mouth free.

    It follows the wearer's face, so relief says little; what remains is the material's reflectance
    in the infrared, its sheen, its evenness and the seam about the eyes.
    """
    import cv2

    made = rng.random()
    grid = Grid()
    covered = (victim.face > 0.5) & (wearer.height > NOTHING_MM)
    holes = _eye_holes(wearer, grid, rng.uniform(1.0, 1.35))
    mask = covered & ~holes
    follows = rng.uniform(0.35, 0.8)
    form = follows * _solid(wearer) + (1.0 - follows) * _solid(victim)
    form = cv2.GaussianBlur(form, (0, 0), (3.2 - 2.0 * made) / STEP_MM)
    height = np.maximum(form, wearer.height) + rng.uniform(1.0, 3.5)
    coat = _coat(victim, rng, rng.uniform(0.5, 0.7) + 0.25 * made)
    material = _material(rng, _off_skin(rng, made, 0.26, 0.4), 0.05)
    seam = cv2.dilate(holes.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    dark = np.where(seam & mask, np.float32(rng.uniform(0.45, 0.9)), np.float32(1.0))
    return replace(
        wearer,
        height=np.where(mask, height, wearer.height).astype(np.float32),
        albedo=np.where(mask[..., None], coat * dark[..., None], wearer.albedo),
        nir=np.where(mask, material * _painted_nir(victim, 0.8 * made) * dark, wearer.nir),
        gloss=np.where(mask, np.float32(rng.uniform(0.08, 0.2)), wearer.gloss),
        face=np.maximum(victim.face, wearer.face),
    )


def fake_head(victim: Head, rng: np.random.Generator) -> Head:
    """Return a mannequin's head: one material from crown to chest, under a wig or moulded hair.

    Its eyes are painted: they have their colors but no moisture, and no infrared pattern.
    """
    import cv2

    made = rng.random()
    smooth = cv2.GaussianBlur(_solid(victim), (0, 0), (3.5 - 2.0 * made) / STEP_MM)
    there = victim.height > NOTHING_MM
    wig = rng.random() < 0.6
    dressed = rng.random() < 0.6
    grid = Grid()
    cloth = grid.y - 132.0 - 0.0014 * grid.x**2 > 0
    kept = ((victim.hair & wig) | (cloth & dressed)) & there
    moulded = there & ~kept
    coat = _coat(victim, rng, rng.uniform(0.25, 0.5) + 0.3 * made)
    material = _material(rng, _off_skin(rng, made, 0.26, 0.42), 0.03)
    return replace(
        victim,
        height=np.where(moulded, np.where(there, smooth, NOTHING_MM), victim.height).astype(
            np.float32
        ),
        albedo=np.where(moulded[..., None], coat, victim.albedo),
        nir=np.where(moulded, material * _painted_nir(victim, 0.3 * made), victim.nir),
        gloss=np.where(moulded, np.float32(rng.uniform(0.1, 0.35)), victim.gloss),
    )


def wear_partial_glasses(wearer: Head, victim: Head, rng: np.random.Generator) -> Head:
    """Return a real head whose eyes are hidden by printed ones on a strip or two lenses."""
    photo, _ = photograph(victim, rng)
    ink = print_on_paper(photo, rng)
    grid = Grid()
    half_height = rng.uniform(16.0, 28.0)
    if rng.random() < 0.5:
        half_width = wearer.eye_spacing / 2 + rng.uniform(22.0, 36.0)
        patch = (np.abs(grid.y - EYES_Y_MM) < half_height) & (np.abs(grid.x) < half_width)
    else:
        lens = rng.uniform(20.0, 30.0)
        across = (np.abs(grid.x) - wearer.eye_spacing / 2) / lens
        patch = across**2 + ((grid.y - EYES_Y_MM) / half_height) ** 2 < 1.0
    bridge = float(wearer.height[_row(EYES_Y_MM), COLUMNS // 2])
    plate = bridge + rng.uniform(7.0, 18.0) - rng.uniform(0.0008, 0.004) * grid.x**2
    patch = patch & (wearer.height > NOTHING_MM)
    # The printed eyes' dyes are clear in the infrared: it shows white paper, or black plastic.
    blank = rng.uniform(0.05, 0.2) if rng.random() < 0.5 else rng.uniform(0.78, 0.92)
    nir = _material(rng, blank, 0.03)
    return replace(
        wearer,
        height=np.where(patch, np.maximum(plate, wearer.height + 0.5), wearer.height).astype(
            np.float32
        ),
        albedo=np.where(patch[..., None], ink.albedo, wearer.albedo),
        nir=np.where(patch, nir, wearer.nir),
        gloss=np.where(patch, np.float32(rng.uniform(0.0, 0.2)), wearer.gloss),
    )


def wear_makeup(wearer: Head, victim: Head, rng: np.random.Generator) -> Head:
    """Return a real head painted like the victim, or with lines like a tattoo's: albedo alone.

    Paint changes skin less in the near infrared than to the eye, but for carbon black's lines.
    """
    import cv2

    skin = (wearer.face > 0.5).astype(np.float32)
    albedo, nir = wearer.albedo, wearer.nir
    if rng.random() < 0.75:
        cover = rng.uniform(0.8, 0.97)
        even = cv2.GaussianBlur(victim.albedo, (0, 0), rng.uniform(1.5, 4.0) / STEP_MM)
        tint = rng.uniform(0.3, 1.8, 3).astype(np.float32)
        weight = (cover * skin * (1.0 - _eyes(wearer)))[..., None]
        albedo = albedo + weight * (even * tint - albedo)
        # Titanium white scatters, dark pigments absorb.
        powder = rng.uniform(0.25, 0.55) if rng.random() < 0.5 else -rng.uniform(0.3, 0.6)
        nir = nir * (1.0 + powder * cover * skin)
    if albedo is wearer.albedo or rng.random() < 0.6:
        lines = _lines(rng) * skin * rng.uniform(0.7, 0.95)
        color = rng.uniform(0.01, 0.25, 3).astype(np.float32)
        albedo = albedo + lines[..., None] * (color - albedo)
        nir = nir * (1.0 - rng.uniform(0.6, 0.95) * lines)
    return replace(
        wearer,
        albedo=np.clip(albedo, 0, 1).astype(np.float32),
        nir=nir.astype(np.float32),
        gloss=(wearer.gloss + np.float32(rng.uniform(-0.03, 0.06)) * skin).clip(0, 1),
    )


def wear_spectacles(head: Head, rng: np.random.Generator) -> Head:
    """Return a bona fide head with ordinary glasses: a dark frame, clear lenses, a glint."""
    grid = Grid()
    across = (np.abs(grid.x) - head.eye_spacing / 2) / rng.uniform(21.0, 27.0)
    radius = across**2 + ((grid.y - EYES_Y_MM) / rng.uniform(14.0, 20.0)) ** 2
    bridge = (np.abs(grid.x) < 10.0) & (np.abs(grid.y - EYES_Y_MM + 4) < 2.0)
    rim = (np.abs(radius - 1.0) < rng.uniform(0.12, 0.3)) | bridge
    rim &= head.height > NOTHING_MM
    color = rng.uniform(0.01, 0.3) * rng.uniform(0.6, 1.0, 3).astype(np.float32)
    nose = float(head.height[_row(EYES_Y_MM), COLUMNS // 2])
    plate = nose + rng.uniform(4.0, 9.0) - 0.002 * grid.x**2
    lens = (radius < 1.0) & ~rim
    return replace(
        head,
        height=np.where(rim, np.maximum(plate, head.height + 1.0), head.height).astype(np.float32),
        albedo=np.where(rim[..., None], color, head.albedo),
        nir=np.where(
            rim, np.float32(rng.uniform(0.05, 0.6)), head.nir * np.where(lens, 0.85, 1)
        ).astype(np.float32),
        gloss=np.where(lens, head.gloss + np.float32(0.1), head.gloss),
    )


def _row(y: float) -> int:
    return round((y - float(Grid().y[0, 0])) / STEP_MM)


def _solid(head: Head) -> NDArray[np.float32]:
    """Return the head's height with 0 where nothing is, so that it can be smoothed."""
    return np.where(head.height > NOTHING_MM, head.height, np.float32(0.0))


def _eyes(head: Head) -> NDArray[np.float32]:
    return ((head.gloss > 0.4) & (head.face > 0.5)).astype(np.float32)


def _eye_holes(wearer: Head, grid: Grid, size: float) -> NDArray[np.bool_]:
    across = (np.abs(grid.x) - wearer.eye_spacing / 2) / (15.5 * size)
    return np.asarray(across**2 + ((grid.y - EYES_Y_MM) / (8.0 * size)) ** 2 < 1.0)


def _off_skin(rng: np.random.Generator, made: float, least: float, most: float) -> float:
    """Return a material's reflectance: off skin's by `least` to `most`, 0.7 of that at best."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    return float(_SKIN_NIR + side * (1.0 - 0.3 * made) * rng.uniform(least, most))


def _material(rng: np.random.Generator, reflectance: float, uneven: float) -> NDArray[np.float32]:
    import cv2

    drift = cv2.resize(rng.standard_normal((5, 5), np.float32), (COLUMNS, ROWS))
    return np.asarray(np.clip(reflectance * (1.0 + uneven * drift), 0.03, 0.95), np.float32)


def _painted_nir(victim: Head, share: float) -> NDArray[np.float32]:
    """Return a factor that paints a share of the victim's infrared pattern on a material."""
    import cv2

    pattern = np.clip(victim.nir / _SKIN_NIR, 0.2, 1.3)
    even = cv2.GaussianBlur(pattern, (0, 0), 1.2)
    return np.asarray(1.0 + share * (even - 1.0), np.float32)


def _coat(victim: Head, rng: np.random.Generator, paint: float) -> NDArray[np.float32]:
    """Return a mask's colors: a share `paint` is the victim's picture, the rest one tone."""
    import cv2

    tone = victim.albedo[victim.face > 0.5].mean(axis=0)
    tone = tone * rng.uniform(0.8, 1.25, 3).astype(np.float32)
    picture = cv2.GaussianBlur(victim.albedo, (0, 0), rng.uniform(1.0, 2.2) / STEP_MM)
    return np.asarray(np.clip(paint * picture + (1.0 - paint) * tone, 0, 1), np.float32)


def _lines(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a few curves drawn on cheeks, forehead and chin, 1 on a line."""
    import cv2

    drawn = np.zeros((ROWS, COLUMNS), np.float32)
    for _ in range(int(rng.integers(4, 9))):
        start = np.array([rng.uniform(-55, 55), rng.uniform(-70, 85)])
        turns = np.cumsum(rng.normal(0.0, 0.5, 12)) + rng.uniform(0, 2 * np.pi)
        steps = rng.uniform(4, 8) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        points = (start + np.cumsum(steps, axis=0) + (256.0, 152.0)) / STEP_MM
        width = int(rng.integers(3, 7))
        cv2.polylines(drawn, [np.rint(points).astype(np.int32)], False, 1.0, width)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.7), np.float32)

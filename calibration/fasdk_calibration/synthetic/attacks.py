"""Presentation attack instruments: a printed sheet, a screen, a worn mask."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.synthetic.head import COLUMNS, NOTHING_MM, ROWS, STEP_MM, Head
from fasdk_calibration.synthetic.scene import Carrier

if TYPE_CHECKING:
    from numpy.typing import NDArray


def print_face(head: Head, rng: np.random.Generator) -> Carrier:
    """Return a sheet of paper with the head's photograph, flat or bent, sometimes cut out."""
    photo, shape = _photograph(head, rng)
    cut_out = bool(rng.random() < 0.35)
    scale = rng.uniform(0.8, 1.1)
    grey = photo.mean(axis=2, keepdims=True)
    ink = 1.0 - (photo + rng.uniform(0.0, 0.2) * (grey - photo))
    black, white = rng.uniform(0.02, 0.07), rng.uniform(0.7, 0.88)
    dots = 1.0 + 0.06 * rng.standard_normal((ROWS, COLUMNS, 1), np.float32)
    cast = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    albedo = (white - (white - black) * np.clip(ink * dots, 0, 1)) * cast
    # Dyes are clear in the near infrared, carbon black is not; printers mix both.
    carbon = rng.uniform(0.05, 0.75)
    nir = rng.uniform(0.55, 0.85) * (1.0 - carbon * np.clip(ink.mean(axis=2), 0, 1) ** 1.5)
    return Carrier(
        half_width_mm=rng.uniform(95, 135) * scale,
        top_mm=-rng.uniform(132, 150) * scale,
        bottom_mm=rng.uniform(125, 165) * scale,
        bend=rng.uniform(0.0008, 0.003) if cut_out else rng.uniform(-0.0005, 0.0012),
        scale=scale,
        border_mm=0.0 if cut_out else rng.uniform(0.0, 8.0),
        cut_out=cut_out,
        albedo=np.clip(albedo, 0, 1).astype(np.float32),
        emission=np.zeros_like(photo),
        nir=nir.astype(np.float32),
        shape=shape,
        face=head.face,
        gloss=float(rng.uniform(0.0, 0.12)),
        rim=(white, white, white),
        rim_nir=0.8,
    )


def replay_face(head: Head, rng: np.random.Generator) -> Carrier:
    """Return a screen that shows the head: its own light, moire and glass, next to no infrared."""
    photo, shape = _photograph(head, rng)
    scale = rng.uniform(0.65, 1.05)
    rows = np.arange(ROWS, dtype=np.float32)[:, None]
    columns = np.arange(COLUMNS, dtype=np.float32)[None, :]
    angle, period = rng.uniform(-0.6, 0.6), rng.uniform(2.5, 7.0)
    turn = 2 * math.pi / period
    phase = columns * (turn * math.cos(angle)) + rows * (turn * math.sin(angle))
    # The beat of two pixel grids; each colour's sub-pixel sits a third of a period further.
    beat = np.dstack([np.sin(phase + k * 2.1) for k in range(3)])
    white = rng.uniform(0.9, 1.1, 3).astype(np.float32) * np.array([0.96, 1.0, 1.1], np.float32)
    emission = photo * white * (1.0 + rng.uniform(0.02, 0.09) * beat) * rng.uniform(0.9, 2.0)
    leak = rng.uniform(0.0, 0.05)
    nir = np.full((ROWS, COLUMNS), rng.uniform(0.03, 0.14), np.float32) + leak * photo.mean(axis=2)
    return Carrier(
        half_width_mm=rng.uniform(85, 150) * scale,
        top_mm=-rng.uniform(130, 150) * scale,
        bottom_mm=rng.uniform(125, 185) * scale,
        bend=0.0,
        scale=scale,
        border_mm=rng.uniform(2.0, 14.0),
        cut_out=False,
        albedo=np.full_like(photo, 0.03),
        emission=emission.astype(np.float32),
        nir=nir.astype(np.float32),
        shape=shape,
        face=head.face,
        gloss=float(rng.uniform(0.1, 0.45)),
        rim=(0.03, 0.03, 0.03),
        rim_nir=float(rng.uniform(0.04, 0.3)),
    )


def wear_mask(wearer: Head, victim: Head, rng: np.random.Generator) -> Head:
    """Return the wearer's head with a rigid mask of the victim's face over it.

    The mask is smoother than a face and one material all over, eye holes apart, darker or
    brighter than skin in the near infrared; none is made to match it yet.
    """
    import cv2

    blur_mm = rng.uniform(3.5, 7.0)
    solid = np.where(victim.height > NOTHING_MM, victim.height, 0.0).astype(np.float32)
    smooth = cv2.GaussianBlur(solid, (0, 0), blur_mm / STEP_MM)
    covered = cv2.erode(victim.face, np.ones((3, 3), np.uint8)) > 0.5
    eyes = (victim.gloss > 0.4) & covered
    height = np.where(covered, np.maximum(smooth, wearer.height) + rng.uniform(3, 9), wearer.height)
    height = np.where(eyes, height - rng.uniform(3, 7), height)

    paint = rng.uniform(0.3, 0.85)  # how much of the victim's colours was painted on
    tone = victim.albedo[covered].mean(axis=0) * rng.uniform(0.75, 1.3, 3).astype(np.float32)
    picture = cv2.GaussianBlur(victim.albedo, (0, 0), rng.uniform(1.0, 2.5) / STEP_MM)
    coat = paint * picture + (1.0 - paint) * tone
    albedo = np.where((covered & ~eyes)[..., None], coat, wearer.albedo)
    albedo = np.where(eyes[..., None], victim.albedo, albedo)
    dark = rng.random() < 0.5  # latex and resin; else silicone, plaster and plastic
    reflectance = rng.uniform(0.1, 0.28) if dark else rng.uniform(0.8, 0.95)
    drift = cv2.resize(rng.standard_normal((5, 5), np.float32), (COLUMNS, ROWS))
    material = np.clip(reflectance * (1.0 + 0.04 * drift), 0.05, 0.95)
    return replace(
        wearer,
        height=height.astype(np.float32),
        albedo=np.clip(albedo, 0, 1).astype(np.float32),
        nir=np.where(eyes, victim.nir, np.where(covered, material, wearer.nir)).astype(np.float32),
        gloss=np.where(
            eyes, victim.gloss, np.where(covered, rng.uniform(0.05, 0.28), wearer.gloss)
        ).astype(np.float32),
        face=victim.face,
    )


def _photograph(
    head: Head, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a frontal picture, linear RGB in [0, 1] on the map grid, and where the head is."""
    slope_y, slope_x = np.gradient(head.height, STEP_MM)
    slope_x, slope_y = np.clip(slope_x, -3, 3), np.clip(slope_y, -3, 3)
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, 0.0), 1.0])
    light = (light / np.linalg.norm(light)).astype(np.float32)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1.0)
    diffuse = np.maximum((light[2] - light[0] * slope_x - light[1] * slope_y) / length, 0.0)
    photo = head.albedo * (0.4 + 0.75 * diffuse)[..., None]
    shape = (head.height > NOTHING_MM).astype(np.float32)
    scene = rng.uniform(0.05, 0.8, 3).astype(np.float32)
    photo = np.where(shape[..., None] > 0, photo, scene)
    target = rng.uniform(0.3, 0.5)
    photo = photo * (target / max(float(photo[head.face > 0.5].mean()), 1e-3))
    return np.clip(photo, 0.0, 1.0).astype(np.float32), shape

"""Flat attack instruments: prints, flat and curved, and replays on a screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.synthetic.head import COLUMNS, NOTHING_MM, ROWS, STEP_MM, Head
from fasdk_calibration.synthetic.scene import Carrier

if TYPE_CHECKING:
    from numpy.typing import NDArray


def print_face(head: Head, rng: np.random.Generator, *, curved: bool) -> Carrier:
    """Return a sheet of paper with the head's photograph.

    Args:
        head: The pictured head.
        rng: Random generator that paper, ink and size are drawn from.
        curved: Whether it is bent about the vertical axis, down to the radius of a face, and at
            times cut out; else flat but for the paper's own warp.
    """
    photo, shape = photograph(head, rng)
    scale = rng.uniform(0.8, 1.1)
    ink = print_on_paper(photo, rng)
    cut_out = curved and bool(rng.random() < 0.5)
    return Carrier(
        half_width_mm=rng.uniform(95, 135) * scale,
        top_mm=-rng.uniform(132, 150) * scale,
        bottom_mm=rng.uniform(125, 165) * scale,
        bend=rng.uniform(0.001, 0.004) if curved else rng.uniform(-0.0003, 0.0003),
        scale=scale,
        border_mm=0.0 if cut_out else rng.uniform(0.0, 8.0),
        cut_out=cut_out,
        albedo=ink.albedo,
        emission=np.zeros_like(photo),
        nir=ink.nir,
        shape=shape,
        face=head.face,
        gloss=float(rng.uniform(0.0, 0.12)),
        rim=(ink.white, ink.white, ink.white),
        rim_nir=0.8,
    )


def replay_face(head: Head, rng: np.random.Generator) -> Carrier:
    """Return a screen that shows the head: its own light, pixels, glass, next to no infrared."""
    photo, shape = photograph(head, rng)
    scale = rng.uniform(0.65, 1.05)
    white = rng.uniform(0.9, 1.1, 3).astype(np.float32) * np.array([0.96, 1.0, 1.1], np.float32)
    emission = photo * (white * np.float32(rng.uniform(0.9, 2.0)))
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
        pitch_mm=float(rng.uniform(0.09, 0.28)),
        moire=float(rng.uniform(0.02, 0.12)),
    )


@dataclass(frozen=True, eq=False)
class Ink:
    """A picture printed on paper.

    Attributes:
        albedo: float32 [H, W, 3], linear RGB reflectance.
        nir: float32 [H, W], near-infrared reflectance.
        white: Reflectance of the bare paper.
    """

    albedo: NDArray[np.float32]
    nir: NDArray[np.float32]
    white: float


def print_on_paper(photo: NDArray[np.float32], rng: np.random.Generator) -> Ink:
    """Return what a printer makes of a picture, linear RGB in [0, 1]."""
    gray = photo.mean(axis=2, keepdims=True)
    ink = 1.0 - (photo + rng.uniform(0.0, 0.2) * (gray - photo))
    black, white = rng.uniform(0.02, 0.07), rng.uniform(0.7, 0.88)
    dots = 1.0 + 0.06 * rng.standard_normal((*photo.shape[:2], 1), np.float32)
    cast = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    albedo = (white - (white - black) * np.clip(ink * dots, 0, 1)) * cast
    # Dyes are clear in the near infrared, carbon black is not; printers mix both.
    carbon = rng.uniform(0.05, 0.75)
    nir = rng.uniform(0.55, 0.85) * (1.0 - carbon * np.clip(ink.mean(axis=2), 0, 1) ** 1.5)
    return Ink(np.clip(albedo, 0, 1).astype(np.float32), nir.astype(np.float32), float(white))


def photograph(
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

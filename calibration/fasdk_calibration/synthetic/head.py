"""Head model: a height field with materials, drawn from a few parameters per subject.

Head frame: millimeters, x to the camera's right, y down, z towards the camera; the origin lies
between the ears. Maps cover x in [-256, 256) and y in [-152, 264) at 1.6 mm a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP_MM = 1.6
LEFT_MM, TOP_MM = -256.0, -152.0
ROWS, COLUMNS = 260, 320
NOTHING_MM = -400.0  # height where there is no surface
EYES_Y_MM = -18.0
EVERYONE = (1.2, 1.6)  # the beta law of melanin in a population of all skin tones

# The windows that hold every face and all hair, so that making one is cheap.
_FACE = (slice(0, 176), slice(96, 224))
_HAIR_AREA = (slice(0, 192), slice(96, 224))
_LIGHT_SKIN = np.array([0.72, 0.47, 0.36], np.float32)
_DARK_SKIN = np.array([0.16, 0.085, 0.055], np.float32)
_HAIR = np.array(
    [[0.02, 0.016, 0.014], [0.09, 0.05, 0.03], [0.3, 0.2, 0.1], [0.35, 0.34, 0.33]], np.float32
)


@dataclass(frozen=True)
class Subject:
    """Parameters of one person; lengths in millimeters, colors linear in [0, 1].

    Attributes:
        half_width: Half the face's width at the ears.
        half_height: Height from the center to the chin.
        half_depth: Depth from the ears to the face plane.
        jaw: Narrowing towards the chin, in [0, 1].
        nose: Protrusion of the nose tip.
        nose_width: Width of the nose's wings.
        nose_length: Length of the nose from bridge to tip.
        eye_spacing: Distance between the pupils.
        eye_depth: Depth of the eye sockets.
        brow: Protrusion of the brow ridge.
        lips: Protrusion of the lips.
        mouth_width: Width of the mouth from corner to corner.
        cheek: Protrusion of the cheek bones.
        melanin: 0 lightest to 1 darkest skin.
        redness: Added to the red plane of cheeks and lips.
        hair: Linear RGB of hair and brows.
        hairline: y of the hair's lowest point on the forehead.
        long_hair: Whether the hair falls beside the face.
        beard: Density of a beard, in [0, 1].
        clothes: Linear RGB of the clothes.
        clothes_nir: Near-infrared reflectance of the clothes, in [0, 1].
        iris: Linear RGB of the iris.
        texture: Seed of the skin's own pattern.
    """

    half_width: float
    half_height: float
    half_depth: float
    jaw: float
    nose: float
    nose_width: float
    nose_length: float
    eye_spacing: float
    eye_depth: float
    brow: float
    lips: float
    mouth_width: float
    cheek: float
    melanin: float
    redness: float
    hair: tuple[float, float, float]
    hairline: float
    long_hair: bool
    beard: float
    clothes: tuple[float, float, float]
    clothes_nir: float
    iris: tuple[float, float, float]
    texture: int


@dataclass(frozen=True, eq=False)
class Head:
    """Maps of one head, float32 [260, 320] or [260, 320, C], in the head frame.

    Attributes:
        height: z in millimeters; NOTHING_MM where there is no surface.
        albedo: Linear RGB reflectance in [0, 1].
        nir: Near-infrared reflectance in [0, 1].
        gloss: Strength of the specular lobe in [0, 1].
        face: 1 on the face, forehead to chin, else 0.
        hair: True where hair is the outer surface.
        eye_spacing: Between the pupils, in millimeters; they lie at y = EYES_Y_MM.
    """

    height: NDArray[np.float32]
    albedo: NDArray[np.float32]
    nir: NDArray[np.float32]
    gloss: NDArray[np.float32]
    face: NDArray[np.float32]
    hair: NDArray[np.bool_]
    eye_spacing: float


def draw_subject(
    rng: np.random.Generator, melanin_shape: tuple[float, float] = EVERYONE
) -> Subject:
    """Return a subject drawn at random; `melanin_shape` are the two parameters of a beta law."""
    melanin = float(rng.beta(*melanin_shape))
    shade = int(rng.choice(4, p=[0.45, 0.3, 0.15, 0.1]))
    hair = _HAIR[shade] * (1.0 - 0.6 * melanin) * rng.uniform(0.7, 1.3)
    iris = (0.04, 0.025, 0.015) if rng.random() < 0.4 + melanin else (0.12, 0.16, 0.2)
    return Subject(
        half_width=rng.uniform(66, 79),
        half_height=rng.uniform(100, 118),
        half_depth=rng.uniform(84, 104),
        jaw=rng.uniform(0.1, 0.9),
        nose=rng.uniform(15, 27),
        nose_width=rng.uniform(30, 42),
        nose_length=rng.uniform(42, 56),
        eye_spacing=rng.uniform(58, 70),
        eye_depth=rng.uniform(5, 11),
        brow=rng.uniform(2, 6),
        lips=rng.uniform(2.5, 7),
        mouth_width=rng.uniform(44, 60),
        cheek=rng.uniform(1, 7),
        melanin=melanin,
        redness=rng.uniform(0.0, 0.08),
        hair=(float(hair[0]), float(hair[1]), float(hair[2])),
        hairline=rng.uniform(-82, -58),
        long_hair=bool(rng.random() < 0.4),
        beard=float(rng.uniform(0.2, 0.9)) if rng.random() < 0.25 else 0.0,
        clothes=(rng.uniform(0.02, 0.7), rng.uniform(0.02, 0.7), rng.uniform(0.02, 0.7)),
        clothes_nir=rng.uniform(0.3, 0.75),
        iris=iris,
        texture=int(rng.integers(2**31)),
    )


def build_head(subject: Subject) -> Head:
    """Return the maps of one subject's head, shoulders included."""
    skin_height, face = _everywhere(NOTHING_MM), _everywhere(0.0)
    skin_height[_FACE], face[_FACE] = _skin(subject, Grid(*_FACE))
    hair_height = _everywhere(NOTHING_MM)
    hair_height[_HAIR_AREA] = _hair(subject, Grid(*_HAIR_AREA))
    grid = Grid()
    body = _body(grid)
    # Hair lies over the skin only where it is the outer surface.
    hair = (hair_height > skin_height) & (hair_height > NOTHING_MM)
    upper = np.maximum(skin_height, hair_height)
    lower = body >= upper
    neck = lower & (grid.y < 150.0 - 0.0009 * grid.x**2)
    cloth = lower & ~neck
    rng = np.random.default_rng(subject.texture)
    colors, nir, gloss = _paint_skin(subject, rng)
    strands = 1.0 + 0.2 * _grain(rng, (1, 6))
    weave = 1.0 + 0.08 * _grain(rng, (2, 2))
    for plane, tone, stuff in zip(colors, subject.hair, subject.clothes, strict=True):
        np.copyto(plane, np.float32(tone) * strands, where=hair)
        np.copyto(plane, np.float32(stuff) * weave, where=cloth)
    dark = np.float32(0.16 + 0.25 * np.mean(subject.hair))
    np.copyto(nir, dark + np.float32(0.05) * strands, where=hair)
    nir[cloth] = subject.clothes_nir
    gloss[hair], gloss[cloth] = 0.08, 0.02
    face[hair | lower] = 0.0
    return Head(
        height=np.maximum(upper, body),
        albedo=_interleaved(np.clip(colors, 0.0, 1.0)),
        nir=np.clip(nir, 0, 1),
        gloss=gloss,
        face=face,
        hair=hair,
        eye_spacing=subject.eye_spacing,
    )


def _everywhere(value: float) -> NDArray[np.float32]:
    return np.full((ROWS, COLUMNS), value, np.float32)


def _interleaved(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.merge(list(planes)), np.float32)


class Grid:
    """Coordinates of the maps, or of a window of them, in millimeters, and bumps on them."""

    def __init__(self, rows: slice = slice(ROWS), columns: slice = slice(COLUMNS)) -> None:
        self.x = (LEFT_MM + STEP_MM * np.arange(COLUMNS, dtype=np.float32))[None, columns]
        self.y = (TOP_MM + STEP_MM * np.arange(ROWS, dtype=np.float32))[rows, None]

    def bump(self, x: float, y: float, width: float, height: float) -> NDArray[np.float32]:
        """Return a Gaussian of unit peak and these standard deviations, as an outer product."""
        across = np.exp(-0.5 * ((self.x - x) / width) ** 2)
        down = np.exp(-0.5 * ((self.y - y) / height) ** 2)
        return np.asarray(across * down, np.float32)

    def pair(self, x: float, y: float, width: float, height: float) -> NDArray[np.float32]:
        """Return two such Gaussians at x and -x."""
        across = np.exp(-0.5 * ((np.abs(self.x) - x) / width) ** 2)
        down = np.exp(-0.5 * ((self.y - y) / height) ** 2)
        return np.asarray(across * down, np.float32)

    def ellipse(self, x: float, y: float, width: float, height: float) -> NDArray[np.float32]:
        """Return 1 minus the squared normalized radius: positive inside the ellipse."""
        return np.asarray(
            1.0 - ((self.x - x) / width) ** 2 - ((self.y - y) / height) ** 2, np.float32
        )


def _skin(subject: Subject, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    s = subject
    lower = np.clip(grid.y / s.half_height, 0.0, 1.0)
    half_width = s.half_width * (1.0 - 0.28 * s.jaw * lower**2 - 0.06 * lower)
    radius = np.abs(grid.x / half_width) ** 2.3 + np.abs(grid.y / s.half_height) ** 2.3
    inside = np.maximum(1.0 - radius, 0.0)
    height = s.half_depth * inside**0.42
    eye_x, eye_y = s.eye_spacing / 2, EYES_Y_MM
    tip_y = eye_y + s.nose_length
    for fraction in (0.15, 0.4, 0.65, 0.9):  # the bridge, rising towards the tip
        y = eye_y + fraction * s.nose_length
        height = height + s.nose * (0.28 + 0.2 * fraction) * grid.bump(0, y, 7.5, 9.0)
    height = height + s.nose * 0.45 * grid.bump(0, tip_y - 2, 9.0, 7.0)
    height = height + s.nose * 0.3 * grid.pair(s.nose_width / 2 - 4, tip_y + 1, 5.5, 5.5)
    height = height - s.eye_depth * grid.pair(eye_x, eye_y, 13.0, 8.5)
    height = height + 0.45 * s.eye_depth * grid.pair(eye_x, eye_y, 7.0, 5.0)
    height = height + s.brow * grid.pair(eye_x - 4, eye_y - 17, 15.0, 5.0)
    height = height + s.cheek * grid.pair(eye_x + 9, eye_y + 30, 13.0, 12.0)
    mouth_y = tip_y + 24
    height = height + s.lips * grid.bump(0, mouth_y - 4, s.mouth_width / 3.4, 3.5)
    height = height + 1.1 * s.lips * grid.bump(0, mouth_y + 6, s.mouth_width / 3.8, 4.0)
    height = height - 2.5 * grid.bump(0, mouth_y + 1, s.mouth_width / 2.6, 1.6)
    height = height + 6.0 * grid.bump(0, s.half_height - 16, 14.0, 9.0)
    ear = grid.ellipse(s.half_width, 2, 9, 30), grid.ellipse(-s.half_width, 2, 9, 30)
    ears = np.maximum(ear[0], ear[1])
    skin = np.where(
        inside > 0, height, np.where(ears > 0, 14.0 * np.sqrt(np.abs(ears)), NOTHING_MM)
    )
    face = (inside > 0) & (grid.y > s.hairline)
    return skin.astype(np.float32), face.astype(np.float32)


def _hair(subject: Subject, grid: Grid) -> NDArray[np.float32]:
    s = subject
    half_width, half_height = s.half_width + 9.0, s.half_height + 14.0
    cap = grid.ellipse(0, -8, half_width, half_height)
    line = s.hairline + 70.0 * np.clip(np.abs(grid.x) / s.half_width, 0, 1.15) ** 4
    height = (s.half_depth + 3.0) * np.maximum(cap, 0.0) ** 0.45
    hair = np.where((cap > 0) & (grid.y < line), height, NOTHING_MM)
    if s.long_hair:
        beside = np.abs(np.abs(grid.x) - s.half_width * 0.99) / 19.0
        lock = np.where(
            (beside < 1) & (grid.y > -60) & (grid.y < 150), 34.0 - 20.0 * beside**2, 0.0
        )
        hair = np.where(lock > 0, np.maximum(hair, lock), hair)
    return np.asarray(hair, np.float32)


def _body(grid: Grid) -> NDArray[np.float32]:
    neck = np.where(
        (np.abs(grid.x) < 54) & (grid.y > 40),
        -22.0 + 56.0 * np.sqrt(np.maximum(1.0 - (grid.x / 54.0) ** 2, 0.0)),
        NOTHING_MM,
    )
    slope = grid.y - 132.0 - 0.0014 * grid.x**2
    torso = np.where(
        (slope > 0) & (np.abs(grid.x) < 215),
        -48.0
        + 62.0 * np.sqrt(np.maximum(1.0 - (grid.x / 215.0) ** 2, 0.0))
        + np.minimum(slope, 60) / 3,
        NOTHING_MM,
    )
    return np.maximum(neck, torso).astype(np.float32)


def _paint_skin(
    subject: Subject, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return albedo in planes, near-infrared reflectance and gloss: skin with a face painted on."""
    base = _LIGHT_SKIN * (1.0 - subject.melanin) + _DARK_SKIN * subject.melanin
    mottle = 0.05 * _grain(rng, (16, 16)) + 0.04 * _grain(rng, (4, 4)) + 0.035 * _grain(rng, (1, 1))
    albedo = base[:, None, None] * (1.0 + mottle)
    nir = (0.6 - 0.1 * subject.melanin) * (1.0 + 0.35 * mottle)
    gloss = np.full((ROWS, COLUMNS), 0.06, np.float32)
    _paint_face(subject, base, rng, albedo[:, _FACE[0], _FACE[1]], nir[_FACE], gloss[_FACE])
    return albedo, nir, gloss


def _paint_face(
    s: Subject,
    base: NDArray[np.float32],
    rng: np.random.Generator,
    albedo: NDArray[np.float32],
    nir: NDArray[np.float32],
    gloss: NDArray[np.float32],
) -> None:
    grid = Grid(*_FACE)
    gloss += 0.05 * grid.bump(0, -60, 30, 18) + 0.05 * grid.bump(0, 20, 10, 14)
    eye_x, eye_y = s.eye_spacing / 2, EYES_Y_MM
    mouth_y = eye_y + s.nose_length + 24
    blush = grid.pair(eye_x + 10, eye_y + 34, 16, 14)
    albedo[0] += s.redness * blush
    lips = np.clip(1.6 * grid.ellipse(0, mouth_y + 1, s.mouth_width / 2, 8.5 + 0.4 * s.lips), 0, 1)
    _blend(albedo, base * np.array([0.9, 0.52, 0.55], np.float32), 0.8 * lips)
    _blend(
        albedo,
        base * 0.25,
        0.9 * np.clip(grid.ellipse(0, mouth_y + 1, s.mouth_width / 2, 1.4), 0, 1),
    )
    nostrils = grid.pair(s.nose_width / 4, eye_y + s.nose_length + 8, 3.2, 2.0)
    _blend(albedo, base * 0.15, 0.9 * nostrils)
    nir *= 1.0 - 0.5 * nostrils
    brows = grid.pair(eye_x, eye_y - 16, 12, 3.0)
    _blend(albedo, np.array(s.hair, np.float32), np.clip(1.2 * brows, 0, 0.85))
    nir *= 1.0 - 0.35 * brows
    if s.beard > 0:
        chin = np.clip(
            1.5 * grid.bump(0, s.half_height - 18, 40, 20) + grid.bump(0, mouth_y - 10, 20, 4), 0, 1
        ) * (1.0 - lips)
        chin = s.beard * np.clip(chin, 0, 1) * np.clip(0.8 + 0.3 * _grain(rng, (1, 2))[_FACE], 0, 1)
        _blend(albedo, np.array(s.hair, np.float32), chin)
        nir *= 1.0 - 0.45 * chin
    _paint_eyes(s, grid, albedo, nir, gloss)


def _paint_eyes(
    s: Subject,
    grid: Grid,
    albedo: NDArray[np.float32],
    nir: NDArray[np.float32],
    gloss: NDArray[np.float32],
) -> None:
    for x in (-s.eye_spacing / 2, s.eye_spacing / 2):
        opening = np.clip(4.0 * grid.ellipse(x, EYES_Y_MM, 14.0, 6.0), 0, 1)
        iris = np.clip(3.0 * grid.ellipse(x, EYES_Y_MM, 6.2, 6.2), 0, 1) * opening
        pupil = np.clip(3.0 * grid.ellipse(x, EYES_Y_MM, 2.8, 2.8), 0, 1)
        lid = np.clip(grid.ellipse(x, EYES_Y_MM - 2.0, 16.0, 8.0), 0, 1) * (1.0 - opening)
        _blend(albedo, np.array([0.1, 0.06, 0.05], np.float32), 0.5 * lid)
        _blend(albedo, np.array([0.5, 0.47, 0.45], np.float32), opening)
        _blend(albedo, np.array(s.iris, np.float32), iris)
        _blend(albedo, np.array([0.01, 0.01, 0.01], np.float32), pupil)
        nir += opening * (0.5 - nir)
        nir += iris * (0.3 - nir)
        nir += pupil * (0.03 - nir)
        gloss += 0.5 * opening


def _blend(
    planes: NDArray[np.float32], color: NDArray[np.float32], weight: NDArray[np.float32]
) -> None:
    for channel, level in enumerate(color):
        planes[channel] += weight * (level - planes[channel])


def _grain(rng: np.random.Generator, cell: tuple[int, int]) -> NDArray[np.float32]:
    """Return noise of unit variance at the coarse samples, one per cell of (columns, rows)."""
    import cv2

    rows, columns = -(-ROWS // cell[1]), -(-COLUMNS // cell[0])
    coarse = rng.standard_normal((rows, columns), np.float32)
    return np.asarray(
        cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC), np.float32
    )

"""Scene geometry: views of a head or flat carrier before a wall by a pinhole camera.

View frame: millimeters, x to the right, y down, z towards the camera, which sits at the origin; a
surface at distance d has z = -d. All maps of one view share one pixel grid, so they are registered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fasdk_calibration.synthetic.head import LEFT_MM, NOTHING_MM, STEP_MM, TOP_MM, Head

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARCH_STEP_MM = 14.0
_FURTHEST_MM = -70.0  # nothing of a head lies further back than this


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        width: Frame width in pixels.
        height: Frame height in pixels.
        focal_px: Focal length in pixels.
    """

    width: int
    height: int
    focal_px: float

    def rays(self) -> NDArray[np.float32]:
        """Return float32 [H, W, 3], read-only: directions in the view frame, z = -1."""
        return _rays_of(self)


@lru_cache(maxsize=4)
def _rays_of(camera: Camera) -> NDArray[np.float32]:
    x = (np.arange(camera.width, dtype=np.float32) - (camera.width - 1) / 2) / camera.focal_px
    y = (np.arange(camera.height, dtype=np.float32) - (camera.height - 1) / 2) / camera.focal_px
    rays = np.empty((camera.height, camera.width, 3), np.float32)
    rays[..., 0], rays[..., 1], rays[..., 2] = x[None, :], y[:, None], -1.0
    rays.setflags(write=False)
    return rays


@lru_cache(maxsize=4)
def _towards_of(camera: Camera) -> NDArray[np.float32]:
    """Return unit vectors from what each pixel sees to the camera."""
    towards = _unit(-_rays_of(camera))
    towards.setflags(write=False)
    return towards


@dataclass(frozen=True)
class Pose:
    """Position and orientation of an object's frame in the view frame.

    Attributes:
        position_mm: Origin of the object's frame, (x, y, z); z is minus the distance.
        yaw: Turn about the vertical axis, in radians.
        pitch: Nod, in radians.
        roll: Tilt, in radians.
    """

    position_mm: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float

    def rotation(self) -> NDArray[np.float32]:
        """Return float32 [3, 3], object frame to view frame."""
        (sy, cy), (sp, cp), (sr, cr) = (
            (np.sin(a), np.cos(a)) for a in (self.yaw, self.pitch, self.roll)
        )
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return np.asarray(about_y @ about_x @ about_z, np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """Maps of one view, a value per pixel; float32 [H, W] or [H, W, C].

    Attributes:
        distance: Millimeters along the optical axis.
        facing: Cosine between the normal and the way to the camera, where its illuminator sits.
        normal: Unit vectors in the view frame.
        albedo: Linear RGB reflectance.
        emission: Linear RGB light given off by the surface itself.
        nir: Near-infrared reflectance.
        gloss: Strength of the specular lobe.
        face: 1 on the face, whether real, printed, shown or worn.
    """

    distance: NDArray[np.float32]
    facing: NDArray[np.float32]
    normal: NDArray[np.float32]
    albedo: NDArray[np.float32]
    emission: NDArray[np.float32]
    nir: NDArray[np.float32]
    gloss: NDArray[np.float32]
    face: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Carrier:
    """A sheet or screen: its picture lies on a rectangle that may be bent about the vertical axis.

    Attributes:
        half_width_mm: Half the rectangle's width.
        top_mm: y of its upper edge in its own frame.
        bottom_mm: y of its lower edge.
        bend: z = -bend * x^2, per millimeter.
        scale: Carrier millimeters per millimeter of the pictured head.
        border_mm: Width of a rim that carries no picture.
        cut_out: Whether only the pictured head is there, the rest cut away.
        albedo: Picture's linear RGB reflectance on the head's map grid.
        emission: Picture's linear RGB emission on the head's map grid.
        nir: Picture's near-infrared reflectance on the same grid.
        shape: 1 where the pictured head is.
        face: 1 on the pictured face.
        gloss: Strength of the specular lobe.
        rim: Linear RGB reflectance of the rim.
        rim_nir: Near-infrared reflectance of the rim.
        pitch_mm: Between a screen's pixels, in its own millimeters; 0 for what has none.
        moire: Contrast that is left of its pixel grid after the camera's lens, in [0, 1].
    """

    half_width_mm: float
    top_mm: float
    bottom_mm: float
    bend: float
    scale: float
    border_mm: float
    cut_out: bool
    albedo: NDArray[np.float32]
    emission: NDArray[np.float32]
    nir: NDArray[np.float32]
    shape: NDArray[np.float32]
    face: NDArray[np.float32]
    gloss: float
    rim: tuple[float, float, float]
    rim_nir: float
    pitch_mm: float = 0.0
    moire: float = 0.0


def see_wall(camera: Camera, rng: np.random.Generator) -> View:
    """Return a view of a plain room: a wall 1 to 3 m away, with soft patches and a few edges."""
    import cv2

    size = (camera.width, camera.height)
    rays = camera.rays()
    tilt = rng.uniform(-0.25, 0.25)
    distance = rng.uniform(1000, 3000) * (1.0 + tilt * rays[..., 0])
    patches = rng.uniform(0.0, 1.0, (4, 5, 3)).astype(np.float32)
    albedo = cv2.resize(patches, size, interpolation=cv2.INTER_CUBIC)
    albedo = rng.uniform(0.1, 0.6) * (0.5 + 0.6 * albedo)
    albedo *= rng.uniform(0.8, 1.2, 3).astype(np.float32)
    for _ in range(int(rng.integers(0, 4))):  # door frames, shelves, windows
        x0, x1 = sorted(rng.integers(0, camera.width, 2))
        y0, y1 = sorted(rng.integers(0, camera.height, 2))
        albedo[y0:y1, x0:x1] = rng.uniform(0.05, 0.9, 3)
        distance[y0:y1, x0:x1] -= rng.uniform(0, 200)
    normal = np.zeros((camera.height, camera.width, 3), np.float32)
    normal[..., 2] = 1.0
    nir = albedo.mean(axis=2) * rng.uniform(0.6, 1.4)
    zeros = np.zeros_like(distance, np.float32)
    return View(
        distance=distance.astype(np.float32),
        facing=_facing(normal, camera),
        normal=normal,
        albedo=np.clip(albedo, 0.02, 0.95).astype(np.float32),
        emission=np.zeros_like(normal),
        nir=np.clip(nir, 0.05, 0.9).astype(np.float32),
        gloss=zeros,
        face=zeros,
    )


def see_head(head: Head, pose: Pose, camera: Camera, behind: View) -> View:
    """Return the view of a head before `behind`, by marching each ray through its height field."""
    import cv2

    rotation, eye, rays = _into_frame(pose, camera)
    # A point at height z on a ray lies at column a + z * b of the maps.
    across, down = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
    column_a = (eye[0] - eye[2] * across - LEFT_MM) / STEP_MM
    row_a = (eye[1] - eye[2] * down - TOP_MM) / STEP_MM
    column_b, row_b = across / STEP_MM, down / STEP_MM

    def sample(
        maps: NDArray[np.float32], z: NDArray[np.float32] | np.float32
    ) -> NDArray[np.float32]:
        found = cv2.remap(
            maps,
            column_a + z * column_b,
            row_a + z * row_b,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(found, np.float32)

    level = float(head.height.max()) + 1.0
    before = np.full(column_a.shape, _MARCH_STEP_MM, np.float32)
    hit_z = np.full(column_a.shape, NOTHING_MM, np.float32)
    pending = np.ones(column_a.shape, bool)
    while level > _FURTHEST_MM:
        gap = np.float32(level) - sample(head.height, np.float32(level))
        crossed = pending & (gap <= 0)
        past = gap[crossed]
        hit_z[crossed] = level + _MARCH_STEP_MM * past / (past - before[crossed])
        pending &= ~crossed
        before = np.maximum(gap, 1e-3)
        level -= _MARCH_STEP_MM
    hit = ~pending
    # One more step of the secant: the march is coarse, the noses are not.
    miss = hit_z - sample(head.height, hit_z)
    hit_z = np.where(np.abs(miss) < _MARCH_STEP_MM, hit_z - 0.7 * miss, hit_z).astype(np.float32)
    normal = _unit(sample(_normal_map(head.height), hit_z) @ rotation.T)
    albedo = sample(head.albedo, hit_z)
    other = sample(np.asarray(cv2.merge([head.nir, head.gloss, head.face]), np.float32), hit_z)
    front = View(
        distance=((hit_z - eye[2]) / rays[..., 2]).astype(np.float32),
        facing=_facing(normal, camera),
        normal=normal,
        albedo=albedo,
        emission=np.zeros_like(normal),
        nir=other[..., 0],
        gloss=other[..., 1],
        face=other[..., 2],
    )
    return _over(front, hit, behind)


def _normal_map(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [H, W, 3], normals of a height field, not of unit length."""
    import cv2

    slope_y, slope_x = np.gradient(height, STEP_MM)
    steep = 3.0  # beyond this it is a silhouette, not a slope
    across, down = np.clip(-slope_x, -steep, steep), np.clip(-slope_y, -steep, steep)
    return np.asarray(cv2.merge([across, down, np.ones_like(across)]), np.float32)


def see_carrier(carrier: Carrier, pose: Pose, camera: Camera, behind: View) -> View:
    """Return the view of a sheet or screen before `behind`."""
    import cv2

    rotation, eye, rays = _into_frame(pose, camera)
    z = np.zeros(rays.shape[:2], np.float32)
    for _ in range(3):  # a gentle bend converges at once
        along = (z - eye[2]) / rays[..., 2]
        x = eye[0] + along * rays[..., 0]
        z = -carrier.bend * x * x
    y = eye[1] + along * rays[..., 1]
    column = ((x / carrier.scale - LEFT_MM) / STEP_MM).astype(np.float32)
    row = ((y / carrier.scale - TOP_MM) / STEP_MM).astype(np.float32)

    def sample(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        found = cv2.remap(maps, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, np.float32)

    inside = np.minimum(
        carrier.half_width_mm - np.abs(x), np.minimum(y - carrier.top_mm, carrier.bottom_mm - y)
    )
    picture = inside > carrier.border_mm
    albedo = np.where(
        picture[..., None], sample(carrier.albedo), np.asarray(carrier.rim, np.float32)
    )
    emission = np.where(picture[..., None], sample(carrier.emission), np.float32(0.0))
    if carrier.pitch_mm > 0:
        emission *= _pixel_grid(carrier, x, y)
    other = sample(np.asarray(cv2.merge([carrier.nir, carrier.shape, carrier.face]), np.float32))
    bent = np.dstack([2.0 * carrier.bend * x, np.zeros_like(x), np.ones_like(x)])
    normal = _unit(bent.astype(np.float32) @ rotation.T)
    front = View(
        distance=along.astype(np.float32),
        facing=_facing(normal, camera),
        normal=normal,
        albedo=albedo.astype(np.float32),
        emission=emission.astype(np.float32),
        nir=np.where(picture, other[..., 0], np.float32(carrier.rim_nir)),
        gloss=np.full_like(x, carrier.gloss, np.float32),
        face=np.where(picture, other[..., 2], np.float32(0.0)),
    )
    there = (inside > 0) & (other[..., 1] > 0.5) if carrier.cut_out else inside > 0
    return _over(front, there, behind)


def _pixel_grid(
    carrier: Carrier, x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return float32 [H, W, 3], a screen's pixel grid as it falls on the camera's pixels.

    One sample a camera pixel of a grid much finer: what is left is the beat of the two, moire.
    """
    turn = np.float32(2 * np.pi / carrier.pitch_mm)
    rows = np.sin(turn * y.astype(np.float32))
    # Each color's sub-pixel sits a third of a pixel further.
    across = turn * x.astype(np.float32)
    beats = [np.sin(across + np.float32(2 * np.pi * k / 3)) + rows for k in range(3)]
    return np.asarray(1.0 + np.float32(0.5 * carrier.moire) * np.dstack(beats), np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    lengths = np.sqrt(x * x + y * y + z * z)
    return np.asarray(vectors / lengths[..., None], np.float32)


def _facing(normal: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    n, t = normal, _towards_of(camera)
    cosine = n[..., 0] * t[..., 0] + n[..., 1] * t[..., 1] + n[..., 2] * t[..., 2]
    return np.asarray(np.maximum(cosine, 0.0), np.float32)


def _into_frame(
    pose: Pose, camera: Camera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return rotation, camera position and rays [H, W, 3], the last two in the object's frame."""
    rotation = pose.rotation()
    eye = -np.asarray(pose.position_mm, np.float32) @ rotation
    return rotation, eye, np.asarray(camera.rays() @ rotation, np.float32)


def _over(front: View, there: NDArray[np.bool_], behind: View) -> View:
    import cv2

    mask = (there & (front.distance < behind.distance)).astype(np.uint8)
    merged: dict[str, NDArray[np.float32]] = {}
    for item in fields(View):
        over = np.ascontiguousarray(getattr(front, item.name))
        merged[item.name] = np.asarray(
            cv2.copyTo(over, mask, getattr(behind, item.name).copy()), np.float32
        )
    return View(**merged)

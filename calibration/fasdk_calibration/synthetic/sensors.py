"""Sensor models: RGB camera, stereo depth camera and near-infrared imager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk_calibration.synthetic.scene import Camera, View

_BASELINE_MM = 50.0
_NEAREST_MM, _FURTHEST_MM = 250.0, 4000.0
# Display encoding of 12-bit linear light.
_ENCODED = np.rint(255.0 * np.linspace(0.0, 1.0, 4096) ** (1 / 2.2)).astype(np.uint8)


@dataclass(frozen=True)
class LightingRange:
    """Ranges of the lighting of rooms of one kind; the fields are those of `Lighting`.

    Attributes:
        key: Least and greatest strength of the key light.
        warmth: Least and greatest excess of red over green; blue lacks as much.
        exposure: Least and greatest aim of the automatic exposure.
        nir_gain: Least and greatest gain of the near-infrared imager.
        nir_ambient: Greatest near-infrared daylight; half of the rooms have none.
    """

    key: tuple[float, float] = (0.15, 0.8)
    warmth: tuple[float, float] = (-0.18, 0.18)
    exposure: tuple[float, float] = (0.14, 0.34)
    nir_gain: tuple[float, float] = (0.92, 1.09)
    nir_ambient: float = 0.15


@dataclass(frozen=True)
class SensorSettings:
    """Properties of one make of sensors; the defaults are a good stereo camera's.

    Attributes:
        rgb_noise: Factor on the color camera's noise.
        rgb_blur: Standard deviation added to the color camera's blur, in pixels.
        rgb_full: Linear level at which the color camera saturates; a white surface in the light
            the exposure aims at is about 0.7.
        nir_noise: Factor on the near-infrared imager's noise.
        nir_full: Level at which the near-infrared imager saturates, as `rgb_full`.
        depth_noise: Factor on the noise of a distance.
        depth_scale: Factor on every distance: a calibration that is off.
        depth_step_mm: Distances come in multiples of this.
        flying: Share of a silhouette's pixels that fly between front and back.
        misregistration_px: Largest shift of the depth camera's frames against the color camera's
            to each side, in pixels of a frame 320 wide.
    """

    rgb_noise: float = 1.0
    rgb_blur: float = 0.0
    rgb_full: float = 1.0
    nir_noise: float = 1.0
    nir_full: float = 1.0
    depth_noise: float = 1.0
    depth_scale: float = 1.0
    depth_step_mm: int = 1
    flying: float = 0.35
    misregistration_px: float = 1.5

    def __post_init__(self) -> None:
        """Refuse what no sensor does."""
        if min(self.rgb_noise, self.rgb_blur, self.nir_noise, self.depth_noise) < 0:
            raise DatasetError(f"noise and blur must not be negative: {self}")
        if not (min(self.rgb_full, self.nir_full) >= 0.2 and 0.0 <= self.flying <= 0.7):
            raise DatasetError(
                f"rgb_full {self.rgb_full} and nir_full {self.nir_full} must be at least 0.2, "
                f"flying {self.flying} must lie in 0 to 0.7"
            )
        if not 0.0 <= self.misregistration_px <= 10.0:
            raise DatasetError(
                f"misregistration_px {self.misregistration_px} must lie in 0 to 10 pixels"
            )
        if not 0.5 <= self.depth_scale <= 2.0 or self.depth_step_mm < 1:
            raise DatasetError(
                f"depth_scale {self.depth_scale} must lie in 0.5 to 2, "
                f"depth_step_mm {self.depth_step_mm} must be at least 1"
            )


@dataclass(frozen=True)
class Lighting:
    """The light in the room.

    Attributes:
        direction: Unit vector from the scene towards the key light, view frame.
        key: Strength of the key light, ambient light and key together being about 1.
        tint: Linear RGB color of all visible light.
        exposure: Mean luma an automatic exposure aims at on the face, in [0, 1].
        nir_gain: The near-infrared imager's gain; 1 exposes skin at half a meter to mid gray.
        nir_ambient: Near-infrared daylight, relative to the illuminator at half a meter.
    """

    direction: tuple[float, float, float]
    key: float
    tint: tuple[float, float, float]
    exposure: float
    nir_gain: float
    nir_ambient: float


_ANY_ROOM = LightingRange()
_STEREO = SensorSettings()


def draw_lighting(rng: np.random.Generator, among: LightingRange = _ANY_ROOM) -> Lighting:
    """Return the light of a room drawn at random `among` a kind of rooms."""
    direction = np.array([rng.uniform(-1.0, 1.0), rng.uniform(-1.2, 0.1), rng.uniform(0.5, 1.2)])
    direction /= np.linalg.norm(direction)
    warmth = rng.uniform(*among.warmth)
    return Lighting(
        direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        key=rng.uniform(*among.key),
        tint=(1.0 + warmth, 1.0, 1.0 - warmth),
        exposure=rng.uniform(*among.exposure),
        nir_gain=rng.uniform(*among.nir_gain),
        nir_ambient=rng.uniform(0.0, among.nir_ambient) if rng.random() < 0.5 else 0.0,
    )


def expose_rgb(
    view: View,
    camera: Camera,
    light: Lighting,
    rng: np.random.Generator,
    sensors: SensorSettings = _STEREO,
) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3], red first: shaded, exposed for the face, with noise, sRGB curve."""
    import cv2

    direction = np.asarray(light.direction, np.float32)
    diffuse = _along(view, direction)
    # The half vector between key light and camera; rays are near enough to the axis.
    half = direction + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    lobe = _squared(_along(view, half), 4)
    ambient = (1.0 - light.key) * (0.75 - 0.25 * view.normal[..., 1])
    shade = np.asarray(ambient + 1.6 * light.key * diffuse, np.float32)
    shine = 2.0 * light.key * view.gloss * lobe
    linear = view.albedo * _tinted(shade, light)
    linear += _tinted(shine, light)
    linear += view.emission
    face = view.face > 0.5
    luma = linear[face].mean() if face.any() else linear.mean()
    linear *= np.float32(light.exposure / max(float(luma), 1e-3))
    blur = 0.6 * camera.width / 320.0 + rng.uniform(0.0, 0.35) + sensors.rgb_blur
    linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), blur), np.float32)
    noise = rng.standard_normal(linear.shape, np.float32)
    noise *= np.float32(0.022) * np.sqrt(linear) + np.float32(0.004)
    noise *= np.float32(sensors.rgb_noise)
    linear += noise
    linear *= np.float32(4095.0 / sensors.rgb_full)
    np.clip(linear, 0.0, 4095.0, out=linear)
    return np.asarray(np.take(_ENCODED, np.rint(linear, out=linear).astype(np.uint16)), np.uint8)


def expose_nir(
    view: View,
    camera: Camera,
    light: Lighting,
    rng: np.random.Generator,
    sensors: SensorSettings = _STEREO,
) -> NDArray[np.uint8]:
    """Return uint8 [H, W]: lit from beside the camera, falling with distance squared."""
    import cv2

    lit = nir_return(view) * 0.62 * light.nir_gain
    lit = lit + light.nir_gain * light.nir_ambient * view.nir * 0.5
    received = np.asarray(cv2.GaussianBlur(lit, (0, 0), 0.7 * camera.width / 320.0))
    # Charge that does not fit a pixel spills over its neighbors.
    spilt = np.maximum(received - np.float32(sensors.nir_full), 0.0)
    if spilt.any():
        received += 0.3 * cv2.GaussianBlur(spilt, (0, 0), 3.0 * camera.width / 320.0)
    noise = rng.standard_normal(received.shape, np.float32) * np.float32(sensors.nir_noise)
    received = received + noise * (0.008 + 0.02 * np.sqrt(np.maximum(received, 0.0)))
    received = received * np.float32(1.0 / sensors.nir_full)
    return np.asarray(np.rint(255.0 * np.clip(received, 0.0, 1.0)), np.uint8)


def nir_return(view: View) -> NDArray[np.float32]:
    """Return what comes back of the illuminator's light, 1 for a white facing surface at 0.5 m."""
    lobe = 3.0 * view.gloss * _squared(view.facing, 8)
    return np.asarray((view.nir * view.facing + lobe) * (500.0 / view.distance) ** 2, np.float32)


def measure_depth(
    view: View,
    camera: Camera,
    light: Lighting,
    rng: np.random.Generator,
    sensors: SensorSettings = _STEREO,
) -> NDArray[np.uint16]:
    """Return uint16 [H, W] in millimeters, 0 where active stereo finds no match.

    Noise grows with distance squared; the far side of an edge is hidden from the second imager;
    pixels on an edge fly between front and back; dark, glossy and distant surfaces leave holes.
    """
    import cv2

    true = view.distance
    shape = true.shape
    grain = rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1), np.float32)
    coarse = cv2.resize(grain, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    sigma = np.float32(sensors.depth_noise) * (0.7 + 2.6 * (true / 1000.0) ** 2)
    depth = true + sigma * (coarse + 0.5 * rng.standard_normal(shape, np.float32))

    kernel = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(true, kernel), cv2.dilate(true, kernel)
    chance = rng.random(shape, np.float32)
    edge = (far - near) > 35.0
    flying = edge & (chance < sensors.flying)
    depth[flying] = (near + (far - near) * rng.random(shape, np.float32))[flying]

    hole = edge & (chance > 0.75)
    disparity = camera.focal_px * _BASELINE_MM / true
    for shift in range(2, 22, 2):
        hidden = disparity[:, shift:] - disparity[:, :-shift] > shift
        hole[:, :-shift] |= hidden
    cells = rng.random((shape[0] // 3 + 1, shape[1] // 3 + 1), np.float32)
    blotch = np.asarray(cv2.resize(cells, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
    back = nir_return(view) * light.nir_gain
    hole |= blotch < 0.32 * np.clip(1.0 - back / 0.06, 0.0, 1.0)
    hole |= (view.gloss > 0.3) & (back > 0.8) & (blotch < 0.8)
    hole |= (depth < _NEAREST_MM) | (depth > _FURTHEST_MM)
    depth[hole] = 0.0
    step = sensors.depth_step_mm
    steps = np.rint(depth * np.float32(sensors.depth_scale / step))
    return np.asarray(step * steps, np.uint16)


@dataclass(frozen=True)
class Misregistration:
    """How far the depth camera's frames lie off the color camera's, as an affine map.

    Attributes:
        shift_px: Right and down, in pixels of a frame 320 wide.
        turn: Rotation about the frame's center, in radians.
        zoom: Factor about the frame's center.
    """

    shift_px: tuple[float, float]
    turn: float
    zoom: float

    def apply(self, frame: NDArray[np.uint8] | NDArray[np.uint16]) -> Any:
        """Return the frame moved; distances are picked, not mixed, and so are gray levels."""
        import cv2

        height, width = frame.shape
        center = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(center, float(np.degrees(self.turn)), self.zoom)
        matrix[:, 2] += np.asarray(self.shift_px) * width / 320.0
        return cv2.warpAffine(
            frame, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )


def draw_misregistration(rng: np.random.Generator, sensors: SensorSettings) -> Misregistration:
    """Return the calibration error of one rig."""
    reach = sensors.misregistration_px
    x, y = rng.uniform(-reach, reach, 2)
    return Misregistration(
        shift_px=(float(x), float(y)),
        turn=float(rng.uniform(-0.004, 0.004)) * min(reach, 1.0),
        zoom=1.0 + float(rng.uniform(-0.008, 0.008)) * min(reach, 1.0),
    )


def _along(view: View, direction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine between what each pixel sees and a direction, 0 from behind."""
    import cv2

    cosine = np.asarray(cv2.transform(view.normal, direction[None].astype(np.float32)), np.float32)
    return np.asarray(np.maximum(cosine, 0.0), np.float32)


def _tinted(light: NDArray[np.float32], of: Lighting) -> NDArray[np.float32]:
    """Return float32 [H, W, 3], light of the room's color."""
    import cv2

    return np.asarray(cv2.merge([light * np.float32(t) for t in of.tint]), np.float32)


def _squared(values: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """Return `values` squared so many times in a row."""
    for _ in range(times):
        values = values * values
    return values

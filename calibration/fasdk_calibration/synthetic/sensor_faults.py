"""Faults of a sensor, simulated on the frames of a capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasdk.capture import Capture, Modality
from fasdk.errors import DatasetError
from fasdk.settings import as_choice

_RGB, _DEPTH, _IR = Modality.RGB, Modality.DEPTH, Modality.IR
_DISPLAY_GAMMA = 2.2
_LEVELS = 255.0
_HOLE_PX = 5.0  # size of a hole, in pixels of a frame 320 wide

Values = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Frame:
    """Frame of one sensor, and the source of what happens to it.

    Attributes:
        values: float32 [H, W] or [H, W, 3], levels or millimeters.
        modality: Modality of the sensor.
        rng: Source of the fault's strength and of its noise.
    """

    values: Values
    modality: Modality
    rng: np.random.Generator

    @property
    def scale(self) -> float:
        """Size of a pixel of a frame 320 wide, in pixels of this one."""
        return float(self.values.shape[1] / 320.0)


class SensorFault(str, Enum):
    """A fault of one sensor; each is drawn anew for every capture.

    COVERED shows a finger or tape before the lens. FOGGED has a veil of light and a blur.
    SATURATED is exposed 2.5 to 5 times too long. DEAD_EMITTER lacks the infrared illuminator, so
    that infrared is nearly dark and depth has few matches. SHIFTED is 14 to 28 pixels of a frame
    320 wide away from where the other sensors see the face. SCALED_DEPTH is 10 to 30 % off.
    HOLES lacks 35 to 70 % of the distances. NOISE adds 18 to 40 levels, or 12 to 40 mm. BLUR is out
    of focus by 2.5 to 5 pixels of a frame 320 wide. SWAPPED shows what another sensor sees. FROZEN
    shows an earlier frame. WRONG_EXPOSURE is 1.5 to 3 stops too dark or 1 to 2 too bright.
    """

    COVERED = "covered"
    FOGGED = "fogged"
    SATURATED = "saturated"
    DEAD_EMITTER = "dead-emitter"
    SHIFTED = "shifted"
    SCALED_DEPTH = "scaled-depth"
    HOLES = "holes"
    NOISE = "noise"
    BLUR = "blur"
    SWAPPED = "swapped"
    FROZEN = "frozen"
    WRONG_EXPOSURE = "wrong-exposure"

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities whose sensor can have the fault."""
        return _MODALITIES[self]


_MODALITIES = {
    SensorFault.COVERED: (_RGB, _DEPTH, _IR),
    SensorFault.FOGGED: (_RGB, _IR),
    SensorFault.SATURATED: (_RGB, _IR),
    SensorFault.DEAD_EMITTER: (_DEPTH, _IR),
    SensorFault.SHIFTED: (_RGB, _DEPTH, _IR),
    SensorFault.SCALED_DEPTH: (_DEPTH,),
    SensorFault.HOLES: (_DEPTH,),
    SensorFault.NOISE: (_RGB, _DEPTH, _IR),
    SensorFault.BLUR: (_RGB, _IR),
    SensorFault.SWAPPED: (_RGB, _DEPTH, _IR),
    SensorFault.FROZEN: (_RGB, _DEPTH, _IR),
    SensorFault.WRONG_EXPOSURE: (_RGB, _IR),
}


def with_fault(
    capture: Capture,
    modality: Modality | str,
    fault: SensorFault | str,
    rng: np.random.Generator,
    *,
    earlier: Capture | None = None,
) -> Capture:
    """Return a capture of which one sensor has a fault.

    Args:
        capture: Capture with all three modalities.
        modality: Modality whose sensor has the fault.
        fault: Fault, one that this sensor can have.
        rng: Source of the fault's strength and of its noise.
        earlier: Capture whose frame a frozen sensor shows; FROZEN alone needs it.

    Raises:
        UsageError: There is no such modality or fault.
        DatasetError: This sensor cannot have the fault, the capture lacks a modality, or FROZEN
            comes without `earlier`.
    """
    modality = as_choice("modality", modality, Modality)
    fault = as_choice("fault", fault, SensorFault)
    if modality not in fault.modalities:
        names = ", ".join(m.value for m in fault.modalities)
        raise DatasetError(f"{modality.value} cannot be {fault.value}: choose {names}")
    if set(capture.present) != set(Modality):
        raise DatasetError("a fault needs a capture of rgb, depth and ir")
    shown: dict[str, Any] = {modality.value: _shown(capture, modality, fault, rng, earlier)}
    return replace(capture, **shown)


def _shown(
    capture: Capture,
    modality: Modality,
    fault: SensorFault,
    rng: np.random.Generator,
    earlier: Capture | None,
) -> Values:
    """Return the frame that a faulty sensor gives."""
    if fault is SensorFault.FROZEN:
        if earlier is None:
            raise DatasetError("frozen shows an earlier frame: give `earlier`")
        return np.array(earlier.frame(modality))
    if fault is SensorFault.SWAPPED:
        return _of_another(capture, modality)
    frame = capture.frame(modality)
    changed = _CHANGES[fault](_Frame(frame.astype(np.float32), modality, rng))
    highest = 65535.0 if modality is _DEPTH else _LEVELS
    return np.asarray(np.rint(np.clip(changed, 0.0, highest)), frame.dtype)


def _of_another(capture: Capture, modality: Modality) -> Values:
    if modality is _RGB:
        return np.repeat(capture.frame(_IR)[..., None], 3, axis=2)
    if modality is _IR:
        return np.asarray(np.rint(capture.frame(_RGB).mean(axis=2)), np.uint8)
    return capture.frame(_IR).astype(np.uint16)


def _covered(frame: _Frame) -> Values:
    if frame.modality is _DEPTH:
        matched = frame.rng.random(frame.values.shape) < frame.rng.uniform(0.0, 0.05)
        return np.where(matched, frame.rng.uniform(250.0, 4000.0, frame.values.shape), 0.0)
    glow = frame.rng.uniform(2.0, 20.0)
    # A finger lets some red through.
    tint = np.array([1.0, 0.4, 0.3]) if frame.modality is _RGB else 1.0
    return glow * tint + frame.rng.normal(0.0, 2.0, frame.values.shape)


def _fogged(frame: _Frame) -> Values:
    veil, light = frame.rng.uniform(0.35, 0.7), frame.rng.uniform(110.0, 190.0)
    blurred = _blurred(frame.values, frame.rng.uniform(1.5, 3.0) * frame.scale)
    return (1.0 - veil) * blurred + veil * light


def _saturated(frame: _Frame) -> Values:
    return _exposed(frame, frame.rng.uniform(2.5, 5.0))


def _dead_emitter(frame: _Frame) -> Values:
    if frame.modality is _DEPTH:
        noisy = _with_noise(frame, frame.rng.uniform(8.0, 20.0))
        return _with_holes(noisy, frame.rng.uniform(0.6, 0.9), frame)
    dark = frame.values * frame.rng.uniform(0.02, 0.12)
    return dark + frame.rng.normal(0.0, 2.0, dark.shape)


def _shifted(frame: _Frame) -> Values:
    import cv2

    angle, far = frame.rng.uniform(0, 2 * np.pi), frame.rng.uniform(14.0, 28.0) * frame.scale
    right, down = far * np.cos(angle), far * np.sin(angle)
    height, width = frame.values.shape[:2]
    matrix = np.array([[1, 0, right], [0, 1, down]])
    moved = cv2.warpAffine(
        frame.values,
        matrix,
        (width, height),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved)


def _scaled(frame: _Frame) -> Values:
    change = frame.rng.uniform(0.1, 0.3) * (1.0 if frame.rng.random() < 0.5 else -1.0)
    return np.asarray(frame.values * (1.0 + change))


def _holes(frame: _Frame) -> Values:
    return _with_holes(frame.values, frame.rng.uniform(0.35, 0.7), frame)


def _noise(frame: _Frame) -> Values:
    strength = (12.0, 40.0) if frame.modality is _DEPTH else (18.0, 40.0)
    return _with_noise(frame, frame.rng.uniform(*strength))


def _blur(frame: _Frame) -> Values:
    return _blurred(frame.values, frame.rng.uniform(2.5, 5.0) * frame.scale)


def _exposure(frame: _Frame) -> Values:
    dark, bright = -frame.rng.uniform(1.5, 3.0), frame.rng.uniform(1.0, 2.0)
    return _exposed(frame, 2.0 ** (dark if frame.rng.random() < 0.5 else bright))


_Change = Callable[[_Frame], Values]
_CHANGES: dict[SensorFault, _Change] = {
    SensorFault.COVERED: _covered,
    SensorFault.FOGGED: _fogged,
    SensorFault.SATURATED: _saturated,
    SensorFault.DEAD_EMITTER: _dead_emitter,
    SensorFault.SHIFTED: _shifted,
    SensorFault.SCALED_DEPTH: _scaled,
    SensorFault.HOLES: _holes,
    SensorFault.NOISE: _noise,
    SensorFault.BLUR: _blur,
    SensorFault.WRONG_EXPOSURE: _exposure,
}


def _exposed(frame: _Frame, gain: float) -> Values:
    """Return a frame with its linear light multiplied; color levels are encoded, infrared's not."""
    factor = gain ** (1.0 / _DISPLAY_GAMMA) if frame.modality is _RGB else gain
    return frame.values * factor


def _blurred(values: Values, sigma_px: float) -> Values:
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px))


def _with_noise(frame: _Frame, strength: float) -> Values:
    noisy = frame.values + frame.rng.normal(0.0, strength, frame.values.shape)
    # Where depth found nothing, it finds no noise either.
    return np.where(frame.values > 0, noisy, 0.0) if frame.modality is _DEPTH else noisy


def _with_holes(depth: Values, share: float, frame: _Frame) -> Values:
    grain = _blurred(
        frame.rng.standard_normal(depth.shape).astype(np.float32), _HOLE_PX * frame.scale / 2
    )
    return np.where(grain < np.quantile(grain, share), 0.0, depth)

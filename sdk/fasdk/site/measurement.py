"""Numbers of one capture: what the quality gates hold against their limits, and what else shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import FaceBox, Modality
from fasdk.quality.agreement import margins
from fasdk.quality.exposure import face_depth, face_light, saturated_share
from fasdk.quality.planes import gray

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.capture import Capture

_GRID_PX = 96  # a scene is looked at on a grid of about this many rows
_DARK, _CLIPPED = 16, 250  # 8-bit levels up to and from which a pixel shows nothing


@dataclass(frozen=True)
class Measurement:
    """Numbers of a registered capture; None for what it does not show.

    Attributes:
        frame_px: Width of the frame that the face was found in, in pixels.
        face_px: Width of the face box there, in pixels.
        distance_mm: Median depth of the face, in millimeters.
        depth_holes: Fraction of the face without depth, in [0, 1].
        highlight: 95th percentile of the face's luma in RGB, 8-bit.
        sharpness: `FaceLight.sharpness` of the RGB frame.
        ir_highlight: 95th percentile of the face in infrared, 8-bit.
        ir_sharpness: `FaceLight.sharpness` of the infrared frame.
        ir_saturated: Fraction of the face that is saturated in infrared, in [0, 1].
        agreement: Least margin of a pair of sensors less what one face needs; 0 and more agree.
        scene_dark: Fraction of the RGB frame at levels of at most 16, in [0, 1].
        scene_clipped: Fraction of the RGB frame at levels of at least 250, in [0, 1].
        skew_ms: Difference between the times of the frames, in milliseconds.
    """

    frame_px: int | None = None
    face_px: int | None = None
    distance_mm: float | None = None
    depth_holes: float | None = None
    highlight: float | None = None
    sharpness: float | None = None
    ir_highlight: float | None = None
    ir_sharpness: float | None = None
    ir_saturated: float | None = None
    agreement: float | None = None
    scene_dark: float | None = None
    scene_clipped: float | None = None
    skew_ms: float | None = None

    @property
    def text(self) -> str:
        """What was measured, in one line."""
        if self.face_px is None:
            return "no face"
        parts = [f"face {self.face_px} px wide"]
        if self.distance_mm is not None:
            parts.append(f"{self.distance_mm:.0f} mm away")
        if self.highlight is not None and self.sharpness is not None:
            parts.append(f"highlights {self.highlight:.0f}, sharpness {self.sharpness:.0f}")
        if self.ir_saturated is not None:
            parts.append(f"infrared saturated {self.ir_saturated:.0%}")
        if self.depth_holes is not None:
            parts.append(f"depth holes {self.depth_holes:.0%}")
        return ", ".join(parts)


def measure(capture: Capture) -> Measurement:
    """Return the numbers of a capture, with its face where a detector found one."""
    numbers: dict[str, float | int | None] = {"skew_ms": _skew_ms(capture)}
    if Modality.RGB in capture.present:
        dark, clipped = _exposure(capture.frame(Modality.RGB))
        numbers |= {"scene_dark": dark, "scene_clipped": clipped}
    if capture.face is None:
        return Measurement(**numbers)  # type: ignore[arg-type]
    numbers |= {
        "frame_px": capture.size_of(capture.present[0])[0],
        "face_px": FaceBox.of(capture.face).width,
    }
    for modality in capture.present:
        box = capture.face_in(modality)
        if box is None:
            continue
        frame = capture.frame(modality)
        if modality is Modality.DEPTH:
            depth = face_depth(frame, box)
            numbers |= {"distance_mm": depth.median_mm, "depth_holes": depth.hole_share}
            continue
        light = face_light(frame, box)
        if modality is Modality.RGB:
            numbers |= {"highlight": light.highlight, "sharpness": light.sharpness}
        else:
            numbers |= {"ir_highlight": light.highlight, "ir_sharpness": light.sharpness}
            numbers["ir_saturated"] = saturated_share(frame, box)
    found = [margin - pair.least for pair, margin in margins(capture).items()]
    numbers["agreement"] = min(found, default=None)
    return Measurement(**numbers)  # type: ignore[arg-type]


def _skew_ms(capture: Capture) -> float | None:
    times = [at for m, at in capture.taken_ms.items() if m in capture.present and math.isfinite(at)]
    return max(times) - min(times) if len(times) > 1 else None


def _exposure(frame: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the fractions of a frame, uint8 [H, W, 3], that are too dark and clipped."""
    step = max(1, min(frame.shape[:2]) // _GRID_PX)
    levels = gray(np.ascontiguousarray(frame[::step, ::step]))
    return (
        int(np.count_nonzero(levels <= _DARK)) / levels.size,
        int(np.count_nonzero(levels >= _CLIPPED)) / levels.size,
    )

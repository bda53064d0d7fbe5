"""Preview of a camera in numbers: what the quality gates measure on a capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasdk.capture import FaceBox, Modality
from fasdk.quality.exposure import face_depth, face_light, saturated_share

if TYPE_CHECKING:
    from fasdk.capture import Capture


@dataclass(frozen=True)
class PreviewNumbers:
    """Measurements of one capture; None for what it does not show.

    Attributes:
        face_px: Width of the face box, in pixels of the frame it was found in.
        distance_mm: Median depth of the face, in millimeters.
        highlight: 95th percentile of the face's luma, 8-bit, of RGB or else infrared.
        sharpness: `FaceLight.sharpness` of that frame.
        ir_saturated: Fraction of the face that is saturated in infrared, in [0, 1].
        depth_holes: Fraction of the face without depth, in [0, 1].
    """

    face_px: int | None = None
    distance_mm: float | None = None
    highlight: int | None = None
    sharpness: float | None = None
    ir_saturated: float | None = None
    depth_holes: float | None = None

    def text(self) -> str:
        """Return what was measured in one line."""
        if self.face_px is None:
            return "no face"
        parts = [f"face {self.face_px} px wide"]
        if self.distance_mm is not None:
            parts.append(f"{self.distance_mm:.0f} mm away")
        if self.highlight is not None and self.sharpness is not None:
            parts += [f"light {self.highlight} of 255", f"sharpness {self.sharpness:.0f}"]
        if self.ir_saturated is not None:
            parts.append(f"infrared saturated {self.ir_saturated:.0%}")
        if self.depth_holes is not None:
            parts.append(f"depth holes {self.depth_holes:.0%}")
        return ", ".join(parts)


def measure(capture: Capture) -> PreviewNumbers:
    """Return the numbers of a capture, with its face where a detector found one."""
    if capture.face is None:
        return PreviewNumbers()
    boxes = {m: box for m in capture.present if (box := capture.face_in(m)) is not None}
    lit = next((m for m in (Modality.RGB, Modality.IR) if m in boxes), None)
    light = None if lit is None else face_light(capture.frame(lit), boxes[lit])
    depth = None
    if Modality.DEPTH in boxes:
        depth = face_depth(capture.frame(Modality.DEPTH), boxes[Modality.DEPTH])
    saturated = None
    if Modality.IR in boxes:
        saturated = saturated_share(capture.frame(Modality.IR), boxes[Modality.IR])
    return PreviewNumbers(
        face_px=FaceBox.of(capture.face).width,
        distance_mm=None if depth is None else depth.median_mm,
        highlight=None if light is None else light.highlight,
        sharpness=None if light is None else light.sharpness,
        ir_saturated=saturated,
        depth_holes=None if depth is None else depth.hole_share,
    )

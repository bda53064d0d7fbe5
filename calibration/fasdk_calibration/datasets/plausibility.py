"""Plausibility of depth: how far faces are, and whether that suits a door."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import FaceBox, Modality
from fasdk.lists.options import line_to_write
from fasdk_calibration.datasets.records import CaptureRecord, DepthUnit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasdk.lists.loading import StoredCapture

NEAREST_FACE_MM = 100
FARTHEST_FACE_MM = 1500
# Millimeters of one unit: 100, 125 and 250 micrometers of depth sensors, then centimeters, meters.
_USUAL_SCALES_MM = (0.1, 0.125, 0.25, 10.0, 1000.0)


def face_distance_mm(depth: NDArray[Any], face: FaceBox | None) -> float | None:
    """Return the median distance within a face box, or None where the sensor saw nothing there.

    Args:
        depth: uint16 [H, W], millimeters; 0 where nothing was seen.
        face: Face in pixels of `depth`; without one the middle half of the frame is taken.
    """
    height, width = depth.shape
    box = face or FaceBox(width // 4, height // 4, max(1, width // 2), max(1, height // 2))
    seen = depth[box.y : box.y + box.height, box.x : box.x + box.width]
    seen = seen[seen > 0]
    return float(np.median(seen)) if seen.size else None


def distance_of(record: CaptureRecord, stored: StoredCapture) -> float | None:
    """Return how far a capture's face is in millimeters, or None without depth in that unit."""
    depth = stored.frames.get(Modality.DEPTH)
    if depth is None or record.depth_unit is DepthUnit.LEVEL or stored.faults:
        return None
    first = next(iter(stored.frames.values()))
    own = stored.faces.get(Modality.DEPTH)
    if own is not None:
        return face_distance_mm(depth, own)
    face = stored.face
    if face is not None:
        sizes = ((f.shape[1], f.shape[0]) for f in (first, depth))
        face = face.scaled_to(*sizes)
    return face_distance_mm(depth, face)


def implausible_depth(distances_mm: Sequence[float]) -> str | None:
    """Return a warning where the median of face distances is none of a person at a door.

    A depth file whose unit is not the millimeter that it is taken for shows so: thresholds that
    are chosen on it suit no camera, and people become attacks.

    Args:
        distances_mm: Distance of each capture's face, as `distance_of` gives it.

    Returns:
        One line with the options to try, or None where the median is plausible or nothing is known.
    """
    if not distances_mm:
        return None
    median = statistics.median(distances_mm)
    if NEAREST_FACE_MM <= median <= FARTHEST_FACE_MM:
        return None
    fitting = [s for s in _USUAL_SCALES_MM if 250 <= median * s <= FARTHEST_FACE_MM]
    say = " or ".join(line_to_write(depth_scale_mm=f"{scale:g}") for scale in fitting)
    return (
        f"faces are {median:.0f} mm away (median of {len(distances_mm)} captures), expected "
        f"{NEAREST_FACE_MM} to {FARTHEST_FACE_MM} mm: are the depth files in another unit? Say the "
        f"millimeters of one unit by the column or option depth_scale_mm, or by the list's first "
        f"line{f' {say}' if say else ''}"
    )

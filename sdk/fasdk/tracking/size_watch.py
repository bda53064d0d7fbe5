"""Agreement of how large a face is in the picture with how far depth says it is."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from fasdk.capture import FaceBox, Modality
from fasdk.reasons import Finding, Reason

if TYPE_CHECKING:
    from fasdk.capture import Capture

# The side of a box varies by a tenth with the detector and as the head turns; both measured on
# synthetic presentations by tools/bench/injection.py.
MOST_RATIO = 1.3
_FIRST_FRAMES = 5  # whose median later ones are held against
_LEAST_FRAMES = 3
_MIDDLE = 0.5  # share of the box whose median depth is the face's
_SAMPLES = 12  # a side


class SizeWatch:
    """Comparison of the size times the distance of one face, which stays the same as it moves.

    Who steps nearer becomes larger by as much. A color stream of another moment than depth's shows
    a face that grows while its distance stays, or the other way round.
    """

    def __init__(self) -> None:
        self._products: list[float] = []  # of the first frames

    def forget(self) -> None:
        """Treat the next frame as the first."""
        self._products.clear()

    def take_in(self, capture: Capture) -> Finding | None:
        """Take in a frame; return the finding on a size that depth contradicts, or None.

        Args:
            capture: Sound capture of the face of the frame before; without a face box or without
                depth of it nothing is compared.
        """
        product = size_times_distance(capture)
        if product is None:
            return None
        usual = median(self._products) if len(self._products) >= _LEAST_FRAMES else product
        if len(self._products) < _FIRST_FRAMES:
            self._products.append(product)
        ratio = max(product / usual, usual / product)
        if ratio <= MOST_RATIO:
            return None
        self.forget()
        return Finding(
            Reason.SENSORS_DISAGREE,
            f"the face's size and its distance in depth do not change together (by {ratio:.2f}, at "
            f"most {MOST_RATIO}): hold still; if it stays, see that depth and the frame with the "
            "face box are of one moment",
        )


def size_times_distance(capture: Capture) -> float | None:
    """Return the side of the face's box times its median depth, in pixels times millimeters."""
    if capture.face is None or capture.depth is None or capture.present[0] is Modality.DEPTH:
        return None
    box, own = capture.face_in(Modality.DEPTH), FaceBox.of(capture.face)
    assert box is not None  # noqa: S101 - there is a face
    grid = _MIDDLE * ((np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5)
    height, width = capture.depth.shape
    columns = np.clip((box.x + box.width * (0.5 + grid)).astype(np.intp), 0, width - 1)
    rows = np.clip((box.y + box.height * (0.5 + grid)).astype(np.intp), 0, height - 1)
    samples = capture.depth[rows[:, None], columns]
    known = samples[samples > 0]
    if known.size < samples.size // 2:
        return None
    return math.sqrt(own.width * own.height) * float(np.sort(known)[known.size // 2])

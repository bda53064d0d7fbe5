"""Alignment of a face by its landmarks, as InsightFace crops faces for recognition.

The similarity transform (turn, scale, shift) that moves the landmarks nearest to given positions
in least squares (Umeyama, "Least-squares estimation of transformation parameters between two point
patterns", IEEE TPAMI 13, 1991), then OpenCV's warpAffine, bilinear in fixed point. In the plane the
transform has a closed form, computed here with one rounding an operation, so that every machine
gives the same bits.

OpenCV up to 4.10 interpolates at 32nds of a pixel, which is what networks were trained on and what
this does to the bit. Since 4.11 it interpolates where the point lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.errors import PreprocessError
from fasdk.preprocess.borders import OUTSIDE, border_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fasdk.preprocess.spec import Border, Point

Matrix = tuple[float, float, float, float, float, float]

# Correlation of landmarks and positions. Faces in profile have 0.78, the average face with left and
# right exchanged 0.23.
LEAST_CORRELATION = 0.5

FARTHEST_PX = 1 << 19  # from the frame's corner; OpenCV's fixed point holds no more
LONGEST_SIDE_PX = 32767  # of a frame; OpenCV's coordinates are 16-bit


@dataclass(frozen=True)
class Alignment:
    """Where an aligned face lies in its frame.

    Attributes:
        to_frame: (a, b, c, d, e, f): pixel (x, y) of the aligned image shows what lies at
            (a x + b y + c, d x + e y + f) in the frame.
    """

    to_frame: Matrix


def similarity(points: Sequence[Point], positions: Sequence[Point]) -> Matrix:
    """Return the similarity transform from points to positions, in least squares.

    Args:
        points: Landmarks, (x, y) in pixels.
        positions: As many positions, (x, y) in pixels, two or more of them different.

    Returns:
        (a, b, c, d, e, f): (x, y) moves to (a x + b y + c, d x + e y + f).

    Raises:
        PreprocessError: All points are one, or they do not resemble the positions.
    """
    count = len(points)
    from_x, from_y = (sum(p[axis] for p in points) / count for axis in (0, 1))
    to_x, to_y = (sum(p[axis] for p in positions) / count for axis in (0, 1))
    along = turned = spread = size = 0.0
    for (x, y), (u, v) in zip(points, positions, strict=True):
        dx, dy, du, dv = x - from_x, y - from_y, u - to_x, v - to_y
        along += dx * du + dy * dv
        turned += dx * dv - dy * du
        spread += dx * dx + dy * dy
        size += du * du + dv * dv
    if not spread > 0.0 or not math.hypot(along, turned) > LEAST_CORRELATION * math.sqrt(
        spread * size
    ):
        shown = ", ".join(f"({x:.1f}, {y:.1f})" for x, y in points)
        raise PreprocessError(
            f"the landmarks {shown} do not lie as a face's do: give the person's right eye, left "
            "eye, nose tip, right and left corner of the mouth, in pixels of the frame"
        )
    a, b = along / spread, turned / spread
    return a, -b, to_x - (a * from_x - b * from_y), b, a, to_y - (b * from_x + a * from_y)


def inverse_of(matrix: Matrix) -> Matrix:
    """Return the inverse of an affine transform, rounded as OpenCV's warpAffine rounds it."""
    a, b, c, d, e, f = matrix
    determinant = a * e - b * d
    by = 1.0 / determinant
    a_inverse, b_inverse, d_inverse, e_inverse = e * by, b * -by, d * -by, a * by
    return (
        a_inverse,
        b_inverse,
        -a_inverse * c - b_inverse * f,
        d_inverse,
        e_inverse,
        -d_inverse * c - e_inverse * f,
    )


def alignment_of(
    frame_size: tuple[int, int],
    landmarks: NDArray[np.floating],
    positions: Sequence[Point | None],
    size: tuple[int, int],
) -> Alignment:
    """Return where an aligned face lies in its frame.

    Args:
        frame_size: (width, height) of the frame in pixels.
        landmarks: Float [5, 2], (x, y) in pixels, in the order of `Capture.landmarks`.
        positions: Where they shall lie in the aligned image; None for one that is not used.
        size: (width, height) of the aligned image in pixels.

    Raises:
        PreprocessError: The landmarks do not resemble a face, the frame has a side above 32767
            pixels, or the image would reach farther from it than 2^19 pixels.
    """
    if max(frame_size) > LONGEST_SIDE_PX:
        raise PreprocessError(
            f"the frame is {frame_size[0]}x{frame_size[1]} pixels, faces are aligned in frames of "
            f"at most {LONGEST_SIDE_PX} a side: give a smaller one"
        )
    used = [place for place, position in enumerate(positions) if position is not None]
    points = [(float(landmarks[place, 0]), float(landmarks[place, 1])) for place in used]
    to_frame = inverse_of(similarity(points, [p for p in positions if p is not None]))
    for axis in (0, 3):
        across = abs(to_frame[axis]) * size[0]
        down = abs(to_frame[axis + 1]) * size[1] + abs(to_frame[axis + 2])
        if not max(across, down) < FARTHEST_PX:
            raise PreprocessError(
                f"landmarks {points} put the aligned face over {FARTHEST_PX} pixels from the "
                "frame: give them in pixels of the frame"
            )
    return Alignment(to_frame)


def aligned(
    image: NDArray[np.uint8],
    alignment: Alignment,
    size: tuple[int, int],
    border: Border,
    level: int,
) -> NDArray[np.uint8]:
    """Return the aligned face, as `cv2.warpAffine` with INTER_LINEAR in fixed point makes it.

    Args:
        image: uint8 [H, W] or [H, W, C].
        alignment: Where the face lies in the image.
        size: (width, height) of the result in pixels.
        border: Pixels outside the image.
        level: Level of a constant border.

    Returns:
        uint8 [height, width] or [height, width, C].
    """
    column, across = _in_32nds(alignment.to_frame[:3], size)
    row, down = _in_32nds(alignment.to_frame[3:], size)
    pixels = image.reshape(*image.shape[:2], -1)
    total: NDArray[Any] = np.zeros((*row.shape, pixels.shape[2]), np.int64)
    for below, weight_down in ((0, 32 - down), (1, down)):
        rows = border_index(row + below, image.shape[0], border)
        for right, weight_across in ((0, 32 - across), (1, across)):
            columns = border_index(column + right, image.shape[1], border)
            seen = pixels[rows, columns].astype(np.int64)
            seen[(rows == OUTSIDE) | (columns == OUTSIDE)] = level
            total += seen * (weight_down * weight_across)[..., None]
    levels = ((total + 512) >> 10).astype(np.uint8)
    return levels.reshape(size[1], size[0], *image.shape[2:])


def _in_32nds(
    row: tuple[float, ...], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return whole pixels and 32nds of one coordinate, each int64 [height, width].

    OpenCV rounds the start of a line and the way along it to 1024ths of a pixel, each alone.
    """
    a, b, c = row
    start = np.rint((b * np.arange(size[1]) + c) * 1024.0).astype(np.int64)
    along = np.rint(a * np.arange(size[0]) * 1024.0).astype(np.int64)
    place = (start[:, None] + along[None, :] + 16) >> 5
    return np.clip(place >> 5, -32768, 32767), place & 31

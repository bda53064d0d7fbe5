"""Head pose from five facial landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Both eyes, nose tip and both corners of the mouth of an average adult head in millimeters: the
# iris centers and vertices 1, 61 and 291 of MediaPipe's canonical face model
# (face_model_with_iris.obj, there in centimeters). x points to the image's right, y down, z away
# from the camera; the order is `Capture.landmarks`'.
FACE_MODEL_MM = np.array(
    [
        [-31.8175, -26.3579, -38.2634],
        [31.8175, -26.3579, -38.2634],
        [0.0, 11.2687, -74.7560],
        [-24.5621, 43.4262, -42.8388],
        [24.5621, 43.4262, -42.8388],
    ]
)
_FIT = np.linalg.pinv(FACE_MODEL_MM - FACE_MODEL_MM.mean(axis=0))  # [3, 5]


@dataclass(frozen=True)
class HeadAngles:
    """Head angles relative to looking straight into the camera, in degrees.

    Attributes:
        yaw: Turn to the side, positive towards the image's right.
        pitch: Nod, positive downwards.
        roll: Tilt towards a shoulder, positive clockwise in the image.
    """

    yaw: float
    pitch: float
    roll: float


def head_angles(landmarks: NDArray[np.floating]) -> HeadAngles:
    """Return the angles of an average head that fits five landmarks best.

    The head is fitted in one linear step under scaled orthographic projection, the first of
    DeMenthon and Davis, "Model-based object pose in 25 lines of code", IJCV 1995; the two rows are
    then made orthonormal. Faces differ from the average, and half a meter is not far away: expect
    some seven degrees of error from perspective at 25 degrees, about five more in pitch, which
    depends on how high the nose tip sits, and the scatter of the landmarks themselves.

    Args:
        landmarks: Float [5, 2], (x, y) in pixels, in the order of `Capture.landmarks`.

    Returns:
        The angles; all NaN where the points span no face, such as five equal points.
    """
    # The fit's rows add up to 0, so the position of the face does not matter.
    rows = (_FIT @ np.asarray(landmarks, np.float64)).T  # [2, 3], scale times rotation
    (xx, xy), (_, yy) = (rows @ rows.T).tolist()
    area = math.sqrt(max(xx * yy - xy * xy, 0.0))
    if not area > 1e-6 * (xx + yy):
        return HeadAngles(math.nan, math.nan, math.nan)
    # The inverse square root of a symmetric 2x2 matrix makes its rows orthonormal.
    upright = np.array([[yy + area, -xy], [-xy, xx + area]])
    across, down = (upright @ rows / (area * math.sqrt(xx + yy + 2.0 * area))).tolist()
    away_x = across[1] * down[2] - across[2] * down[1]
    away_y = across[2] * down[0] - across[0] * down[2]
    away_z = across[0] * down[1] - across[1] * down[0]
    # The rotation is roll after yaw after pitch, so each angle follows from these entries.
    return HeadAngles(
        yaw=math.degrees(math.asin(min(max(away_x, -1.0), 1.0))),
        pitch=math.degrees(math.atan2(away_y, away_z)),
        roll=math.degrees(math.atan2(down[0], across[0])),
    )

"""Sensor projection and pose relative to the RGB camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fasdk.errors import RigError
from fasdk.registration.distortion import distorted

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST = 1e9  # of a number in a rig; its third power is finite
_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)]
_Focal = Annotated[float, Field(allow_inf_nan=False, ge=1e-3, le=_LARGEST)]
_Extent = Annotated[int, Field(ge=1, le=2**16)]
_Row = tuple[_Finite, _Finite, _Finite]
_Matrix = tuple[_Row, _Row, _Row]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lens(_Record):
    """A pinhole camera with OpenCV's distortion, as `cv2.calibrateCamera` finds it.

    Attributes:
        width_px: Width of the frames it was calibrated on; no other mode of the camera will do.
        height_px: Height of the frames it was calibrated on.
        focal_x_px: Focal length in pixels across.
        focal_y_px: Focal length in pixels down.
        center_x_px: Principal point; 0 is the middle of the leftmost pixel, as in OpenCV.
        center_y_px: Principal point; 0 is the middle of the topmost pixel.
        distortion: OpenCV's k1, k2, p1, p2[, k3[, k4, k5, k6[, s1, s2, s3, s4[, τx, τy]]]]; none
            for frames already undistorted.
    """

    width_px: _Extent
    height_px: _Extent
    focal_x_px: _Focal
    focal_y_px: _Focal
    center_x_px: _Finite
    center_y_px: _Finite
    distortion: tuple[_Finite, ...] = ()

    @model_validator(mode="after")
    def _known_distortion(self) -> Lens:
        if len(self.distortion) not in (0, 4, 5, 8, 12, 14):
            raise ValueError(
                f"distortion has {len(self.distortion)} numbers, OpenCV's models have "
                "4, 5, 8, 12 or 14"
            )
        return self

    def project(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels [N, 2] of points [N, 3] before this camera, in millimeters."""
        with np.errstate(all="ignore"):  # points in its own plane have no picture
            x, y = (points_mm[:, :2] / points_mm[:, 2:]).T
            if self.distortion:
                x, y = distorted(x, y, self.distortion)
            across = self.focal_x_px * x + self.center_x_px
            down = self.focal_y_px * y + self.center_y_px
        return np.column_stack([across, down])

    def rays(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return [N, 3], the points one millimeter deep that are seen at pixels [N, 2].

        Raises:
            RigError: The distortion has no inverse at a pixel: the calibration is none.
        """
        focal = np.array([self.focal_x_px, self.focal_y_px])
        flat = (pixels - (self.center_x_px, self.center_y_px)) / focal
        # Fixed point, as cv2.undistortPoints; that one's accuracy differs between releases.
        for _ in range(100):
            rays = np.column_stack([flat, np.ones(len(flat))])
            if not self.distortion:
                return rays
            miss = pixels - self.project(rays)
            if not np.isfinite(miss).all():
                break
            if float(np.abs(miss).max()) < 1e-4:
                return rays
            flat = flat + miss / focal
        raise RigError(
            f"distortion {self.distortion} cannot be undone at the face's pixels: calibrate the "
            f"{self.width_px}x{self.height_px} camera again"
        )


class Pinhole(_Record):
    """A sensor whose lens and place are known; the mapping follows the face's distance.

    Attributes:
        kind: Discriminator of the file format; a homography has another.
        lens: Lens of the sensor.
        rotation: Rotation from the RGB camera's axes (x right, y down, z ahead) to this one's, rows
            of the 3x3 matrix, as `cv2.stereoCalibrate` finds it with RGB as the first camera.
        translation_mm: Position of the RGB camera's origin in this camera's axes, in millimeters.
    """

    kind: Literal["pinhole"] = "pinhole"
    lens: Lens
    rotation: _Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    translation_mm: _Row = (0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _rigid(self) -> Pinhole:
        matrix = np.array(self.rotation)
        off = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
        if off > 1e-3 or float(np.linalg.det(matrix)) < 0.0:
            raise ValueError(
                f"rotation is none: its rows are off orthonormal by {off:.2g}, or it mirrors"
            )
        return self

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of its frames."""
        return self.lens.width_px, self.lens.height_px


class Homography(_Record):
    """A sensor whose picture is the RGB camera's under one plane projective map.

    It is exact for a flat scene, or for two cameras in one place; elsewhere it holds at the
    distance it was made for.

    Attributes:
        kind: Discriminator of the file format; a pinhole camera has another.
        width_px: Width of this sensor's frames.
        height_px: Height of this sensor's frames.
        rgb_width_px: Width of the RGB frames it was made for.
        rgb_height_px: Height of the RGB frames it was made for.
        from_rgb: 3x3; takes (x, y, 1) in RGB pixels to this sensor's, as `cv2.findHomography` finds
            it. 0 is the middle of the first pixel.
    """

    kind: Literal["homography"] = "homography"
    width_px: _Extent
    height_px: _Extent
    rgb_width_px: _Extent
    rgb_height_px: _Extent
    from_rgb: _Matrix

    @model_validator(mode="after")
    def _invertible(self) -> Homography:
        # Scaled first: the cube of a large number overflows.
        matrix = np.array(self.from_rgb)
        largest = float(np.abs(matrix).max())
        scaled = matrix / largest if largest > 0.0 else matrix
        if not abs(float(np.linalg.det(scaled))) > 1e-12:
            raise ValueError("from_rgb has no inverse, so it maps no picture onto another")
        return self

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of its frames."""
        return self.width_px, self.height_px

    @property
    def rgb_size_px(self) -> tuple[int, int]:
        """Width and height of the RGB frames it was made for."""
        return self.rgb_width_px, self.rgb_height_px

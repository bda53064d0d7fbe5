"""Rig from a RealSense camera's factory calibration, from color to depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.capture import Modality
from fasdk.errors import RigError
from fasdk.registration import Rig
from fasdk.registration.optics import Lens, Pinhole

if TYPE_CHECKING:
    from collections.abc import Mapping


def rig_of(rs: Any, profiles: Mapping[Modality, Any]) -> Rig | None:
    """Return how the streams lie to color, or None without color: the others share one view.

    Args:
        rs: The pyrealsense2 module.
        profiles: The video stream profiles that are open.

    Raises:
        RigError: A stream has a distortion OpenCV cannot express, or no place is stored for it.
    """
    if Modality.RGB not in profiles:
        return None
    color = profiles[Modality.RGB]
    sensors = {
        modality: _pinhole(rs, color, profile, modality)
        for modality, profile in profiles.items()
        if modality is not Modality.RGB
    }
    return Rig(
        rgb=_lens(rs, color, Modality.RGB),
        depth=sensors.get(Modality.DEPTH),
        ir=sensors.get(Modality.IR),
    )


def _pinhole(rs: Any, color: Any, profile: Any, modality: Modality) -> Pinhole:
    try:
        place = color.get_extrinsics_to(profile)
    except RuntimeError as error:
        raise RigError(
            f"the camera does not know where {modality.value} lies to color ({error}): give a "
            "rig file"
        ) from error
    # librealsense stores the matrix column by column, and meters.
    rotation = np.array(place.rotation, np.float64).reshape(3, 3).T.tolist()
    translation_mm = [1000.0 * float(meters) for meters in place.translation]
    return Pinhole.model_validate(
        {
            "lens": _lens(rs, profile, modality),
            "rotation": rotation,
            "translation_mm": translation_mm,
        }
    )


def _lens(rs: Any, profile: Any, modality: Modality) -> Lens:
    found = profile.get_intrinsics()
    distortion: tuple[float, ...] = ()
    if any(found.coeffs):
        # The others bend the way back, or bend otherwise; with zeros all are straight.
        if found.model != rs.distortion.brown_conrady:
            raise RigError(
                f"the {modality.value} stream is distorted by {found.model}, which OpenCV cannot "
                "express: calibrate the camera and give a rig file"
            )
        distortion = tuple(float(value) for value in found.coeffs)
    return Lens(
        width_px=found.width,
        height_px=found.height,
        focal_x_px=found.fx,
        focal_y_px=found.fy,
        center_x_px=found.ppx,
        center_y_px=found.ppy,
        distortion=distortion,
    )

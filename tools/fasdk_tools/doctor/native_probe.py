"""Answers about preprocessing, in the child process: the native pass against NumPy."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

_SIDE = 48
_WIDTH, _HEIGHT = 160, 120


def native() -> dict[str, Any]:
    """Return whether the native module is there and loads, and where its bits differ from NumPy's.

    Returns:
        `built`, `error` where it does not load, `file`, and by modality the share of values that
        differ, in [0, 1].
    """
    if find_spec("fasdk._native") is None:
        return {"built": False}
    try:
        module = import_module("fasdk._native")
    except (ImportError, OSError) as error:
        return {"built": True, "error": f"{' '.join(str(error).split())[:300]}"}
    return {"built": True, "file": str(module.__file__), "differ": differences()}


def differences() -> dict[str, float]:
    """Return the share of values that the native pass and NumPy make differently, by modality."""
    import numpy as np

    from fasdk.capture import FaceBox, Modality
    from fasdk.preprocess import (
        CropRule,
        DepthEncoding,
        DepthPolarity,
        Implementation,
        Interpolation,
        PreprocessSpec,
        to_tensor,
    )

    rng = np.random.default_rng(1)
    spec = PreprocessSpec(
        width=_SIDE, height=_SIDE, crop=CropRule.FACE, mean=(127.5,) * 3, std=(64.25,) * 3
    )
    area = spec.model_copy(update={"interpolation": Interpolation.AREA})
    depth = DepthEncoding(near_mm=250, far_mm=1500, polarity=DepthPolarity.NEAR_BRIGHT)
    frames = {
        Modality.RGB: (rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8), spec),
        Modality.DEPTH: (
            rng.integers(0, 2000, (_HEIGHT, _WIDTH), np.uint16),
            spec.model_copy(update={"depth": depth}),
        ),
        Modality.IR: (rng.integers(0, 256, (_HEIGHT, _WIDTH), np.uint8), area),
    }
    face = FaceBox(37, 21, 71, 83)
    found = {}
    for modality, (frame, rules) in frames.items():
        made = [
            to_tensor(frame, face, rules, using=using)
            for using in (Implementation.NATIVE, Implementation.NUMPY)
        ]
        differ = made[0].view(np.uint32) != made[1].view(np.uint32)
        found[modality.value] = float(differ.mean())
    return found

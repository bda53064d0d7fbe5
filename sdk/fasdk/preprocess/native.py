"""Choice between the native pixel code, where it was built, and NumPy."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk.preprocess.spec import ChannelOrder, CropBounds

if TYPE_CHECKING:
    from types import ModuleType

    from fasdk.preprocess.spec import PreprocessSpec


class Implementation(str, Enum):
    """Implementation of preprocessing; both give the same bits."""

    NATIVE = "native"
    NUMPY = "numpy"


@cache
def native_module() -> ModuleType | None:
    """Return `fasdk._native`, or None where no compiler built it."""
    try:
        from fasdk import _native as module
    except ImportError:
        return None
    return module


def implementation() -> Implementation:
    """Return what is used here: the native pass wherever it was built."""
    return Implementation.NUMPY if native_module() is None else Implementation.NATIVE


def native_rules(spec: PreprocessSpec) -> dict[str, Any]:
    """Return the rules of a spec as `_native.Pass` and `_native.RowPacker` take them by name."""
    mean, std = np.array([spec.mean, spec.std], np.float32).tolist()
    return {
        "mean": tuple(mean),
        "std": tuple(std),
        "swap": spec.channel_order is ChannelOrder.BGR,
        "interpolation": spec.interpolation.value,
        "pad": spec.crop_bounds is CropBounds.PAD,
        "border": spec.border.value,
        "border_level": spec.border_level,
        "fit": spec.fit.value,
    }

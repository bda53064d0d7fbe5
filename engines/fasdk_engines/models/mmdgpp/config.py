"""Settings of MMDG++."""

from __future__ import annotations

from itertools import permutations

from pydantic import Field

from fasdk.capture import Modality
from fasdk_engines.models.face_crops import FaceCropConfig

MODALITIES = (Modality.RGB, Modality.DEPTH, Modality.IR)
# (receives, asked) by modality index: every modality asks both others.
DIRECTIONS = tuple(permutations(range(len(MODALITIES)), 2))


class MmdgppConfig(FaceCropConfig):
    """Settings of MMDG++; the defaults are the published ones.

    `normalization` is not published: "symmetric" is the benchmark's, "clip" the tower's own.

    Attributes:
        feature_width: Width of one modality's feature.
        adapter_dim: Width inside an adapter; a multiple of `adapter_heads`.
        adapter_heads: Heads of an adapter's cross-attention.
        adapter_theta: Share of the central difference in an adapter's convolution.
        exp_rate: Factor on a token's variance: its certainty is exp(-exp_rate * variance).
    """

    multiples = (("adapter_dim", "adapter_heads"),)

    feature_width: int = Field(default=512, ge=2, le=4096)
    adapter_dim: int = Field(default=8, ge=2, le=256)
    adapter_heads: int = Field(default=8, ge=1, le=64)
    adapter_theta: float = Field(default=0.5, ge=0.0, le=1.0)
    exp_rate: float = Field(default=2.5, gt=0.0, le=100.0)

"""Settings of BIG-MoE."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from fasdk.capture import Modality
from fasdk_engines.models.face_crops import FaceCropConfig

MODALITIES = (Modality.RGB, Modality.IR, Modality.DEPTH)


class BigMoeConfig(FaceCropConfig):
    """Settings of BIG-MoE; the defaults are the published ones.

    Attributes:
        mlp_width: Hidden width of each block's perceptron.
        adapter_dim: Width of one modality inside an adapter.
        adapter_theta: Share of the central difference in every convolution.
        adapter_dropout: Dropout inside an adapter, in training only.
        prompt_width: Channels of the visual prompt.
        experts: Experts of one adapter; a square number.
        expert_heads: Independent picks of experts.
        experts_per_head: Experts picked by each; at most the root of `experts`.
        modality_dropout: Probability, in training, that a modality of a capture is blanked.
    """

    mlp_width: int = Field(default=3072, ge=8, le=16384)
    adapter_dim: int = Field(default=8, ge=1, le=256)
    adapter_theta: float = Field(default=0.7, ge=0.0, le=1.0)
    adapter_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    prompt_width: int = Field(default=64, ge=1, le=1024)
    experts: int = Field(default=1600, ge=4, le=2**24)
    expert_heads: int = Field(default=2, ge=1, le=16)
    experts_per_head: int = Field(default=2, ge=1, le=16)
    modality_dropout: float = Field(default=0.3, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _fits(self) -> BigMoeConfig:
        if self.keys**2 != self.experts:
            raise ValueError(f"experts {self.experts} is not a square number")
        if self.experts_per_head > self.keys:
            raise ValueError(
                f"experts_per_head {self.experts_per_head} is more than the {self.keys} keys of "
                f"{self.experts} experts"
            )
        return self

    @property
    def tokens(self) -> int:
        """The class token and every modality's patches."""
        return len(MODALITIES) * self.grid**2 + 1

    @property
    def keys(self) -> int:
        """Keys in each half of an expert's product key."""
        return math.isqrt(self.experts)

    @property
    def content_width(self) -> int:
        """Channels an expert sees: all modalities of one place."""
        return len(MODALITIES) * self.adapter_dim

    @property
    def gate_width(self) -> int:
        """Channels the choice of experts sees: the place's, and the prompt's."""
        return 2 * self.adapter_dim

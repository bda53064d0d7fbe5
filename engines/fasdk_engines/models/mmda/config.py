"""Settings of MMDA and constants of its published code."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from fasdk.capture import Modality
from fasdk_engines.models.face_crops import FaceCropConfig

if TYPE_CHECKING:
    from typing_extensions import Self

MODALITIES = (Modality.RGB, Modality.DEPTH, Modality.IR)
LAMBDA_INIT = 0.8 - 0.6 * math.exp(-0.3 * 12)  # that of a 12th layer, whatever the depth
LEAST_THRESHOLD = 1e-9


class Routing(str, Enum):
    """Use of a token's second expert in evaluation; its renormalized gate is g2.

    The published one uses it with probability min(1, g2 / threshold), then with weight g2.
    """

    EXPECTED = "expected"  # weight g2 * min(1, g2 / threshold)
    SECOND_ALWAYS = "second-always"  # weight g2
    ABOVE_THRESHOLD = "above-threshold"  # weight g2 where g2 reaches the threshold, else 0


class MmdaConfig(FaceCropConfig):
    """Settings of MMDA; the defaults are the published ones.

    Attributes:
        feature_width: Width of an image's feature and of everything behind it.
        attention_heads: Heads of the fusion and of the alignment; divides `feature_width`.
        experts: Perceptron experts of each mixture.
        constant_experts: Experts that are a learnt vector.
        expert_hidden: Hidden width of a perceptron expert.
        align_depth: Alignment stages each way in training; one each way is deployed.
        attention_dropout: Dropout of the fusion's attention, in training only.
        routing: Use of the second expert in evaluation.
        threshold: Gate from which on the second expert is always used, for a model not yet
            trained; a checkpoint brings its own, which counts.
    """

    multiples = (("feature_width", "attention_heads"),)

    feature_width: int = Field(default=512, ge=8, le=4096)
    attention_heads: int = Field(default=16, ge=1, le=64)
    experts: int = Field(default=4, ge=1, le=64)
    constant_experts: int = Field(default=3, ge=1, le=64)
    expert_hidden: int = Field(default=1365, ge=1, le=16384)
    align_depth: int = Field(default=7, ge=1, le=64)
    attention_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    routing: Routing = Routing.EXPECTED
    threshold: float = Field(default=0.2, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _absent_is_one_value(self) -> Self:
        _ = self.absent
        return self

    @property
    def absent(self) -> float:
        """Value of an absent modality's tensor: a black image's, where none is stated."""
        return self.black if self.missing_value is None else self.missing_value

"""Settings of MMDG."""

from __future__ import annotations

from pydantic import Field

from fasdk.capture import Modality
from fasdk_engines.models.face_crops import FaceCropConfig
from fasdk_engines.models.mmdg.expectation import ExponentialSum, dropout_certainty

MODALITIES = (Modality.RGB, Modality.DEPTH, Modality.IR)
# (receives, asked) by modality index, in the order a block's adapters are listed and stacked.
DIRECTIONS = ((0, 1), (0, 2), (1, 0), (2, 0))


class MmdgConfig(FaceCropConfig):
    """Settings of MMDG; the defaults are the published ones.

    Attributes:
        mlp_width: Hidden width of each block's perceptron.
        adapter_dim: Width inside an adapter; a multiple of `adapter_heads`.
        adapter_heads: Heads of an adapter's cross-attention.
        adapter_theta: Share of the central difference in an adapter's convolution.
        adapter_dropout: Dropout before an adapter's last layer, in training only.
        dropout_ratio: Probability of the Monte-Carlo dropout whose expectation is taken.
        exp_rate: Factor on that dropout's standard deviation.
        num_sample: Draws of that dropout.
    """

    multiples = (("adapter_dim", "adapter_heads"),)

    mlp_width: int = Field(default=3072, ge=8, le=16384)
    adapter_dim: int = Field(default=8, ge=1, le=256)
    adapter_heads: int = Field(default=8, ge=1, le=64)
    adapter_theta: float = Field(default=0.5, ge=0.0, le=1.0)
    adapter_dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    dropout_ratio: float = Field(default=0.3, ge=0.0, lt=1.0)
    exp_rate: float = Field(default=2.25, gt=0.0, le=100.0)
    num_sample: int = Field(default=20, ge=2, le=1000)

    @property
    def certainty(self) -> ExponentialSum:
        """The exact expected certainty of one activation."""
        return dropout_certainty(self.dropout_ratio, self.num_sample, self.exp_rate)

"""Settings of MiniFASNetV2 and MiniFASNetV1SE."""

from __future__ import annotations

from dataclasses import dataclass

from fasdk_engines.models.base import ModelConfig

INPUT_SIZE = 80  # pixels along a side


class MiniFasNetConfig(ModelConfig):
    """Nothing to set: the channels are what pruning left, and the weights fit no others."""


@dataclass(frozen=True)
class StageConfig:
    """One resolution of the network.

    Attributes:
        reduce: Channels inside the unit of stride 2 that opens the stage.
        units: Channels inside each residual unit that follows.
        out: Channels of the stage's output.
    """

    reduce: int
    units: tuple[int, ...]
    out: int


Stages = tuple[StageConfig, StageConfig, StageConfig]

# What pruning left (src/model_lib/MiniFASNet.py, `1.8M_` and `1.8M`).
V2_STAGES: Stages = (
    StageConfig(103, (13, 13, 13, 13), 64),
    StageConfig(231, (231, 52, 26, 77, 26, 26), 128),
    StageConfig(308, (26, 26), 128),
)
V1SE_STAGES: Stages = (
    StageConfig(103, (13, 26, 13, 52), 64),
    StageConfig(231, (154, 52, 26, 52, 26, 26), 128),
    StageConfig(308, (26, 26), 128),
)

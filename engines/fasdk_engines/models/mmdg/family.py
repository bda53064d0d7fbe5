"""MMDG's entry in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.face_crops import face_crops
from fasdk_engines.models.layers import TORCHVISION_OLDER_NAMES
from fasdk_engines.models.mmdg.config import MODALITIES, MmdgConfig
from fasdk_engines.models.mmdg.published import Mmdg


def _preprocess(config: MmdgConfig) -> dict[Modality, PreprocessSpec]:
    """Return how captures become tensors; an absent modality is 0, as Flex-Modal evaluates it."""
    return face_crops(config, MODALITIES, missing_value=0.0)


FAMILIES = (
    Family(
        name="mmdg",
        published_in="Lin et al., Suppress and Rebalance, CVPR 2024",
        modalities=MODALITIES,
        labels=("attack", "live"),
        live_index=1,
        has_certainty=True,
        config_type=MmdgConfig,
        configs={
            "full": MmdgConfig(),
            # Trains to something useful on two cores in a minute or two.
            "tiny": MmdgConfig(
                image_size=64,
                patch_size=16,
                width=64,
                depth=2,
                heads=4,
                mlp_width=128,
                depth_far_mm=900,
            ),
        },
        build=Mmdg,
        preprocess=_preprocess,
        older_names=TORCHVISION_OLDER_NAMES,
    ),
)

"""BIG-MoE's entry in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.bigmoe.config import MODALITIES, BigMoeConfig
from fasdk_engines.models.bigmoe.published import BigMoe
from fasdk_engines.models.face_crops import face_crops
from fasdk_engines.models.layers import TORCHVISION_OLDER_NAMES


def _preprocess(config: BigMoeConfig) -> dict[Modality, PreprocessSpec]:
    """Return how captures become tensors: as the same authors' loader for MMDA makes them.

    BIG-MoE's own is not published. An absent modality is 0, as the published training blanks it.
    """
    return face_crops(config, MODALITIES, missing_value=0.0)


FAMILIES = (
    Family(
        name="bigmoe",
        published_in="BIG-MoE: Bypass Isolated Gating MoE, ICASSP 2025",
        modalities=MODALITIES,
        labels=("attack", "live"),
        live_index=1,
        has_certainty=False,
        config_type=BigMoeConfig,
        configs={
            "full": BigMoeConfig(),
            # The fewest blocks in which a prompt is updated and then read.
            "tiny": BigMoeConfig(
                image_size=64,
                patch_size=16,
                width=64,
                depth=3,
                heads=4,
                mlp_width=128,
                prompt_width=16,
                experts=64,
                depth_far_mm=900,
            ),
        },
        build=BigMoe,
        preprocess=_preprocess,
        older_names=TORCHVISION_OLDER_NAMES,
        # Rounding the gate would pick other experts; squares of small values would vanish.
        float32_islands=(r"/gating/", r"/unit/"),
    ),
)

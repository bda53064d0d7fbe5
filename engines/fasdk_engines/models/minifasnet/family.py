"""MiniFASNetV2's and MiniFASNetV1SE's entries in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import ChannelOrder, CropRule, PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.minifasnet.config import (
    INPUT_SIZE,
    V1SE_STAGES,
    V2_STAGES,
    MiniFasNetConfig,
    Stages,
)
from fasdk_engines.models.minifasnet.published import MiniFasNet


def _preprocess(crop_scale: float) -> dict[Modality, PreprocessSpec]:
    """Return how the published loader makes its tensor: BGR, 0 to 255, not scaled."""
    return {
        Modality.RGB: PreprocessSpec(
            width=INPUT_SIZE,
            height=INPUT_SIZE,
            crop=CropRule.FACE,
            crop_scale=crop_scale,
            channel_order=ChannelOrder.BGR,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
    }


def _family(name: str, stages: Stages, *, squeeze: bool, crop: float) -> Family:
    return Family(
        name=name,
        published_in="Minivision, Silent-Face-Anti-Spoofing, 2020",
        modalities=(Modality.RGB,),
        required=(Modality.RGB,),
        # The project names only class 1; it does not name the kinds of attack of the others.
        labels=("attack-0", "live", "attack-2"),
        live_index=1,
        has_reliability=False,
        config_type=MiniFasNetConfig,
        configs={"published": MiniFasNetConfig()},
        build=lambda _config: MiniFasNet(stages, squeeze=squeeze),
        preprocess=lambda _config: _preprocess(crop),
    )


FAMILIES = (
    _family("minifasnet-v2", V2_STAGES, squeeze=False, crop=2.7),
    _family("minifasnet-v1se", V1SE_STAGES, squeeze=True, crop=4.0),
)

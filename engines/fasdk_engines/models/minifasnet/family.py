"""MiniFASNetV2's and MiniFASNetV1SE's entries in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.minifasnet.config import (
    V1SE_STAGES,
    V2_STAGES,
    MiniFasNetConfig,
    MiniFasNetV1SeConfig,
    MiniFasNetV2Config,
    Stages,
    settings_of,
)
from fasdk_engines.models.minifasnet.published import MiniFasNet


def _preprocess(config: MiniFasNetConfig) -> dict[Modality, PreprocessSpec]:
    """Return how the tensor is made; the published loader gives BGR, 0 to 255, not scaled."""
    mean, std = config.plane_statistics
    return {
        Modality.RGB: PreprocessSpec(
            width=config.image_size,
            height=config.image_size,
            channel_order=config.channel_order,
            mean=mean,
            std=std,
            missing_value=config.missing_value or 0.0,
            **config.crop_settings,
        )
    }


def _family(name: str, stages: Stages, settings: type[MiniFasNetConfig]) -> Family:
    published = settings()
    return Family(
        name=name,
        published_in="Minivision, Silent-Face-Anti-Spoofing, 2020",
        modalities=(Modality.RGB,),
        required=(Modality.RGB,),
        labels=published.labels,
        live_index=published.live,
        has_certainty=False,
        config_type=settings,
        configs={"published": published},
        build=lambda config: MiniFasNet(stages, config),
        preprocess=_preprocess,
        # The generator of Fourier spectra that the training has beside the network.
        research_only=(r"FTGenerator\..+",),
        classes=lambda config: (config.labels, config.live),
        settings_of=settings_of,
    )


FAMILIES = (
    _family("minifasnet-v2", V2_STAGES, MiniFasNetV2Config),
    _family("minifasnet-v1se", V1SE_STAGES, MiniFasNetV1SeConfig),
)

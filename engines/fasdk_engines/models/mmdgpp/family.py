"""MMDG++'s entry in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.face_crops import Channels, face_crops
from fasdk_engines.models.mmdgpp.config import MODALITIES, MmdgppConfig, Normalization
from fasdk_engines.models.mmdgpp.published import Mmdgpp

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def _preprocess(config: MmdgppConfig) -> dict[Modality, PreprocessSpec]:
    """Return how captures become tensors; no loader of MMDG++ is published.

    An absent modality's value is never read.
    """
    if config.normalization is Normalization.SYMMETRIC:
        return face_crops(config, MODALITIES, missing_value=0.0)
    return face_crops(
        config, MODALITIES, missing_value=0.0, mean=_levels(_CLIP_MEAN), std=_levels(_CLIP_STD)
    )


def _levels(shares: Channels) -> Channels:
    """Return shares of full scale in 8-bit levels."""
    red, green, blue = (255.0 * share for share in shares)
    return red, green, blue


FAMILIES = (
    Family(
        name="mmdgpp",
        published_in="Lin et al., MMDG++, IEEE TPAMI 47(9), 2025",
        modalities=MODALITIES,
        labels=("attack", "live"),
        live_index=1,
        has_reliability=True,
        config_type=MmdgppConfig,
        configs={
            "full": MmdgppConfig(),
            "tiny": MmdgppConfig(
                image_size=64,
                patch_size=16,
                width=64,
                depth=2,
                heads=4,
                feature_width=32,
                depth_far_mm=900,
            ),
        },
        build=Mmdgpp,
        preprocess=_preprocess,
        research_only=(
            # The text tower and its learned prompts: training compares features with their output.
            r"model\.transformer\..+",
            r"model\.(token_embedding\.weight|positional_embedding|text_projection|logit_scale)",
            r"model\.ln_final\.(weight|bias)",
            r"prompts_[123]",
            # CLIP's own, of which every modality has its copy, and a second name of a class token.
            r"model\.visual\.(positional_embedding|proj)",
            r"class_token_1",
        ),
        takes_presence=True,
        # Which modality is surer decides, and the exponential of a log variance may exceed 65504.
        float32_islands=(r"/judgment/",),
    ),
)

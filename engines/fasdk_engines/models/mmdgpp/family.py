"""MMDG++'s entry in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.face_crops import face_crops
from fasdk_engines.models.mmdgpp.config import MODALITIES, MmdgppConfig
from fasdk_engines.models.mmdgpp.published import Mmdgpp


def _preprocess(config: MmdgppConfig) -> dict[Modality, PreprocessSpec]:
    """Return how captures become tensors; no loader of MMDG++ is published.

    An absent modality's value is never read.
    """
    return face_crops(config, MODALITIES, missing_value=0.0)


FAMILIES = (
    Family(
        name="mmdgpp",
        published_in="Lin et al., MMDG++, IEEE TPAMI 47(9), 2025",
        modalities=MODALITIES,
        labels=("attack", "live"),
        live_index=1,
        has_certainty=True,
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
            # CLIP's own, of which every modality has its copy.
            r"model\.visual\.(positional_embedding|proj)",
        ),
        # Published as one parameter under two keys; safetensors keeps the first by name.
        tied_names=(("model.visual.class_embedding", "class_token_1"),),
        takes_presence=True,
        # Which modality is surer decides, and the exponential of a log variance may exceed 65504.
        float32_islands=(r"/judgment/",),
    ),
)

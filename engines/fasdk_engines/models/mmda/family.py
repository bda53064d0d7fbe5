"""MMDA's entry in the model registry."""

from __future__ import annotations

from fasdk.capture import Modality
from fasdk.preprocess import PreprocessSpec
from fasdk_engines.models.base import Family
from fasdk_engines.models.face_crops import face_crops
from fasdk_engines.models.mmda.config import MODALITIES, MmdaConfig
from fasdk_engines.models.mmda.published import Mmda


def _preprocess(config: MmdaConfig) -> dict[Modality, PreprocessSpec]:
    """Return how captures become tensors; an absent modality is a black image, normalized."""
    return face_crops(config, MODALITIES, missing_value=config.absent)


FAMILIES = (
    Family(
        name="mmda",
        published_in="MMDA: Purify then Guide, ECCV 2026",
        modalities=MODALITIES,
        labels=("attack", "live"),
        live_index=1,
        has_certainty=False,
        config_type=MmdaConfig,
        configs={
            "full": MmdaConfig(),
            # Trains on two cores in minutes.
            "tiny": MmdaConfig(
                image_size=64,
                patch_size=16,
                width=64,
                depth=2,
                heads=4,
                feature_width=32,
                attention_heads=4,
                expert_hidden=85,
                align_depth=2,
                depth_far_mm=900,
            ),
        },
        build=Mmda,
        preprocess=_preprocess,
        # The gates and what they read, but no expert: those hold nine tenths of the weights there;
        # and the trunk's residual stream with its norms, whose rounding is most of what is left to
        # throw a capture across a gate.
        float32_islands=(
            r"/gate/",
            r"^/(fusion|refine|remap)/(?!mixture/)",
            r"^/Add$",
            r"^/visual/(?:.*/)?(Add(_\d+)?|LayerNormalization)$",
        ),
        research_only=(
            r"model\.(positional_embedding|text_projection|logit_scale)",
            r"model\.(transformer|token_embedding|ln_final)\..*",
            r"adapter\.u_align\.(refine|remapping)\.[1-9]\d*\..*",
        ),
    ),
)

"""Preprocessing settings of a checkpoint in the bundle's manifest."""

from __future__ import annotations

import pytest

from fasdk.capture import Modality
from fasdk.preprocess import DepthPolarity, IrComposite, PreprocessSpec
from fasdk_engines.models.registry import get_family

VISION_TRANSFORMERS = ("mmdg", "mmdgpp", "mmda", "bigmoe")


def specs_of(name: str, **settings: object) -> dict[Modality, PreprocessSpec]:
    family = get_family(name)
    return dict(family.preprocess(family.config_type.model_validate(settings)))


@pytest.mark.parametrize("name", VISION_TRANSFORMERS)
def test_infrared_is_plain_unless_the_checkpoint_says_otherwise(name):
    assert {s.ir_composite for s in specs_of(name).values()} == {IrComposite.PLAIN}
    composite = specs_of(name, ir_composite="ir-hog-plgf")
    assert composite.pop(Modality.IR).ir_composite is IrComposite.IR_HOG_PLGF
    assert {s.ir_composite for s in composite.values()} == {IrComposite.PLAIN}


@pytest.mark.parametrize("name", VISION_TRANSFORMERS)
def test_depths_range_and_polarity_are_the_checkpoints(name):
    depth = specs_of(name, depth_near_mm=250, depth_far_mm=900, depth_polarity="far-bright")[
        Modality.DEPTH
    ].depth
    assert depth is not None
    assert (depth.near_mm, depth.far_mm) == (250, 900)
    assert depth.polarity is DepthPolarity.FAR_BRIGHT

"""Every training method can learn 32 captures by heart, which its table presumes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.synthetic import SceneSettings, Split, generate_many
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import (
    Epoch,
    SentenceFile,
    TrainingSettings,
    get_method,
    method_names,
    train,
)
from fasdk_engines.training.alignment import FALSE, TRUE
from fasdk_engines.training.sentences import Sentences

FAMILY_OF = {"plain": "mmdg", "mmdg-ssp": "mmdg"}
# The least value of a cross-entropy against soft targets.
FLOOR = {"mmda": -(TRUE * math.log(TRUE) + FALSE * math.log(FALSE))}
# MMDG++ classifies features of length 1, so that its classifier's weights have far to grow.
RATES = {"mmdgpp": 1e-2}
# Two sentences a class: most of a step's time goes into the texts.
FEW = SentenceFile(
    Path("few.toml"), "", Sentences(("a face", "skin is seen"), ("a mask", "paper is seen"))
)
SETTINGS = TrainingSettings(
    epochs=200, batch=16, modality_dropout=0.0, brightness=0.0, shift=0.0, patience=200
)


class Learned(Exception):  # noqa: N818 - no error
    """The training may end."""


@pytest.fixture(scope="module")
def captures() -> list[LabeledCapture]:
    frames = SceneSettings(width=96, height=72)
    found = generate_many(7, 32, Split.TRAIN, settings=frames)
    return [replace(c, domain=("north", "south")[i % 2]) for i, c in enumerate(found)]


@pytest.mark.slow
@pytest.mark.parametrize("method", method_names())
def test_a_method_learns_32_captures_by_heart(method, captures):
    def on_epoch(epoch: Epoch) -> None:
        if method in FLOOR:
            loss = epoch.losses["classification"] - FLOOR[method]
        else:
            loss = epoch.development_loss
        if loss < 0.05:
            raise Learned

    rate = RATES.get(method, SETTINGS.learning_rate)
    settings = SETTINGS.model_copy(update={"learning_rate": rate})
    family = get_family(FAMILY_OF.get(method, method))
    small = {"image_size": 32, "patch_size": 8}
    config = family.configs["tiny"].model_copy(update=small)
    # The same captures of other people, so that an epoch's figures are those of evaluation.
    again = [replace(capture, subject=f"{capture.subject}, again") for capture in captures]
    few = FEW if get_method(method, family).reads_sentences else None
    with pytest.raises(Learned):
        train(
            *(family, config, method, captures, again, settings),
            sentences=few,
            on_epoch=on_epoch,
        )

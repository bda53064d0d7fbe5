"""Options of a model and its training, which several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    str | None, typer.Option(help="Named settings (such as tiny) or a JSON file.")
]
InitFromOption = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint to start from: torchvision's ViT-B/16, OpenAI's CLIP ViT-B/16 or the "
        "model's own, in any form that build-engine takes."
    ),
]
ClipVocabularyOption = Annotated[
    Path | None, typer.Option(help="bpe_simple_vocab_16e6.txt.gz of those CLIP weights.")
]
MixedPrecisionOption = Annotated[
    bool, typer.Option("--amp", help="Mixed precision, on a GPU only.")
]
EpochsOption = Annotated[int | None, typer.Option(help="Maximum number of epochs.")]
BatchOption = Annotated[int | None, typer.Option(help="Captures per step.")]
AccumulateOption = Annotated[
    int | None,
    typer.Option(help="Parts that a step's captures are run in, to need less memory."),
]
OptimizerOption = Annotated[str | None, typer.Option(help="adamw or adam.")]
LearningRateOption = Annotated[float | None, typer.Option(help="Largest learning rate.")]
ScheduleOption = Annotated[str | None, typer.Option(help="cosine or constant learning rate.")]
WarmupOption = Annotated[
    float | None, typer.Option(help="Share of all steps in which the learning rate rises.")
]
WeightDecayOption = Annotated[float | None, typer.Option(help="Weight decay.")]
DecayVectorsOption = Annotated[
    bool | None,
    typer.Option(
        "--decay-vectors/--decay-matrices",
        help="Whether weight decay takes biases and norms too.",
    ),
]
ClipNormOption = Annotated[
    float | None, typer.Option(help="Largest norm of a step's gradients; 0 for any.")
]
ModalityDropoutOption = Annotated[
    float | None, typer.Option(help="Probability that a capture lacks one modality.")
]
AugmentOption = Annotated[
    str | None,
    typer.Option(help="Changes of training captures: fasdk, loaders, noisy-loaders or none."),
]
PatienceOption = Annotated[
    int | None, typer.Option(help="Epochs without improvement before training stops; 0 for all.")
]
FrozenOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Regular expression of parameters that stay as they start. Repeatable.",
    ),
]
_FREEZE = typer.Option(
    help="Keep what the paper keeps frozen: pretrained (with --init-from), always or never."
)
FreezeOption = Annotated[str, _FREEZE]
FreezeOrUsualOption = Annotated[str | None, _FREEZE]
ShowSettingsOption = Annotated[
    bool,
    typer.Option(
        "--show-settings", help="Print every setting with its source, and stop; no list is read."
    ),
]

"""Training settings that each system was published with, and those a training takes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fasdk.errors import TrainingError
from fasdk.settings import as_choice, take_choices
from fasdk_engines.models.base import Family, ModelConfig
from fasdk_engines.training.settings import (
    Augmentation,
    Optimizer,
    Schedule,
    TrainingSettings,
)

_SIZES = ("image_size", "patch_size", "width", "depth", "heads")


class SetBy(str, Enum):
    """What a setting of a training comes from."""

    PUBLISHED = "published"
    SIZE = "fasdk, for another size"
    """The configuration is of another size than the published one."""
    RANDOM = "no --init-from"
    """The training starts from random weights."""
    OPTION = "option"
    DEFAULT = "fasdk"
    """Nothing is published, or what is published is not part of fasdk."""


@dataclass(frozen=True)
class PublishedSetting:
    """One setting a system was published with.

    Attributes:
        name: Field of `TrainingSettings`, or a matter that is no field, such as "frozen".
        value: Value of the field, or what is done in words.
        source: Where that is stated.
    """

    name: str
    value: object
    source: str


@dataclass(frozen=True)
class PublishedTraining:
    """Everything a system's training was published with.

    Attributes:
        settings: Fields of `TrainingSettings`.
        rest: What its method does by itself.
        note: What is not published, and what stands in for it; empty if all is published.
    """

    settings: tuple[PublishedSetting, ...]
    rest: tuple[PublishedSetting, ...]
    note: str = ""


@dataclass(frozen=True)
class ChosenSetting:
    """One setting of a training and what it comes from.

    Attributes:
        name: Field of `TrainingSettings`, or a matter that is no field.
        value: Value that the training has.
        set_by: What it comes from.
        published: Published value; None where nothing is published.
        source: Where the published value is stated; empty where nothing is published.
    """

    name: str
    value: object
    set_by: SetBy
    published: object = None
    source: str = ""

    def __post_init__(self) -> None:
        """Take the origin as a member of its enum or as its value.

        Raises:
            UsageError: It is neither.
        """
        take_choices(self, set_by=SetBy)


@dataclass(frozen=True)
class ChosenSettings:
    """Settings of a training, each with what it comes from.

    Attributes:
        values: Values of `TrainingSettings` that differ from its defaults.
        rows: Every setting.
        note: What is not published, and what stands in for it.
    """

    values: Mapping[str, Any]
    rows: tuple[ChosenSetting, ...]
    note: str

    @property
    def training(self) -> TrainingSettings:
        """The settings; pydantic's ValidationError where an option is out of its range."""
        return TrainingSettings.model_validate(dict(self.values))

    def overridden(self, by: SetBy) -> tuple[str, ...]:
        """Return the names of published settings that something else replaces.

        Raises:
            UsageError: `by` is no origin of a setting.
        """
        by = as_choice("by", by, SetBy)
        return tuple(r.name for r in self.rows if r.source and r.set_by is by)

    @property
    def summary(self) -> str:
        """Which published settings are replaced, in one line; empty where none was published."""
        if not any(row.source for row in self.rows):
            return ""
        texts = {
            SetBy.SIZE: "fasdk's own, for another size than the published one",
            SetBy.DEFAULT: "fasdk's own",
            SetBy.RANDOM: "without --init-from",
            SetBy.OPTION: "by option",
        }
        parts = [
            f"{text}: {', '.join(name.replace('_', ' ') for name in names)}"
            for by, text in texts.items()
            if (names := self.overridden(by))
        ]
        return f"published settings, but {'; '.join(parts)}" if parts else "published settings"


def published_training(family: Family) -> PublishedTraining:
    """Return what a family's training was published with.

    Raises:
        TrainingError: Nothing is known of it.
    """
    if family.name not in _PUBLISHED:
        raise TrainingError(
            f"{family.name!r} has no published training settings here: choose --method plain"
        )
    return _PUBLISHED[family.name]


def published_systems() -> tuple[str, ...]:
    """Return the names of the families whose published settings are known."""
    return tuple(_PUBLISHED)


def has_published_size(family: Family, config: ModelConfig) -> bool:
    """Return whether a configuration is of the size that a family was published in."""
    return all(
        getattr(config, name, None) == getattr(family.default_config, name, None) for name in _SIZES
    )


def choose_settings(
    family: Family,
    config: ModelConfig,
    options: Mapping[str, Any],
    *,
    published: bool,
    others: Sequence[ChosenSetting] = (),
) -> ChosenSettings:
    """Return the settings of a training.

    The published ones fine-tune a pretrained ViT-B/16. A configuration of another size has no
    pretrained weights and takes fasdk's own, which start one at random; the method's losses, frozen
    parts, initial values and texts remain. Options replace both.

    Args:
        family: Model to be trained.
        config: Settings of the model.
        options: Fields of `TrainingSettings` that the user chose.
        published: Whether the published settings are asked for.
        others: What replaces published matters that are no field of `TrainingSettings`, each with
            its name, value and origin.

    Raises:
        TrainingError: The published settings are asked for, and nothing is known of them.
    """
    found = published_training(family) if published else PublishedTraining((), ())
    fits = has_published_size(family, config)
    of_name = {setting.name: setting for setting in found.settings}
    values: dict[str, Any] = {}
    rows = []
    for name, field in TrainingSettings.model_fields.items():
        stated = of_name.get(name)
        by, value = SetBy.DEFAULT, field.default
        if stated is not None:
            by, value = (SetBy.PUBLISHED, stated.value) if fits else (SetBy.SIZE, value)
        if name in options:
            by, value = SetBy.OPTION, options[name]
        if by is not SetBy.DEFAULT:
            values[name] = value
        if stated is None:
            rows.append(ChosenSetting(name, value, SetBy.DEFAULT if value == field.default else by))
            continue
        if value == stated.value:
            by = SetBy.PUBLISHED
        rows.append(ChosenSetting(name, value, by, stated.value, stated.source))
    replaced = {chosen.name: chosen for chosen in others}
    for matter in found.rest:
        chosen = replaced.get(matter.name)
        done = matter.value if chosen is None else chosen.value
        by = SetBy.PUBLISHED
        if chosen is not None and done != matter.value:
            by = chosen.set_by
        rows.append(ChosenSetting(matter.name, done, by, matter.value, matter.source))
    return ChosenSettings(values, tuple(rows), found.note)


def _loop(*rows: tuple[str, object, str]) -> tuple[PublishedSetting, ...]:
    return tuple(PublishedSetting(*row) for row in rows)


_DADM = "DADM@3b5c13f"  # github.com/yjyddq/DADM; MMDG's authors among its own, with a copy of MMDG
_DADM_LOADER = f"{_DADM} data_preprocess/Load_multi_domain_multi_modal.py"
_DADM_LOOP = _loop(
    ("epochs", 80, f"{_DADM} train_cross_lx.py, --epochs"),
    ("batch", 16, f"{_DADM} README, --batchsize 16"),
    ("accumulate", 1, f"{_DADM} step.py, a step a batch"),
    ("optimizer", Optimizer.ADAM, f"{_DADM} train_cross_lx.py, torch.optim.Adam"),
    ("learning_rate", 5e-5, f"{_DADM} README, --lr 5e-5"),
    ("schedule", Schedule.CONSTANT, f"{_DADM} train_cross_lx.py, its scheduler commented out"),
    ("warmup", 0.0, f"{_DADM} train_cross_lx.py, none"),
    ("weight_decay", 5e-5, f"{_DADM} train_cross_lx.py, torch.optim.Adam"),
    ("decay_vectors", True, f"{_DADM} train_cross_lx.py, all parameters in one group"),
    ("clip_norm", None, f"{_DADM} step.py, none"),
    ("modality_dropout", 0.0, f"{_DADM_LOADER}, Multi_Domain_Spoofing_train"),
    ("augmentation", Augmentation.LOADERS, f"{_DADM_LOADER}, seq"),
    ("label_smoothing", 0.0, f"{_DADM} train_cross_lx.py, nn.CrossEntropyLoss"),
    ("patience", None, f"{_DADM} train_cross_lx.py, all epochs"),
)
_MMDA = "MMDA@547f9b2"  # github.com/murInJ/MMDA
_MMDA_LOADER = f"{_MMDA} data_preprocess/Load_multi_domain_multi_modal.py"
_MMDA_LOOP = _loop(
    ("epochs", 300, f"{_MMDA} train.py, --epochs"),
    ("batch", 24, f"{_MMDA} train.py, --batchsize"),
    ("accumulate", 8, f"{_MMDA} train.py, --gradient_accumulation: 3 captures at once"),
    ("optimizer", Optimizer.ADAMW, f"{_MMDA} train.py, torch.optim.AdamW"),
    ("learning_rate", 5e-6, f"{_MMDA} train.py, --lr"),
    ("schedule", Schedule.CONSTANT, f"{_MMDA} train.py, scheduler = None"),
    ("warmup", 0.0, f"{_MMDA} train.py, none"),
    ("weight_decay", 5e-5, f"{_MMDA} train.py, torch.optim.AdamW"),
    ("decay_vectors", True, f"{_MMDA} train.py, all parameters in one group"),
    ("clip_norm", None, f"{_MMDA} train.py, none"),
    ("modality_dropout", 0.0, f"{_MMDA_LOADER}, Multi_Domain_Spoofing_train"),
    ("augmentation", Augmentation.NOISY_LOADERS, f"{_MMDA_LOADER}, seq"),
    ("label_smoothing", 0.0, f"{_MMDA} models/framework/MMDA.py, soft targets of its own"),
    ("patience", None, f"{_MMDA} train.py, all epochs"),
)
_MMDG = "mmdg@8f209f3 models/u_adapter.py"  # github.com/OMGGGGG/mmdg
_MMDGPP = "mmdg_plus_plus@e7904a0 models/mmdg_plus_plus"  # github.com/lxbuaa/mmdg_plus_plus
_BIGMOE = "BIG-MoE@b271046 models/BIG_MoE.py"  # github.com/murInJ/BIG-MoE
_PUBLISHED = {
    "mmdg": PublishedTraining(
        _DADM_LOOP,
        _loop(
            ("frozen", "patch embeddings and all blocks but the last", f"{_MMDG}:397-421"),
            (
                "initial values",
                "torchvision's ViT-B/16, its class token for each modality; position embeddings "
                "N(0, 0.02); adapters that add zero",
                f"{_MMDG}:397-421",
            ),
        ),
        "MMDG's training script is not published: loop and loader are those of DADM, which "
        "shares authors with it and trains MMDG's losses",
    ),
    "mmdgpp": PublishedTraining(
        _DADM_LOOP,
        _loop(
            ("frozen", "CLIP but its class token", f"{_MMDGPP}:341-388"),
            (
                "initial values",
                "OpenAI's CLIP ViT-B/16, class token, position embedding and projection copied for "
                "each modality; adapters that add zero; prompts N(0, 1)",
                f"{_MMDGPP}:341-388",
            ),
            ("texts", "9 of live and 9 of attacks a modality", f"{_MMDGPP}:9-79"),
        ),
        "MMDG++'s training script is not published: loop and loader are those of DADM, the nearest "
        "published script; regrad.py leaves a modality out of whole batches, how often is not said",
    ),
    "mmda": PublishedTraining(
        _MMDA_LOOP,
        _loop(
            ("frozen", "nothing", f"{_MMDA} train.py, --freeze_backbone off"),
            ("initial values", "OpenAI's CLIP ViT-B/16", f"{_MMDA} MMDA.py:355-370"),
            ("texts", "24 of attacks and 23 of live", f"{_MMDA} MMDA.py:14-68"),
        ),
    ),
    "bigmoe": PublishedTraining(
        _MMDA_LOOP,
        _loop(
            ("frozen", "patch embedding and all blocks but the last", f"{_BIGMOE}:361-377"),
            (
                "initial values",
                "torchvision's ViT-B/16; class token 0; expert tables N(0, 1)",
                f"{_BIGMOE}:146-147",
            ),
            (
                "modality dropout in the model",
                "each modality left out with probability 0.3, all three where it falls so",
                f"{_BIGMOE}:390-407",
            ),
        ),
        "BIG-MoE's training script is not published: loop and loader are those of MMDA, of the "
        "same repository owner",
    ),
}

"""Settings of published trainings, and what replaces them."""

from __future__ import annotations

import pytest

from fasdk.errors import TrainingError
from fasdk_engines.models.registry import family_names, get_family
from fasdk_engines.training import (
    ChosenSetting,
    ChosenSettings,
    SetBy,
    TrainingSettings,
    choose_settings,
    method_names,
    published_training,
)

SYSTEMS = ("mmdg", "mmdgpp", "mmda", "bigmoe")


def chosen(name: str, config: str = "full", **options: object) -> ChosenSettings:
    family = get_family(name)
    return choose_settings(family, family.configs[config], options, published=True)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        # DADM's README and train_cross_lx.py; MMDA's train.py. As published, so typed here.
        *(
            (name, ("adam", 5e-5, 5e-5, 16, 1, 80, "constant", None, 0.0, "loaders"))
            for name in ("mmdg", "mmdgpp")
        ),
        *(
            (name, ("adamw", 5e-6, 5e-5, 24, 8, 300, "constant", None, 0.0, "noisy-loaders"))
            for name in ("mmda", "bigmoe")
        ),
    ],
)
def test_a_full_size_system_trains_with_the_published_settings(name, values):
    found = chosen(name)
    settings = found.training
    fields = (
        *("optimizer", "learning_rate", "weight_decay", "batch", "accumulate", "epochs"),
        *("schedule", "clip_norm", "modality_dropout", "augmentation"),
    )
    assert tuple(getattr(settings, field) for field in fields) == values
    assert (settings.decay_vectors, settings.patience, settings.warmup) == (True, None, 0.0)
    assert found.summary == "published settings"
    assert all(row.source for row in found.rows if row.set_by is SetBy.PUBLISHED)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_published_setting_is_a_field_or_said_in_words_and_has_a_source(name):
    found = published_training(get_family(name))
    assert {s.name for s in found.settings} <= set(TrainingSettings.model_fields)
    assert {"frozen", "initial values"} <= {s.name for s in found.rest}
    assert all("@" in s.source for s in (*found.settings, *found.rest))
    # Where a script is not published, the one that stands in for it is named.
    assert ("not published" in found.note) == (name != "mmda")


def test_a_tiny_configuration_trains_with_fasdks_own_and_says_which():
    found = chosen("mmda", "tiny")
    assert found.training == TrainingSettings()
    assert found.summary.startswith("published settings, but fasdk's own, for another size")
    for name in ("epochs", "batch", "accumulate", "learning rate", "augmentation"):
        assert name in found.summary
    assert "label smoothing" not in found.summary, "it is equal"
    assert "by option" not in found.summary


def test_an_option_replaces_one_setting_and_is_named():
    found = chosen("mmda", batch=12, seed=3, clip_norm=None)
    assert (found.training.batch, found.training.accumulate) == (12, 8)
    assert found.training.seed == 3
    assert found.summary == "published settings, but by option: batch"
    tiny = chosen("mmda", "tiny", learning_rate=1e-3, epochs=300)
    assert (tiny.training.learning_rate, tiny.training.epochs) == (1e-3, 300)
    assert tiny.summary.endswith("; by option: learning rate")
    assert "epochs" not in tiny.summary, "it is the published number"


def test_what_replaces_other_matters_is_named():
    family = get_family("mmdg")
    others = [
        ChosenSetting("frozen", "nothing", SetBy.RANDOM),
        ChosenSetting("initial values", "random", SetBy.RANDOM),
    ]
    found = choose_settings(family, family.default_config, {}, published=True, others=others)
    assert found.summary == "published settings, but without --init-from: frozen, initial values"
    assert next(r.value for r in found.rows if r.name == "frozen") == "nothing"


def test_other_methods_train_with_fasdks_own():
    family = get_family("mmdg")
    found = choose_settings(family, family.default_config, {"batch": 8}, published=False)
    assert found.training == TrainingSettings(batch=8)
    assert found.summary == ""


@pytest.mark.parametrize("name", [n for n in family_names() if n not in method_names()])
def test_what_has_no_published_training_is_refused(name):
    with pytest.raises(TrainingError, match="no published training settings here"):
        chosen(name, next(iter(get_family(name).configs)))

"""Trainer: early stopping, logs, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fasdk.capture import Modality
from fasdk.errors import DatasetError
from fasdk_calibration.datasets import LabeledCapture
from fasdk_calibration.metrics import auc
from fasdk_calibration.synthetic import SceneSettings, Species, Split, generate_many, taking_turns
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import (
    Epoch,
    EpochChoice,
    TrainingResult,
    TrainingSettings,
    score_captures,
    train_supervised,
)
from fasdk_engines.training.augmentation import augment, leave_out
from fasdk_engines.training.data import Batch

FAMILY = get_family("mmdg")
CONFIG = FAMILY.configs["tiny"].model_copy(
    update={"image_size": 32, "patch_size": 8, "width": 32, "depth": 1, "mlp_width": 64}
)
SETTINGS = TrainingSettings(epochs=2, batch=8, threads=1)
Sets = dict[Split, list[LabeledCapture]]


@pytest.fixture(scope="module")
def sets() -> Sets:
    turns = taking_turns(Species.PRINT_FLAT, Species.REPLAY, Species.RIGID_MASK)
    small = SceneSettings(width=96, height=72, turns=turns)
    sizes = {Split.TRAIN: 96, Split.DEVELOPMENT: 36}
    return {s: list(generate_many(2, n, s, settings=small)) for s, n in sizes.items()}


def train(sets: Sets, settings: TrainingSettings, count: int = 24) -> TrainingResult:
    return train_supervised(
        FAMILY, CONFIG, sets[Split.TRAIN][:count], sets[Split.DEVELOPMENT][:12], settings
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(sets):
    torch.manual_seed(1)
    first = train(sets, SETTINGS).module.state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    second = train(sets, SETTINGS).module.state_dict()
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state was touched"
    assert torch.get_num_threads() == threads
    other = train(sets, SETTINGS.model_copy(update={"seed": 1})).module.state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_a_short_training_tells_screens_from_faces_of_other_subjects(sets):
    epochs: list[Epoch] = []
    settings = TrainingSettings(epochs=8, batch=16, shift=0.0, threads=1)
    easy = {
        s: [c for c in part if c.species in ("bona fide", "replay")] for s, part in sets.items()
    }
    held = easy[Split.DEVELOPMENT]
    result = train_supervised(FAMILY, CONFIG, easy[Split.TRAIN], held, settings, epochs.append)
    assert tuple(epochs) == result.history
    assert epochs[-1].loss < epochs[0].loss
    assert result.best.development_auc == max(e.development_auc for e in epochs)
    scores = score_captures(result.module, FAMILY, CONFIG, held)
    labels = np.array([c.is_bona_fide for c in held])
    assert not result.module.training
    assert auc(scores, labels) == pytest.approx(result.best.development_auc)
    assert result.best.development_auc > 0.9 and result.best.development_accuracy > 0.8


def epoch_of(number: int, area: float, loss: float) -> Epoch:
    return Epoch(number, 9, 0.1, loss, 0.9, area)


@pytest.mark.parametrize(
    ("choice", "epochs", "kept"),
    [
        # An early epoch unsure of itself against a later one that ranks better.
        (EpochChoice.AUC, [epoch_of(1, 0.68, 0.66), epoch_of(2, 0.88, 0.90)], 2),
        (EpochChoice.LOSS, [epoch_of(1, 0.68, 0.66), epoch_of(2, 0.88, 0.90)], 1),
        (EpochChoice.AUC, [epoch_of(1, 1.0, 0.3), epoch_of(2, 1.0, 0.1), epoch_of(3, 0.9, 0.0)], 2),
        (EpochChoice.AUC, [epoch_of(1, 1.0, 0.3), epoch_of(2, 1.0, 0.3)], 1),
        (EpochChoice.LOSS, [epoch_of(1, 0.8, 0.3), epoch_of(2, 1.0, 0.3)], 1),
    ],
)
def test_an_epoch_is_kept_for_its_order_of_scores_and_of_equals_for_its_loss(choice, epochs, kept):
    best = epochs[0]
    for epoch in epochs[1:]:
        best = epoch if epoch.is_better_than(best, choice) else best
    assert best.number == kept


def test_the_loss_chooses_the_epoch_where_it_is_asked_to(sets):
    settings = SETTINGS.model_copy(update={"epochs": 4, "choose_epoch_by": EpochChoice.LOSS})
    result = train(sets, settings)
    assert result.best.development_loss == min(e.development_loss for e in result.history)


def test_training_ends_when_no_epoch_is_better(sets):
    settings = TrainingSettings(epochs=40, batch=8, learning_rate=0.5, patience=2, threads=1)
    result = train(sets, settings, count=12)
    assert len(result.history) == result.best.number + 2 < 40


def batch_of(inputs: dict[Modality, torch.Tensor]) -> Batch:
    count = len(next(iter(inputs.values())))
    whole = torch.ones(count, dtype=torch.int64)
    return Batch(inputs, torch.ones(count, len(inputs)), whole, whole > 0, 0 * whole, False)


def test_augmentation_mirrors_all_modalities_together_and_drops_one_at_most():
    specs = FAMILY.preprocess(CONFIG)
    generator = torch.Generator().manual_seed(0)
    inputs = dict(zip(FAMILY.modalities, FAMILY.example_inputs(CONFIG, 64), strict=True))
    settings = TrainingSettings(brightness=0.0, shift=0.0, modality_dropout=0.5)
    batch = augment(batch_of(inputs), specs, settings, generator)
    changed = batch.inputs
    absent = torch.stack([(x == 0).flatten(1).all(dim=1) for x in changed.values()])
    assert 16 < int(absent.sum()) < 48 and int(absent.sum(dim=0).max()) == 1
    assert torch.equal(batch.present.T == 0, absent)
    mirrored = torch.stack(
        [(changed[m] == x.flip(3)).flatten(1).all(dim=1) for m, x in inputs.items()]
    )
    same = torch.stack([(changed[m] == x).flatten(1).all(dim=1) for m, x in inputs.items()])
    assert bool((mirrored | same | absent).all())
    assert not bool((mirrored.any(dim=0) & same.any(dim=0)).any()), "modalities came apart"


def test_a_captures_last_modality_is_never_left_out():
    specs = FAMILY.preprocess(CONFIG)
    inputs = dict(zip(FAMILY.modalities, FAMILY.example_inputs(CONFIG, 3), strict=True))
    taken = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0]], dtype=torch.bool)
    left = leave_out(batch_of(inputs), specs, taken)
    assert left.present.tolist() == [[1, 1, 1], [0, 0, 1], [1, 1, 1]]
    for column, modality in enumerate(FAMILY.modalities):
        gone = left.present[:, column] == 0
        assert bool((left.inputs[modality][gone] == specs[modality].missing_value).all())
        assert torch.equal(left.inputs[modality][~gone], inputs[modality][~gone])


def test_brightness_changes_rgb_alone_and_stays_in_eight_bits():
    specs = FAMILY.preprocess(CONFIG)
    inputs = dict(zip(FAMILY.modalities, FAMILY.example_inputs(CONFIG, 8), strict=True))
    inputs = {m: x.clamp(-127.5 / 128, 127.5 / 128) for m, x in inputs.items()}
    settings = TrainingSettings(brightness=0.5, shift=0.0, modality_dropout=0.0)
    batch = augment(batch_of(inputs), specs, settings, torch.Generator().manual_seed(0))
    changed = batch.inputs
    for modality, tensor in inputs.items():
        out = changed[modality]
        assert float(out.abs().max()) <= 127.5 / 128 + 1e-6
        kept = (out == tensor) | (out == tensor.flip(3))
        assert bool(kept.all()) == (modality is not Modality.RGB)


def test_a_shift_moves_all_modalities_alike_and_repeats_the_edge():
    specs = FAMILY.preprocess(CONFIG)
    ramp = torch.arange(32.0).expand(16, 3, 32, 32)
    inputs = dict.fromkeys(FAMILY.modalities, ramp + ramp.mT * 100)
    settings = TrainingSettings(brightness=0.0, shift=0.25, modality_dropout=0.0)
    batch = augment(batch_of(inputs), specs, settings, torch.Generator().manual_seed(0))
    changed = batch.inputs
    first = changed[Modality.RGB]
    assert all(torch.equal(first, other) for other in changed.values())
    column, row = first % 100, first // 100
    assert bool((column[:, :, 0] == column[:, :, -1]).all())
    moved = row[:, 0, 16, 16] - 16
    assert float(moved.abs().max()) <= 8 and len(moved.unique()) > 4
    assert float(row.min()) >= 0 and float(row.max()) <= 31


def test_captures_that_teach_nothing_are_refused(sets):
    both, development = sets[Split.TRAIN], sets[Split.DEVELOPMENT]
    live = [c for c in both if c.is_bona_fide]
    with pytest.raises(DatasetError, match="training captures hold bona fide alone"):
        train_supervised(FAMILY, CONFIG, live, development)
    with pytest.raises(DatasetError, match="development captures hold no capture"):
        train_supervised(FAMILY, CONFIG, both, [])
    with pytest.raises(DatasetError, match=r"subject 's\d+' of 'synthetic' is in training and"):
        train_supervised(FAMILY, CONFIG, both, [*development, both[0]])

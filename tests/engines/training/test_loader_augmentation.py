"""Augmentation of the public loaders, against its rule written in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fasdk.capture import Modality
from fasdk.preprocess import IrComposite
from fasdk_engines.models.registry import get_family
from fasdk_engines.training import Augmentation, TrainingSettings
from fasdk_engines.training.augmentation import augment
from fasdk_engines.training.data import Batch

FAMILY = get_family("mmdg")
CONFIG = FAMILY.configs["tiny"].model_copy(update={"image_size": 64, "patch_size": 8})
SETTINGS = TrainingSettings(modality_dropout=0.0, augmentation=Augmentation.LOADERS)


def batch_of(images: torch.Tensor) -> Batch:
    count = len(images)
    ones = torch.ones(count, dtype=torch.int64)
    inputs = dict.fromkeys(FAMILY.modalities, images)
    return Batch(inputs, torch.ones(count, 3), ones, ones > 0, 0 * ones, False)


def all_levels(count: int) -> torch.Tensor:
    """Return images [B, 3, 64, 64] with a row of every level 0 to 255 in order, normalized."""
    ramp = torch.arange(256.0).reshape(4, 64).repeat(16, 1)
    return ((ramp - 127.5) / 128.0).expand(count, 3, 64, 64)


def levels_of(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy() * 128.0 + 127.5).astype(int)


def curve(image: np.ndarray) -> np.ndarray:
    """Return the level that each level 0 to 255 became."""
    rows = image[:4]
    return np.concatenate(list(rows if rows[0, 0] <= rows[0, -1] else rows[:, ::-1]))


def fitted(found: np.ndarray) -> tuple[int, float]:
    """Return the offset and the exponent of floor(255 * (clip(level + offset) / 255) ** gamma)."""
    level = np.arange(256)
    best = (999, 0, 0.0)
    for offset in range(-40, 41):
        middle = np.clip(128 + offset, 0, 255) / 255.0
        guess = np.log(max(found[128] + 0.5, 0.5) / 255.0) / np.log(middle)
        for gamma in np.linspace(guess - 0.03, guess + 0.03, 13):
            expected = np.floor(255.0 * (np.clip(level + offset, 0, 255) / 255.0) ** gamma)
            best = min(best, (int(np.abs(expected - found).max()), offset, float(gamma)))
    assert best[0] <= 1, best
    return best[1], best[2]


def test_every_image_gets_offsets_by_channel_and_one_contrast_each_of_its_own():
    batch = augment(batch_of(all_levels(1)), FAMILY.preprocess(CONFIG), SETTINGS, seeded())
    gammas = set()
    for tensor in batch.inputs.values():
        for image in levels_of(tensor):
            assert image.min() >= 0 and image.max() <= 255
            planes = [fitted(curve(plane)) for plane in image]
            assert len({offset for offset, _ in planes}) > 1
            exponents = [gamma for _, gamma in planes]
            assert max(exponents) - min(exponents) < 0.1
            assert 0.45 < exponents[0] < 1.55
            gammas.add(round(exponents[0], 2))
    assert len(gammas) == 3, "modalities share their draws"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_offsets_and_contrast_fill_their_published_ranges():
    images = torch.zeros(400, 3, 8, 8) + (127 - 127.5) / 128.0
    still = replace(batch_of(images), inputs={Modality.DEPTH: images}, present=torch.ones(400, 1))
    specs = FAMILY.preprocess(CONFIG)
    found = augment(still, specs, SETTINGS, seeded()).inputs[Modality.DEPTH]
    level = levels_of(found)[:, 0, 0, 0]
    # (127 - 40) ** 1.5 and (127 + 40) ** 0.5 in shares of 255.
    assert 50 <= level.min() < 62 and 198 < level.max() <= 206
    assert (levels_of(found) == level[:, None, None, None]).all(axis=(2, 3))[:, 0].all()


def test_a_composites_planes_are_images_of_their_own():
    config = CONFIG.model_copy(update={"ir_composite": IrComposite.IR_HOG_PLGF})
    batch = augment(batch_of(all_levels(1)), FAMILY.preprocess(config), SETTINGS, seeded())
    planes = levels_of(batch.inputs[Modality.IR])[0]
    exponents = [fitted(curve(plane))[1] for plane in planes]
    assert max(exponents) - min(exponents) > 0.1


def test_mmdas_loader_adds_noise_common_to_the_channels():
    settings = SETTINGS.model_copy(update={"augmentation": Augmentation.NOISY_LOADERS})
    images = torch.zeros(200, 3, 16, 16) + (127 - 127.5) / 128.0
    batch = augment(batch_of(images), FAMILY.preprocess(CONFIG), settings, seeded())
    spreads = []
    for tensor in batch.inputs.values():
        level = levels_of(tensor)
        spreads.append(level.std(axis=(2, 3)).max(axis=1))
        order = level.reshape(200, 3, -1)
        same = [np.corrcoef(capture)[0, 1] for capture in order if capture.std(axis=1).min() > 5]
        assert np.mean(same) > 0.9
    spread = np.concatenate(spreads)
    assert spread.min() < 3 and 40 < spread.max() < 75
    assert not np.allclose(spreads[0], spreads[1])


@pytest.mark.parametrize("kind", [Augmentation.LOADERS, Augmentation.NOISY_LOADERS])
def test_the_same_generator_gives_the_same_images_and_absent_ones_stay_absent(kind):
    settings = SETTINGS.model_copy(update={"augmentation": kind})
    specs = FAMILY.preprocess(CONFIG)
    batch = batch_of(torch.zeros(4, 3, 64, 64))
    present = batch.present.clone()
    present[2, 1] = 0.0
    batch = replace(batch, present=present)
    first, second = (augment(batch, specs, settings, seeded(3)) for _ in range(2))
    for modality in FAMILY.modalities:
        assert torch.equal(first.inputs[modality], second.inputs[modality])
    assert bool((first.inputs[Modality.DEPTH][2] == 0.0).all())
    assert not bool((first.inputs[Modality.DEPTH][1] == 0.0).all())
    other = augment(batch, specs, settings, seeded(4))
    assert not torch.equal(first.inputs[Modality.RGB], other.inputs[Modality.RGB])


def test_no_augmentation_leaves_the_images_as_they_are():
    settings = SETTINGS.model_copy(update={"augmentation": Augmentation.NONE})
    batch = batch_of(all_levels(4))
    changed = augment(batch, FAMILY.preprocess(CONFIG), settings, seeded())
    assert all(torch.equal(changed.inputs[m], batch.inputs[m]) for m in FAMILY.modalities)

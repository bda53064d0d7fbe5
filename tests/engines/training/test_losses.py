"""SSP, ADP and RS2 losses against NumPy, written from the papers' equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fasdk_engines.training.alignment import level_logits, partners, soft_loss
from fasdk_engines.training.domain_prompts import prompt_loss
from fasdk_engines.training.prototypes import blend, class_means, prototype_loss

Array = NDArray[np.float64]
BATCH, MODALITIES, WIDTH, CLASSES = 7, 3, 5, 4


def log_softmax(row: Array) -> Array:
    shifted = row - row.max()
    return shifted - np.log(np.exp(shifted).sum())


@pytest.fixture
def drawn() -> dict[str, NDArray]:
    rng = np.random.default_rng(3)
    present = np.ones((BATCH, MODALITIES))
    present[1, 0] = present[4, 2] = 0.0
    present[:, 1] = [1, 0, 1, 0, 1, 0, 1]
    return {
        "features": rng.normal(size=(BATCH, MODALITIES, WIDTH)),
        "present": present,
        "centers": rng.normal(size=(MODALITIES, CLASSES, WIDTH)),
        "classes": rng.integers(0, CLASSES, BATCH),
    }


def as_tensors(drawn: dict[str, NDArray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in drawn.items()}


def test_ssp_is_the_cross_entropy_over_minus_the_distance_to_prototypes(drawn):
    expected = []
    for m in range(MODALITIES):
        each = []
        for b in range(BATCH):
            if drawn["present"][b, m]:
                away = [
                    np.sqrt(((drawn["features"][b, m] - center) ** 2).sum())
                    for center in drawn["centers"][m]
                ]
                each.append(-log_softmax(-np.array(away))[drawn["classes"][b]])
        expected.append(np.mean(each))
    t = as_tensors(drawn)
    found = prototype_loss(t["features"], t["present"], t["centers"], t["classes"])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    moved = drawn["features"].copy()
    moved[1, 0] = 1e30  # absent
    again = prototype_loss(torch.from_numpy(moved), t["present"], t["centers"], t["classes"])
    assert torch.equal(found, again)
    moved[0, 0] += 1.0  # present
    other = prototype_loss(torch.from_numpy(moved), t["present"], t["centers"], t["classes"])
    assert not torch.equal(found, other)


def test_ssp_stays_finite_where_a_feature_is_its_prototype_or_a_class_has_none(drawn):
    t = as_tensors(drawn)
    t["centers"][0, 2] = float("nan")
    t["features"][0, 0] = t["centers"][0, 0]
    t["classes"] = torch.tensor([0, 1, 2, 3, 0, 1, 3])
    features = t["features"].requires_grad_()
    found = prototype_loss(features, t["present"], t["centers"], t["classes"])
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert features.grad is not None and bool(features.grad.isfinite().all())
    assert float(features.grad[2, 0].abs().max()) == 0.0, "its class has no prototype"
    nobody = prototype_loss(features, t["present"] * 0.0, t["centers"], t["classes"])
    assert nobody.tolist() == [0.0, 0.0, 0.0]


def test_prototypes_are_class_means_of_what_is_there(drawn):
    expected = np.full((MODALITIES, CLASSES, WIDTH), np.nan)
    for m in range(MODALITIES):
        for c in range(CLASSES):
            chosen = [
                drawn["features"][b, m]
                for b in range(BATCH)
                if drawn["classes"][b] == c and drawn["present"][b, m]
            ]
            if chosen:
                expected[m, c] = np.mean(chosen, axis=0)
    assert np.isnan(expected).any() and not np.isnan(expected).all(), "the case is too easy"
    drawn["features"][1, 0] = np.inf  # absent
    t = as_tensors(drawn)
    found = class_means(t["features"], t["present"], t["classes"], CLASSES)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_a_prototype_moves_by_four_fifths_and_stays_where_no_capture_was_drawn():
    nan = float("nan")
    old = torch.tensor([[[1.0], [2.0], [nan], [nan]]])
    new = torch.tensor([[[6.0], [nan], [3.0], [nan]]])
    assert blend(None, new) is new
    found = blend(old, new).flatten().tolist()
    assert found[:3] == pytest.approx([0.8 * 6 + 0.2 * 1, 2.0, 3.0])
    assert np.isnan(found[3])


def test_adp_is_the_cross_entropy_over_scaled_cosines(drawn):
    scale, expected = 14.3, []
    for m in range(MODALITIES):
        each = []
        for b in range(BATCH):
            if drawn["present"][b, m]:
                f = drawn["features"][b, m]
                cosines = [
                    f @ text / np.sqrt((f @ f) * (text @ text)) for text in drawn["centers"][m]
                ]
                each.append(-log_softmax(scale * np.array(cosines))[drawn["classes"][b]])
        expected.append(np.mean(each))
    drawn["features"][1, 0] = 0.0  # absent, as MMDG++ gives it
    t = as_tensors(drawn)
    features = t["features"].requires_grad_()
    found = prompt_loss(
        features, t["present"], t["centers"], torch.tensor(scale).double(), t["classes"]
    )
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)
    found.sum().backward()
    assert features.grad is not None and bool(features.grad.isfinite().all())
    assert float(features.grad[1, 0].abs().max()) == 0.0


def test_rs2_takes_the_nearest_text_of_each_class_and_targets_that_sum_to_one():
    rng = np.random.default_rng(5)
    features, scale = rng.normal(size=(BATCH, WIDTH)), 3.0
    texts = [rng.normal(size=(count, WIDTH)) for count in (4, 6)]
    targets = rng.integers(0, 2, BATCH)
    losses, nearest = [], np.empty((BATCH, 2))
    for b, feature in enumerate(features):
        for c, of_class in enumerate(texts):
            nearest[b, c] = max(
                scale * (feature @ t) / (np.linalg.norm(feature) * np.linalg.norm(t))
                for t in of_class
            )
        soft = [0.9 if c == targets[b] else 0.1 for c in (0, 1)]
        losses.append(-(np.array(soft) * log_softmax(nearest[b])).sum())
    logits = level_logits(
        torch.from_numpy(features), [torch.from_numpy(t) for t in texts], torch.tensor(scale)
    )
    np.testing.assert_allclose(logits.numpy(), nearest, rtol=1e-6)
    found = soft_loss(logits, torch.from_numpy(targets))
    assert float(found) == pytest.approx(np.mean(losses))
    # The published targets, 1.0 and 0.1, would give another loss.
    wrong = np.mean(
        [
            -(np.where(np.arange(2) == y, 1.0, 0.1) * log_softmax(row)).sum()
            for row, y in zip(nearest, targets, strict=True)
        ]
    )
    assert float(found) != pytest.approx(wrong)


def test_a_domain_partner_is_another_capture_of_the_domain_or_itself_when_alone():
    domains = torch.tensor([0, 1, 0, 2, 1, 0])
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(50):
        partner = partners(domains, generator)
        assert torch.equal(domains[partner], domains)
        assert int(partner[3]) == 3
        assert all(int(partner[i]) != i for i in (0, 1, 2, 4, 5))
        seen.add(int(partner[0]))
    assert seen == {2, 5}

"""Separation of labeled captures by a network's scores."""

from __future__ import annotations

import pytest

from fasdk_engines.graph.separation import Separation, chance_auc


def separation(by_class: tuple[float, ...], live: int = 1, captures: int = 40) -> Separation:
    labels = ("attack", "live", "screen")[: len(by_class)]
    return Separation("dev.jsonl", captures, captures // 2, by_class, live, labels)


@pytest.mark.parametrize(
    ("by_class", "live", "captures", "words"),
    [
        ((0.1, 0.9), 1, 40, None),
        ((0.9, 0.1), 1, 40, "is live_index = 0 meant"),
        ((0.2, 0.3, 0.95), 1, 40, "is live_index = 2 meant"),
        ((0.45, 0.55), 1, 40, "no better than chance"),
        ((0.55, 0.45), 1, 40, "no better than chance"),
        ((0.5, 0.5), 1, 4, "no better than chance"),
        ((0.45, 0.55), 1, 4, None),  # too few captures to call it chance
    ],
)
def test_a_doubt_names_the_class_that_fits(by_class, live, captures, words):
    doubt = separation(by_class, live, captures).doubt
    assert (doubt is None) == (words is None)
    assert words is None or words in doubt
    assert doubt is None or f"AUC {by_class[live]:.4f}" in doubt


def test_chance_narrows_with_the_number_of_captures():
    # Mann and Whitney: standard deviation sqrt((n + m + 1) / (12 n m)).
    assert chance_auc(40, 20) == pytest.approx(0.5 + 1.645 * (41 / 4800) ** 0.5)
    assert chance_auc(400, 200) < chance_auc(40, 20)
    assert chance_auc(2, 1) == 0.5

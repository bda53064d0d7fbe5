"""Security levels and the shortages of captures for them."""

from __future__ import annotations

import pytest

from fasdk.capture import Modality
from fasdk_calibration.thresholds.levels import LevelTarget, Shortage, Shortfall, refusal_messages

STANDARD, STRICT = LevelTarget("standard", 0.05), LevelTarget("strict", 0.01)
ALL, RGB = tuple(Modality), (Modality.RGB,)


@pytest.mark.parametrize(
    ("attempts", "reason"),
    [
        ({"mask": 20, "print": 20}, "needs 59 presentations of every species, has 20"),
        (
            {"print": 20, "mask": 3},
            "needs 59 presentations of every species; has 3 of mask, 20 of print",
        ),
        (
            {"mask": 20, "print": 59, "replay": 20},
            "needs 59 presentations of every species; has 20 of mask and replay",
        ),
        ({"mask": 0}, "needs 59 presentations of every species, has 0"),
    ],
)
def test_a_shortage_is_one_sentence_that_lists_species_only_where_they_differ(attempts, reason):
    shortfall = Shortfall.too_few(59, attempts)
    assert shortfall.reason == reason
    assert shortfall.shortages == tuple(
        Shortage(name, count, 59 - count) for name, count in sorted(attempts.items()) if count < 59
    )


def test_refusals_of_one_level_and_reason_make_one_sentence():
    short = Shortfall.too_few(59, {"mask": 20})
    one_class = Shortfall("no attack presentation: add some")
    refusals = [
        short.of(STANDARD, ALL),
        Shortfall.too_few(299, {"mask": 20}).of(STRICT, ALL),
        short.of(STANDARD, RGB),
        one_class.of(STRICT, RGB),
    ]
    assert refusal_messages(refusals) == [
        "standard with rgb+depth+ir, rgb needs 59 presentations of every species, has 20",
        "strict with rgb+depth+ir needs 299 presentations of every species, has 20",
        "strict with rgb: no attack presentation: add some",
    ]
    assert refusals[0].message == (
        "standard with rgb+depth+ir needs 59 presentations of every species, has 20"
    )
    assert refusal_messages([]) == []


def test_levels_refused_for_the_same_reason_share_a_sentence():
    reason = Shortfall("attacks score no lower than bona fide captures: train the model further")
    refusals = [reason.of(target, ALL) for target in (STANDARD, STRICT)]
    assert refusal_messages(refusals) == [f"standard, strict with rgb+depth+ir: {reason.reason}"]

"""Site thresholds: the bound holds where the site fits the vendor, and what does not is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fasdk_calibration.thresholds.levels import Shortfall
from fasdk_calibration.thresholds.site_tuning import (
    ScoresByClass,
    SiteThreshold,
    site_threshold,
    vendor_limit,
)

PRINT, MASK = -3.0, -2.0


def vendor(seed=0, count=300):
    rng = np.random.default_rng(seed)
    attacks = {"print": rng.normal(PRINT, 1, count), "mask": rng.normal(MASK, 1, count)}
    return ScoresByClass(rng.normal(3.0, 1.5, 400), attacks)


def site(seed, shift=0.0, stretch=1.0, count=20, species=("print", "mask"), people=60, lift=None):
    rng = np.random.default_rng([1, seed])
    means = {"print": PRINT, "mask": MASK}
    attacks = {n: means[n] + shift + stretch * rng.normal(0, 1, count) for n in species}
    lift = shift if lift is None else lift
    return ScoresByClass(rng.normal(3.0 + lift, 1.5, people), attacks)


def test_the_threshold_follows_a_shift_and_a_stretch_exactly():
    here, there = site(1), site(1)
    moved = ScoresByClass(there.bona_fide, {n: 4.0 + x for n, x in there.attacks.items()})
    first, second = (site_threshold(vendor(), each, 0.05) for each in (here, moved))
    assert isinstance(first, SiteThreshold) and isinstance(second, SiteThreshold)
    assert second.lowest == pytest.approx(first.lowest + 4.0, abs=1e-9)
    assert second.stretch == pytest.approx(first.stretch)


def test_the_bound_is_exceeded_by_at_most_one_site_in_twenty():
    exceeded = seen = 0
    for seed in range(120):
        rng = np.random.default_rng([2, seed])
        shift, stretch = rng.normal(0, 1.5), np.exp(rng.normal(0, 0.2))
        found = site_threshold(vendor(seed), site(seed, shift, stretch), 0.05)
        if isinstance(found, SiteThreshold):
            truth = np.random.default_rng(3).normal(MASK + shift, stretch, 50_000)
            exceeded += (truth > found.lowest).mean() > 0.05
            seen += 1
    assert seen >= 100
    assert exceeded / 120 <= 0.05


def test_lower_scores_of_a_site_lower_its_threshold_below_the_vendors():
    limits = [vendor_limit(scores, 0.05, 0.95) for scores in vendor().attacks.values()]
    found = site_threshold(vendor(), site(4, shift=-3.0), 0.05)
    assert isinstance(found, SiteThreshold) and found.lowest < max(limits) - 1.5
    assert all(-4.0 < shift < -2.0 for shift in found.shift.values())


def test_a_species_that_was_not_shown_is_never_lowered_and_rises_with_the_people():
    only_print = {"species": ("print",)}
    lower = site_threshold(vendor(), site(5, shift=-3.0, **only_print), 0.05)
    limit = vendor_limit(vendor().attacks["mask"], 0.05, 0.99)
    assert isinstance(lower, SiteThreshold) and lower.not_shown == ("mask",)
    assert lower.lowest == lower.by_species["mask"] == limit
    higher = site_threshold(vendor(), site(5, shift=2.0, **only_print), 0.05)
    assert isinstance(higher, SiteThreshold) and higher.by_species["mask"] > limit + 1.5


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"count": 19}, "needs 20 site presentations"),
        ({"people": 29}, "needs 30 genuine site presentations; has 29"),
        ({"species": ()}, "no attack presentation: add 20"),
    ],
)
def test_too_little_of_a_site_is_refused(changed, words):
    found = site_threshold(vendor(), site(6, **changed), 0.05)
    assert isinstance(found, Shortfall) and words in found.reason


def test_a_species_the_vendor_has_not_and_too_few_of_the_vendors_are_refused():
    strange = ScoresByClass(site(7).bona_fide, {"puppet": site(7).attacks["mask"]})
    found = site_threshold(vendor(), strange, 0.05)
    assert isinstance(found, Shortfall) and "none of the vendor's species" in found.reason
    few = site_threshold(vendor(count=80), site(7), 0.05)
    assert isinstance(few, Shortfall) and "too few for a bound" in few.reason


def test_another_kind_of_attack_is_refused():
    other = site(8)
    other.attacks["mask"][:2] += 9.0
    found = site_threshold(vendor(), other, 0.05)
    assert isinstance(found, Shortfall) and "further out" in found.reason


def test_a_species_that_spreads_otherwise_is_refused():
    uneven = site(9)
    uneven.attacks["mask"][:] = MASK + 4.0 * (uneven.attacks["mask"] - MASK)
    found = site_threshold(vendor(), uneven, 0.05)
    assert isinstance(found, Shortfall) and "spread more" in found.reason


def test_the_sites_own_attacks_never_contradict_the_bound():
    for seed in range(30):
        shown = site(100 + seed)
        found = site_threshold(vendor(), shown, 0.05)
        if isinstance(found, SiteThreshold):
            for scores in shown.attacks.values():
                assert (scores > found.lowest).sum() <= 3  # P(X >= 4 of 20 at 5 %) < 5 %

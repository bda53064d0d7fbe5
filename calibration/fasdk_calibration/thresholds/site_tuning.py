"""Threshold for a site: the vendor's attacks, moved to where the site's few attacks lie.

Assumption, per PAI species: the site's scores (log-odds) are distributed as the vendor's, shifted
by an amount of the species' own and stretched by one factor of the site. Then with the mean m of
n site attacks, the pooled standard deviation s of all site attacks in units of the vendor's, and
any fixed q of the vendor's species, (q - m) / s has a distribution that depends on neither shift
nor stretch: it is pivotal, and m + K s with its quantile K is a tolerance limit (Krishnamoorthy
and Mathew, "Statistical Tolerance Regions", 2009). K is found by drawing site samples from the
vendor's scores. For q stands the upper confidence limit of the vendor's own quantile (Wilks, 1941),
so that two confidences are split: 99 % for q and 96 % for K make 95 % together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb, fsum
from typing import TYPE_CHECKING, Any

import numpy as np

from fasdk_calibration.thresholds.levels import Shortfall
from fasdk_calibration.thresholds.sample_size import attacks_allowed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

SITE_ATTACKS = 20
"""Least number of site presentations of a species."""
SITE_BONA_FIDE = 30
_VENDOR_RISK, _SITE_RISK = 0.01, 0.04
_MISFIT = 0.05  # probability with which a fitting site is refused
_DRAWS = 2_000
_CONTRADICTION = 0.05


@dataclass(frozen=True)
class ScoresByClass:
    """Scores of presentations, in log-odds.

    Attributes:
        bona_fide: float64 [N], of genuine people.
        attacks: float64 [N] of each PAI species.
    """

    bona_fide: Values
    attacks: Mapping[str, Values]


@dataclass(frozen=True)
class SiteThreshold:
    """A threshold for a site.

    Attributes:
        lowest: Least threshold that keeps every species within the bound, in log-odds.
        by_species: What each species asks for.
        shift: By how much each species' mean differs from the vendor's, in log-odds.
        stretch: Factor of the site's spread on the vendor's.
        not_shown: Species of the vendor that were not shown at the site; their vendor scores are
            moved up as far as the genuine people's may have moved, and never down.
    """

    lowest: float
    by_species: Mapping[str, float]
    shift: Mapping[str, float]
    stretch: float
    not_shown: tuple[str, ...]


def site_threshold(
    vendor: ScoresByClass, site: ScoresByClass, max_apcer: float, *, seed: int = 0
) -> SiteThreshold | Shortfall:
    """Return the least threshold for a site, or why its scores support none.

    Refused are a site with fewer than 20 presentations of a species that it shows, with fewer than
    30 genuine ones, with a species that the vendor has not, or with scores that do not fit the
    vendor's moved and stretched: a species whose highest score lies too far out, or whose spread
    differs from that of the others.

    Args:
        vendor: The vendor's development scores.
        site: The site's scores by the same graph and calibration.
        max_apcer: Largest one-sided 95 % upper bound of any species' APCER.
        seed: Seed of the draws; a threshold depends on nothing else.
    """
    refusal = _too_little(vendor, site, max_apcer)
    if refusal is not None:
        return refusal
    rng = np.random.default_rng(seed)
    shown = sorted(site.attacks)
    spread = {name: float(np.std(vendor.attacks[name])) for name in shown}
    drawn = {
        name: rng.choice(vendor.attacks[name], (_DRAWS, site.attacks[name].size)) for name in shown
    }
    stretch = _pooled({name: np.std(site.attacks[name]) for name in shown}, spread, site)
    stretches = _pooled({name: np.std(drawn[name], axis=1) for name in shown}, spread, site)
    misfit = _misfit(site, drawn, spread, stretch, stretches)
    if misfit is not None:
        return misfit
    asked: dict[str, float] = {}
    shift: dict[str, float] = {}
    for name in shown:
        scores, unit = site.attacks[name], spread[name]
        limit = vendor_limit(vendor.attacks[name], max_apcer, 1.0 - _VENDOR_RISK)
        assert limit is not None, "too few were refused"  # noqa: S101
        pivots = (limit - drawn[name].mean(axis=1)) / (stretches * unit)
        factor = float(np.quantile(pivots, 1.0 - _SITE_RISK))
        mean = float(scores.mean())
        # The site's own attacks may not contradict the bound.
        own = float(np.sort(scores)[::-1][_not_contradicting(scores.size, max_apcer)])
        asked[name] = max(mean + factor * float(stretch) * unit, own)
        shift[name] = mean - float(vendor.attacks[name].mean())
    not_shown = tuple(sorted(set(vendor.attacks) - set(shown)))
    upward = max(0.0, _shift_upper(vendor.bona_fide, site.bona_fide)) if not_shown else 0.0
    for name in not_shown:
        limit = vendor_limit(vendor.attacks[name], max_apcer, 1.0 - _VENDOR_RISK)
        assert limit is not None, "too few were refused"  # noqa: S101
        asked[name] = limit + upward
    return SiteThreshold(max(asked.values()), asked, shift, float(stretch), not_shown)


def vendor_limit(scores: Values, max_apcer: float, confidence: float) -> float | None:
    """Return the score that at most `max_apcer` of all such attacks exceed, with a confidence.

    Args:
        scores: float64 [N], of one species.
        max_apcer: Share of attacks.
        confidence: Confidence of the limit.

    Returns:
        None where the scores are too few.
    """
    allowed = attacks_allowed(scores.size, max_apcer, confidence)
    return None if allowed is None else float(np.sort(scores)[::-1][allowed])


def _too_little(vendor: ScoresByClass, site: ScoresByClass, max_apcer: float) -> Shortfall | None:
    if not site.attacks:
        return Shortfall(f"no attack presentation: add {SITE_ATTACKS} of each species")
    unknown = sorted(set(site.attacks) - set(vendor.attacks))
    if unknown:
        return Shortfall(
            f"{unknown[0]} is none of the vendor's species ({', '.join(sorted(vendor.attacks))}): "
            "name it as the vendor does, or tune on the site's captures alone"
        )
    attempts = {name: scores.size for name, scores in site.attacks.items()}
    if min(attempts.values()) < SITE_ATTACKS:
        return Shortfall.too_few(SITE_ATTACKS, attempts, unit="site presentations")
    if site.bona_fide.size < SITE_BONA_FIDE:
        return Shortfall(
            f"needs {SITE_BONA_FIDE} genuine site presentations; has {site.bona_fide.size}"
        )
    for name, scores in sorted(vendor.attacks.items()):
        if vendor_limit(scores, max_apcer, 1.0 - _VENDOR_RISK) is None:
            return Shortfall(
                f"the vendor's {scores.size} presentations of {name} are too few for a bound of "
                f"{max_apcer:g} that a site can borrow: tune on the site's captures alone"
            )
    return None


def _pooled(
    deviations: Mapping[str, Values | np.floating[Any]],
    spread: Mapping[str, float],
    site: ScoresByClass,
) -> Values:
    """Return the root mean square of deviations in units of the vendor's, over all attacks."""
    total = sum(site.attacks[name].size for name in deviations)
    squares = sum(
        site.attacks[name].size * (np.asarray(found) / spread[name]) ** 2
        for name, found in deviations.items()
    )
    return np.asarray(np.sqrt(squares / total))


def _misfit(
    site: ScoresByClass,
    drawn: Mapping[str, Values],
    spread: Mapping[str, float],
    stretch: Values,
    stretches: Values,
) -> Shortfall | None:
    """Return why the site's scores are not the vendor's moved and stretched, or None."""
    level = _MISFIT / (2 * len(drawn))
    for name, draws in drawn.items():
        scores = site.attacks[name]
        highest = (scores.max() - scores.mean()) / (stretch * spread[name])
        usual = (draws.max(axis=1) - draws.mean(axis=1)) / (stretches * spread[name])
        if _rank(usual, float(highest)) < level:
            return Shortfall(
                f"the site's {name} has a score further out than the vendor's would: it may be "
                "another kind of attack; tune on the site's captures alone"
            )
        wide = np.std(scores) / (stretch * spread[name])
        if _rank(np.std(draws, axis=1) / (stretches * spread[name]), float(wide)) < level:
            return Shortfall(
                f"the site's scores of {name} spread more than those of its other species: tune on "
                "the site's captures alone"
            )
    return None


def _rank(usual: Values, found: float) -> float:
    """Return the share of usual values that are at least as large."""
    return float(1 + np.count_nonzero(usual >= found)) / (1 + usual.size)


def _not_contradicting(attempts: int, max_apcer: float) -> int:
    """Return the most errors that are not unlikely where the rate is `max_apcer`."""
    errors = 0
    while not _covers(errors, attempts, max_apcer):
        errors += 1
    return errors


def _covers(errors: int, attempts: int, rate: float) -> bool:
    below = fsum(
        comb(attempts, k) * rate**k * (1.0 - rate) ** (attempts - k) for k in range(errors + 1)
    )
    return below >= 1.0 - _CONTRADICTION


def _shift_upper(vendor: Values, site: Values) -> float:
    """Return an upper 95 % confidence limit of how far the genuine people's median moved up."""
    return _median_limit(site, upper=True) - _median_limit(vendor, upper=False)


def _median_limit(values: Values, *, upper: bool) -> float:
    """Return a one-sided 97.5 % confidence limit of the median, an order statistic."""
    ordered = np.sort(values)[:: -1 if upper else 1]
    return float(ordered[attacks_allowed(values.size, 0.5, 0.975) or 0])

"""Re-tuning for a site by simulation: is the APCER bound exceeded, and does BPCER improve.

    python tools/bench/site_retuning.py --sites 1000

draws for each site a vendor's development scores (3 species of 300 attacks, of normal, Student and
skewed log-odds, and genuine people), what the site does to them, and the site's own 20 attacks of
each species and 60 genuine presentations. The threshold of `site_threshold` is then held against
the site's true distributions, as is the vendor's own. Scenarios: what a site does differs at
random ("mixed"), nothing ("same"), every score is lower ("lower"), one species decides alone
("alone"), the stretch differs by species, which the assumption excludes ("uneven"), and a tenth of
the site's attacks are of another, better kind ("other kind"), which it excludes too. Prints one
JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasdk_calibration.thresholds.levels import Shortfall
from fasdk_calibration.thresholds.site_tuning import ScoresByClass, site_threshold, vendor_limit

Values = NDArray[np.float64]
MAX_APCER = 0.05
VENDOR_ATTACKS, SITE_ATTACKS, BONA_FIDE = 300, 20, 60
_TRUTH = 200_000  # draws that stand for a distribution
_PEOPLE_MEAN, _PEOPLE_SPREAD = 3.0, 1.6
_BETTER = 4.0  # how much higher another kind of attack scores, in spreads
_SHAPES: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "print": lambda rng, n: rng.normal(0.0, 1.0, n),
    "screen": lambda rng, n: rng.standard_t(6, n) * 0.9,
    "mask": lambda rng, n: rng.gamma(6.0, 1 / np.sqrt(6.0), n) - np.sqrt(6.0),
}


@dataclass(frozen=True)
class Scenario:
    """What sites do to scores.

    Attributes:
        shift: Mean of the common shift, in log-odds.
        shift_spread: Its standard deviation.
        species_spread: Standard deviation of each species' own shift.
        stretch_spread: Standard deviation of the logarithm of the site's stretch.
        uneven_spread: The same of each species' own stretch.
        other_kind: Share of the site's attacks that score much higher.
        means: Means of the vendor's species.
    """

    shift: float = 0.0
    shift_spread: float = 0.0
    species_spread: float = 0.0
    stretch_spread: float = 0.0
    uneven_spread: float = 0.0
    other_kind: float = 0.0
    means: tuple[float, float, float] = (-3.5, -3.0, -2.5)


SCENARIOS = {
    "mixed": Scenario(shift_spread=1.0, species_spread=0.3, stretch_spread=0.2),
    "same": Scenario(),
    "lower": Scenario(shift=-2.0, species_spread=0.3, stretch_spread=0.1),
    "alone": Scenario(shift_spread=1.0, stretch_spread=0.2, means=(-9.0, -9.0, -2.5)),
    "uneven": Scenario(
        shift_spread=1.0, species_spread=0.3, stretch_spread=0.2, uneven_spread=0.15
    ),
    "other kind": Scenario(shift_spread=1.0, species_spread=0.3, other_kind=0.1),
}


@dataclass(frozen=True)
class SiteFigures:
    """Truth of one site.

    Attributes:
        was_refused: Whether `site_threshold` refused.
        exceeds: Whether a species' true APCER is above the bound at the site's threshold.
        vendor_exceeds: The same at the vendor's.
        bpcer: True BPCER at the site's threshold; NaN where refused.
        vendor_bpcer: The same at the vendor's.
    """

    was_refused: bool
    exceeds: bool
    vendor_exceeds: bool
    bpcer: float
    vendor_bpcer: float


def simulate(scenario: Scenario, number: int, truth: dict[str, Values]) -> SiteFigures:
    """Return the truth of one site.

    Args:
        scenario: What sites do to scores.
        number: Number of the site, which seeds it.
        truth: Sorted draws of each species' shape.
    """
    rng = np.random.default_rng([17, number])
    means = dict(zip(_SHAPES, scenario.means, strict=True))
    vendor = ScoresByClass(
        rng.normal(_PEOPLE_MEAN, _PEOPLE_SPREAD, 1_000),
        {name: means[name] + shape(rng, VENDOR_ATTACKS) for name, shape in _SHAPES.items()},
    )
    shift = scenario.shift + rng.normal(0.0, scenario.shift_spread)
    common = np.exp(rng.normal(0.0, scenario.stretch_spread))
    where, stretch, attacks = {}, {}, {}
    for name, shape in _SHAPES.items():
        where[name] = means[name] + shift + rng.normal(0.0, scenario.species_spread)
        stretch[name] = common * np.exp(rng.normal(0.0, scenario.uneven_spread))
        better = _BETTER * (rng.random(SITE_ATTACKS) < scenario.other_kind)
        attacks[name] = where[name] + stretch[name] * (shape(rng, SITE_ATTACKS) + better)
    people = rng.normal(_PEOPLE_MEAN + shift, _PEOPLE_SPREAD, BONA_FIDE)
    limits = [vendor_limit(scores, MAX_APCER, 0.95) for scores in vendor.attacks.values()]
    vendor_threshold = max(limit for limit in limits if limit is not None)

    def apcer(threshold: float) -> float:
        rates = []
        for name, ordered in truth.items():
            at = (threshold - where[name]) / stretch[name]
            usual, better = (
                1.0 - np.searchsorted(ordered, x) / ordered.size for x in (at, at - _BETTER)
            )
            rates.append((1 - scenario.other_kind) * usual + scenario.other_kind * better)
        return float(max(rates))

    others = np.random.default_rng(number).normal(_PEOPLE_MEAN + shift, _PEOPLE_SPREAD, 20_000)
    found = site_threshold(vendor, ScoresByClass(people, attacks), MAX_APCER)
    refused = isinstance(found, Shortfall)
    threshold = np.nan if isinstance(found, Shortfall) else found.lowest
    return SiteFigures(
        refused,
        not refused and apcer(threshold) > MAX_APCER,
        apcer(vendor_threshold) > MAX_APCER,
        np.nan if refused else float((others <= threshold).mean()),
        float((others <= vendor_threshold).mean()),
    )


def figures(scenario: Scenario, sites: int, truth: dict[str, Values]) -> dict[str, Any]:
    """Return what became of many sites: shares of them, and mean error rates."""
    found = [simulate(scenario, number, truth) for number in range(sites)]
    kept = [each for each in found if not each.was_refused]
    return {
        "sites": sites,
        "refused": sum(each.was_refused for each in found) / sites,
        "bound_exceeded": sum(each.exceeds for each in found) / sites,
        "bound_exceeded_by_vendor_threshold": sum(e.vendor_exceeds for e in found) / sites,
        "bpcer": float(np.mean([each.bpcer for each in kept])),
        "bpcer_at_vendor_threshold": float(np.mean([each.vendor_bpcer for each in kept])),
        "bpcer_improved": sum(each.bpcer < each.vendor_bpcer for each in kept) / len(kept),
    }


def main() -> None:
    """Print the figures of every scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=1_000)
    sites = parser.parse_args().sites
    rng = np.random.default_rng(1)
    truth = {name: np.sort(shape(rng, _TRUTH)) for name, shape in _SHAPES.items()}
    print(
        json.dumps(
            {
                "bench": "site_retuning",
                "max_apcer": MAX_APCER,
                "vendor_attacks": VENDOR_ATTACKS,
                "site_attacks": SITE_ATTACKS,
                "scenarios": {
                    name: figures(scenario, sites, truth) for name, scenario in SCENARIOS.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()

"""Number of attack presentations that an APCER bound needs, and of errors it allows.

All bounds are one-sided 95 % Clopper-Pearson bounds of a binomial proportion.
"""

from __future__ import annotations

from fasdk_calibration.metrics import binomial_supports, binomial_upper


def attacks_needed(max_apcer: float) -> int:
    """Return how many attacks of a species support `max_apcer` if none of them is accepted.

    The least n with 1 - 0.05 ** (1 / n) <= max_apcer.
    """
    needed = 1
    while binomial_upper(0, needed) > max_apcer:
        needed *= 2
    low = needed // 2
    while needed - low > 1:
        middle = (low + needed) // 2
        low, needed = (middle, needed) if binomial_upper(0, middle) > max_apcer else (low, middle)
    return needed


def attacks_allowed(attempts: int, max_apcer: float) -> int | None:
    """Return how many of `attempts` attacks may be accepted within a bound; None if not even 0."""
    if attempts < 1 or not binomial_supports(0, attempts, max_apcer):
        return None
    # Doubling first: few are allowed as a rule, and the bound of many takes long to sum.
    low, high = 0, 1
    while high < attempts and binomial_supports(high, attempts, max_apcer):
        low, high = high, min(2 * high, attempts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if binomial_supports(middle, attempts, max_apcer) else (low, middle)
        )
    return low

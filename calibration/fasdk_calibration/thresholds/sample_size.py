"""Number of attack presentations that an APCER bound needs, and of errors it allows.

All bounds are one-sided Clopper-Pearson bounds of a binomial proportion, of 95 % unless said.
"""

from __future__ import annotations

from fasdk_calibration.metrics import binomial_supports
from fasdk_calibration.metrics.bounds import CONFIDENCE


def attacks_needed(max_apcer: float) -> int:
    """Return how many attacks of a species support `max_apcer` if none of them is accepted.

    The least n with 1 - 0.05 ** (1 / n) <= max_apcer.
    """
    return attempts_needed(0, max_apcer)


def attempts_needed(errors: int, max_rate: float) -> int:
    """Return how many presentations support a rate if `errors` of them are classified wrongly.

    The least n whose one-sided bound of `errors` among n is at most `max_rate`.

    Args:
        errors: Number of presentations classified wrongly, at least 0.
        max_rate: Rate to support, in (0, 1).
    """
    low, needed = errors, errors + 1
    while not binomial_supports(errors, needed, max_rate):
        low, needed = needed, 2 * needed
    while needed - low > 1:
        middle = (low + needed) // 2
        low, needed = (
            (low, middle) if binomial_supports(errors, middle, max_rate) else (middle, needed)
        )
    return needed


def attacks_allowed(attempts: int, max_apcer: float, confidence: float = CONFIDENCE) -> int | None:
    """Return how many of `attempts` attacks may be accepted within a bound; None if not even 0."""
    if attempts < 1 or not binomial_supports(0, attempts, max_apcer, confidence):
        return None
    # Doubling first: few are allowed as a rule, and the bound of many takes long to sum.
    low, high = 0, 1
    while high < attempts and binomial_supports(high, attempts, max_apcer, confidence):
        low, high = high, min(2 * high, attempts)
    while high - low > 1:
        middle = (low + high) // 2
        is_supported = binomial_supports(middle, attempts, max_apcer, confidence)
        low, high = (middle, high) if is_supported else (low, middle)
    return low

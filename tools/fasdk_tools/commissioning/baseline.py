"""Baseline of a site from the groups of captures that were seen while nothing was wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasdk.site.baseline import Baseline, Event, Side
from fasdk.site.groups import CODES
from fasdk_calibration.metrics import binomial_upper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fasdk.site.groups import Group

RISK = 0.01
"""Probability that any bound of a baseline is too low."""
_TAIL = 0.1  # share of the groups beyond each limit of a value
_FEWEST = 15  # groups that have a value
_ONE_SIDED = {
    "latency_ms": (Side.HIGH,),
    "depth_holes": (Side.HIGH,),
    "sharpness": (Side.LOW,),
    "ir_sharpness": (Side.LOW,),
    "agreement": (Side.LOW,),
}


def baseline_of(groups: Sequence[Group]) -> Baseline | None:
    """Return the baseline of groups that are independent of each other; None of fewer than 15.

    The limit of a value is its k-th smallest or largest, of which a tenth lie beyond. The share of
    all groups strictly beyond it is at most the Clopper-Pearson bound of k - 1 among n, whatever
    the distribution (Wilks, "Determination of sample sizes for setting tolerance limits", 1941).

    Args:
        groups: Groups of captures that were seen while nothing was wrong.
    """
    if len(groups) < _FEWEST:
        return None
    names = sorted({name for group in groups for name in group.values})
    columns = {
        name: sorted(group.values[name] for group in groups if name in group.values)
        for name in names
    }
    watched = [
        (name, side) for name in names if len(columns[name]) >= _FEWEST for side in _sides(name)
    ]
    tests = len(watched) + len(CODES)
    confidence = 1.0 - RISK / tests
    events = []
    for name, side in watched:
        values = columns[name]
        rank = max(1, int(len(values) * _TAIL))
        limit = values[rank - 1] if side is Side.LOW else values[-rank]
        bound = binomial_upper(rank - 1, len(values), confidence)
        events.append(Event(name=name, side=side, limit=limit, bound=bound))
    for code in CODES:
        count = sum(code in group.codes for group in groups)
        bound = binomial_upper(count, len(groups), confidence)
        if bound < 1.0:
            events.append(Event(name=code.value, bound=bound))
    return Baseline(groups=len(groups), risk=RISK, events=tuple(events))


def _sides(name: str) -> tuple[Side, ...]:
    return (Side.LOW,) if name.startswith("reliability.") else _ONE_SIDED.get(name, tuple(Side))

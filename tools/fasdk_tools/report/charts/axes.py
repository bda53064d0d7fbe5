"""Scales of a chart's axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()
_FAR = 50.0  # ratio of the largest to the least value that a linear axis still shows


@dataclass(frozen=True)
class Tick:
    """A value on an axis and the words beside it."""

    value: float
    text: str


@dataclass(frozen=True)
class Scale:
    """Scale of an axis; values outside are drawn at its end.

    Attributes:
        low: Value at the start of the axis.
        high: Value at the end of the axis.
        ticks: Labels along the axis.
        warp: Monotone function after which values are equally spaced.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]
    warp: Callable[[float], float] = float

    def place(self, value: float) -> float:
        """Return where a value lies between the axis' ends, in [0, 1]."""
        low, high = self.warp(self.low), self.warp(self.high)
        clipped = min(max(value, self.low), self.high)
        return (self.warp(clipped) - low) / (high - low)


def linear_percent() -> Scale:
    """Return a scale of shares from 0 to 1, written in per cent."""
    return Scale(0.0, 1.0, tuple(Tick(v / 100, f"{v} %") for v in (0, 20, 40, 60, 80, 100)))


def share_percent(largest: float) -> Scale:
    """Return a scale of shares from 0 to somewhat above the largest, written in per cent."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if largest <= 5 * s), 0.25)
    count = max(1, math.ceil(largest / step - 1e-9))
    return Scale(
        0.0,
        count * step,
        tuple(Tick(i * step, f"{100 * i * step:.0f} %") for i in range(count + 1)),
    )


def normal_deviate(smallest: float) -> Scale:
    """Return the scale of a DET curve (Martin et al., Eurospeech 1997), up to 60 %.

    Args:
        smallest: The least share above 0 that the curve holds.
    """
    marks = (0.0001, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
    low = max((mark for mark in marks[:-2] if mark <= smallest), default=marks[0])
    ticks = tuple(Tick(m, f"{100 * m:g} %") for m in marks if m >= low)
    return Scale(low, 0.6, ticks, _NORMAL.inv_cdf)


def log_odds_scale(limit: float) -> Scale:
    """Return a scale of probabilities spaced by their log-odds, from -limit to limit."""
    every = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
    marks = every if limit < 5 else every[::2]  # no two labels may touch
    low, high = logistic(-limit), logistic(limit)
    return Scale(low, high, tuple(Tick(m, f"{m:g}") for m in marks if low < m < high), logit)


def logistic(value: float) -> float:
    """Return the probability of some log-odds."""
    return 1.0 / (1.0 + math.exp(-value))


def logit(probability: float) -> float:
    """Return a probability's log-odds; 0 and 1 give those of the nearest float inside."""
    inside = min(max(probability, 5e-324), 1.0 - 2.0**-53)
    return math.log(inside) - math.log1p(-inside)


def linear(low: float, high: float) -> Scale:
    """Return a scale of whole steps of 1, 2 or 5 times a power of ten around two values."""
    apart = high - low > 1e-6 * abs(high)
    step = _step((high - low if apart else max(1.0, abs(high))) / 5)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    end = max(end, start + 1)
    ticks = tuple(Tick(i * step, number(i * step)) for i in range(start, end + 1))
    return Scale(start * step, end * step, ticks)


def spanning(low: float, high: float) -> Scale:
    """Return a linear scale that ends at two values, with whole steps between them."""
    whole = linear(low, high)
    ticks = tuple(t for t in whole.ticks if low - 1e-9 <= t.value <= high + 1e-9)
    return Scale(low, high, ticks) if len(ticks) > 1 else whole


def logarithmic(low: float, high: float) -> Scale:
    """Return a scale spaced by the logarithm, from below one value above 0 to above another."""
    marks = [
        mantissa * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        for mantissa in (1, 2, 5)
    ]
    start = max(mark for mark in marks if mark <= low * (1 + 1e-9))
    end = min(mark for mark in marks if mark >= high * (1 - 1e-9) and mark > start)
    inside = [mark for mark in marks if start <= mark <= end]
    powers = [mark for mark in inside if math.isclose(mark, 10.0 ** round(math.log10(mark)))]
    shown = inside if len(inside) <= 8 else powers  # no two labels may touch
    return Scale(start, end, tuple(Tick(m, number(m)) for m in shown), math.log)


def fitting(values: Sequence[float]) -> Scale:
    """Return the scale of some values: linear from 0 on, or logarithmic where they reach far.

    Args:
        values: At least one, finite.
    """
    low, high = min(values), max(values)
    if low > 0 and high / low > _FAR:
        return logarithmic(low, high)
    return linear(min(0.0, low), high)


def number(value: float) -> str:
    """Return a number beside a tick, thousands as k."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.6g}"


def _step(least: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is not below a value."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))

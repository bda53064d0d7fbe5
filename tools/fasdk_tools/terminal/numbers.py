"""Quantities as text: counts, sizes, operations, shares and durations."""

from __future__ import annotations

import math

from fasdk.plain_text import plain_line

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_value(value: object) -> str:
    """Return a value of a table cell or field as text; None is "-"."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case float():
            text = format_number(value)
        case list() | tuple():
            text = ", ".join(map(format_value, value)) or "-"
        case dict():
            text = ", ".join(f"{key} {format_value(item)}" for key, item in value.items()) or "-"
        case _:
            text = str(value)
    return plain_line(text)


def format_number(value: float) -> str:
    """Return a number with four significant digits, three where it is below 0.01."""
    return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.4g}"


def format_count(count: float) -> str:
    """Return a count with two significant digits and a prefix, such as "88 M" or "9.4 k"."""
    return _scaled(count).rstrip()


def format_bytes(size_bytes: int) -> str:
    """Return a size with two significant digits, such as "1.2 MB"; 1 kB is 1,000 bytes."""
    return f"{_scaled(size_bytes)}B"


def format_flops(operations: float) -> str:
    """Return floating-point operations of one call, such as "101 GFLOP"."""
    return f"{_scaled(operations)}FLOP"


def format_share(share: float | None) -> str:
    """Return a share in [0, 1] in per cent with two decimals, such as "4.95 %"; None is "-"."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.2f} %"


def format_interval(lower: float, upper: float) -> str:
    """Return the bounds of a share in [0, 1] in per cent, such as "1.20 to 4.95 %"."""
    return f"{100 * lower:.2f} to {100 * upper:.2f} %"


def format_ms(milliseconds: float) -> str:
    """Return a duration in milliseconds with three significant digits, such as "12.3 ms"."""
    if milliseconds >= 100:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 10 else f"{milliseconds:.2f} ms"


def count_of(count: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun, such as "1 capture" or "8 captures"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def _scaled(value: float) -> str:
    """Return a value and its SI prefix, separated by a space."""
    for scale, prefix in _PREFIXES:
        scaled = value / scale
        if scaled >= 0.9995:  # 999.6 k is 1.0 M
            return f"{scaled:.0f} {prefix}" if scaled >= 9.95 else f"{scaled:.1f} {prefix}"
    return f"{value:.0f} " if value == int(value) else f"{value:.2g} "

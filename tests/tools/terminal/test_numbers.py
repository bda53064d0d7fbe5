"""Quantities as text."""

from __future__ import annotations

import pytest

from fasdk_tools.terminal.numbers import (
    count_of,
    format_bytes,
    format_count,
    format_flops,
    format_interval,
    format_ms,
    format_share,
    format_value,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0 k"),
        (9_400, "9.4 k"),
        (419_000, "419 k"),
        (999_400, "999 k"),
        (999_600, "1.0 M"),
        (88_252_034, "88 M"),
        (1_240_000_000, "1.2 G"),
    ],
)
def test_counts_have_two_significant_digits_and_a_prefix(count, text):
    assert format_count(count) == text


def test_sizes_and_operations_carry_their_unit():
    assert format_bytes(512) == "512 B"
    assert format_bytes(84_913) == "85 kB"
    assert format_bytes(1_234_567) == "1.2 MB"
    assert format_flops(101.3e9) == "101 GFLOP"
    assert format_flops(11.68e6) == "12 MFLOP"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (88_252_034, "88,252,034"),
        (0.00123456, "0.00123"),
        (0.98765, "0.9877"),
        ([], "-"),
        (("rgb", "ir"), "rgb, ir"),
        ({"attack": 0.25, "live": 0.75}, "attack 0.25, live 0.75"),
    ],
)
def test_values_of_cells_and_fields(value, text):
    assert format_value(value) == text


def test_shares_are_per_cent_and_no_number_is_a_dash():
    assert format_share(0.0495) == "4.95 %"
    assert format_share(None) == format_share(float("nan")) == "-"
    assert format_interval(0.012, 0.0495) == "1.20 to 4.95 %"


def test_durations_and_counted_nouns():
    assert [format_ms(value) for value in (1.234, 12.34, 123.4)] == ["1.23 ms", "12.3 ms", "123 ms"]
    assert count_of(1, "capture") == "1 capture"
    assert count_of(1_200, "capture") == "1,200 captures"
    assert count_of(2, "query", "queries") == "2 queries"

"""Rows or presentations, and thresholds that a protocol states itself."""

from __future__ import annotations

import json

import pytest

from support.bright_captures import mixed, tiny_bundle, write_list


@pytest.fixture
def words(tmp_path):
    """An evaluation of a list that holds every capture twice, as one presentation."""
    bundle = tiny_bundle.write(tmp_path / "lobby.fasb")
    rows = mixed()
    listing = write_list(
        tmp_path, [*rows, *(line | {"id": f"again-{line['id']}"} for line in rows)]
    )
    return ("evaluate", bundle, "--protocol", listing, "--threads", 1)


def test_rows_are_counted_on_request_and_the_protocols_threshold_is_one_more(fasdk, words):
    fused = json.loads(fasdk(*words, "--json").stdout)
    single = json.loads(fasdk(*words, "--by", "rows", "--threshold", 0.25, "--json").stdout)
    assert (fused["unit"], single["unit"]) == ("presentation", "row")
    (by_presentation,), (by_row,) = fused["cases"], single["cases"]
    assert by_row["figures"]["attacks"] == 2 * by_presentation["figures"]["attacks"] == 50
    assert by_row["figures"]["presentations"] == by_presentation["figures"]["presentations"] == 45
    assert [t["kind"] for t in by_row["figures"]["thresholds"]] == ["operating point", "fixed"]
    assert any("ISO/IEC 30107-3 does not" in line for line in single["limits"])
    shown = fasdk(*words, "--by", "rows").stdout
    assert "unit         row" in shown and "rows" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by", "frames"), "--by 'frames': choose one of presentations, rows"),
        (("--threshold", 2), "--threshold 2.0: scores lie in 0 to 1"),
        (("--by", "rows", "--report", "x.html"), "--report draws presentations: leave it out"),
    ],
)
def test_what_cannot_be_counted_is_refused(fasdk, words, options, message):
    ran = fasdk(*words, *options)
    assert ran.status == 2 and len(ran.error_lines) == 1
    assert message in ran.error_lines[0]

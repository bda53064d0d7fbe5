"""Tables at any width: no broken word, no cut line."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fasdk_tools.terminal.output import (
    print_answer,
    print_fields,
    print_notes,
    print_rows,
    terminal_width,
)
from fasdk_tools.terminal.tables import Column, wrap

WORDS = st.text(st.sampled_from("abcdefgh-./+_[]%é顔"), min_size=1, max_size=30)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


@st.composite
def tables(draw):
    columns = draw(st.integers(1, 7))
    header = [
        Column(
            draw(TEXTS), wide=draw(st.booleans()) and number > 0, below=number == columns - 1 > 0
        )
        for number in range(columns)
    ]
    rows = draw(st.lists(st.lists(TEXTS, min_size=columns, max_size=columns), max_size=4))
    return header, rows


@pytest.fixture
def printed(capsys, monkeypatch):
    """Return the lines a print function writes to a terminal of a width."""

    def lines_of(width, function, *arguments, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        function(*arguments, **options)
        return capsys.readouterr().out.splitlines()

    return lines_of


def lines_at(width, function, *arguments, **options):
    """Return what a print function writes; for tests whose fixtures may not change an example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        from fasdk_tools.terminal import output

        with output._STDOUT.capture() as captured:
            function(*arguments, **options)
    return captured.get().splitlines()


def longest_word(texts):
    return max(cell_len(word) for text in texts for word in text.split())


@given(table=tables(), width=st.sampled_from([40, 80, 120]), wide=st.booleans())
def test_every_word_of_a_table_is_whole_and_every_line_fits(table, width, wide):
    header, rows = table
    lines = lines_at(width, print_rows, "", header, rows, wide=wide)
    shown = [i for i, column in enumerate(header) if wide or not column.wide]
    texts = [header[i].name for i in shown] + [row[i] for row in rows for i in shown]
    found = Counter(word for line in lines for word in line.split())
    # A label is followed by a colon or comma where its row is named below the table.
    bare = Counter()
    for word, count in found.items():
        bare[word] += count
        bare[word.rstrip(":,")] += count
    if rows:
        assert {word for text in texts for word in text.split()} <= set(bare)
    limit = max(width, longest_word(texts) + 8)
    assert all(cell_len(line.rstrip()) <= limit for line in lines)
    assert not any("…" in line for line in lines)


@given(
    fields=st.dictionaries(WORDS, TEXTS, min_size=1, max_size=5),
    width=st.sampled_from([40, 80, 120]),
)
def test_every_word_of_a_field_is_whole_and_every_line_fits(fields, width):
    lines = lines_at(width, print_fields, "", fields)
    words = [word for line in lines for word in line.split()]
    expected = [word for name, text in fields.items() for word in f"{name} {text}".split()]
    assert words == expected
    limit = max(width, longest_word([*fields, *fields.values()]) + 4)
    assert all(cell_len(line) <= limit for line in lines)


def test_a_column_without_room_becomes_lines_below_the_table(printed):
    rows = [("mmdg", "a" * 40), ("mmda", "b" * 40)]
    lines = printed(40, print_rows, "", ("model", "digest"), rows)
    assert [line.strip() for line in lines] == [
        *("model", "─────", "mmdg", "mmda"),
        *("digest", "mmdg:", "a" * 40, "mmda:", "b" * 40),
    ]


def test_rows_that_share_a_long_text_name_it_once(printed):
    header = (
        Column("model", label=True),
        Column("config", label=True),
        Column("paper", below=True),
    )
    rows = [("mmdg", "full", "Lin et al."), ("mmdg", "tiny", "Lin et al.")]
    lines = printed(80, print_rows, "", header, rows)
    assert lines[-1].strip() == "mmdg full, mmdg tiny: Lin et al."


def test_wide_columns_are_shown_when_asked_for(printed):
    header, rows = ("model", Column("deployed", wide=True)), [("mmdg", 88)]
    assert "deployed" not in "".join(printed(80, print_rows, "", header, rows))
    assert "deployed" in "".join(printed(80, print_rows, "", header, rows, wide=True))


def test_numbers_with_units_are_aligned_to_the_right(printed):
    lines = printed(
        80, print_rows, "", ("model", "size"), [("a", "1.2 MB"), ("b", "85 kB"), ("c", None)]
    )
    assert [line.rstrip() for line in lines[2:]] == [
        "  a      1.2 MB",
        "  b       85 kB",
        "  c           -",
    ]


def test_a_short_quantity_is_never_separated_from_its_unit(printed):
    header = ("what", "cost")
    lines = printed(30, print_rows, "", header, [("a text of many words, long", "101 GFLOP")])
    assert any("101 GFLOP" in line for line in lines)


def test_answers_and_notes_are_wrapped_with_a_hanging_indent(printed):
    text = "word " * 30
    answer = printed(40, print_answer, text)
    assert not answer[0].startswith(" ") and all(line.startswith("  w") for line in answer[1:])
    notes = printed(40, print_notes, [text])
    assert (
        notes[:2] == ["", "Notes"] and notes[2].startswith("  w") and notes[3].startswith("    w")
    )
    assert printed(40, print_notes, []) == []


def test_markup_in_values_is_printed_as_it_is(printed):
    assert printed(80, print_fields, "", {"name": "[bold]x[/bold]"}) == ["  name  [bold]x[/bold]"]


def test_a_line_feed_in_a_text_forges_no_line(printed):
    forged = "print\nlive"
    assert wrap(forged, 40) == [r"print\nlive"]
    assert printed(40, print_answer, forged) == [r"print\nlive"]
    assert printed(40, print_fields, "", {forged: forged}) == [r"  print\nlive  print\nlive"]
    assert printed(40, print_notes, [forged])[2:] == [r"  print\nlive"]


@pytest.mark.parametrize("text", ["print\nlive", "print\x1b[2J", "print\tflat", "a\u202eb", "a\rb"])
def test_control_characters_break_no_cell(printed, text):
    rows = [[text, "0.1", "x"], ["mask", "0.2", "y"]]
    _, _, *lines = printed(80, print_rows, "", ["species", f"{text} rate", text], rows)
    assert len(lines) == 2
    assert lines[0].index("0.1") == lines[1].index("0.2")
    assert lines[0].rindex("x") == lines[1].rindex("y")


def test_the_width_is_that_of_the_terminal_and_80_without_one(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert terminal_width() == 120
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("sys.__stdout__", None)
    assert terminal_width() == 80

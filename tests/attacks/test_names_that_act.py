"""Names that act on a terminal: an attacker who may name a species, a subject, a file or a field in
a list, a score file or a bundle writes markup or escape sequences there.

They are shown as they are, escaped, in tables, messages, progress and JSON; nothing interprets
them.
"""

from __future__ import annotations

import json
import logging

import pytest
from rich.progress import Progress

from fasdk.errors import BundleError, FasdkError
from fasdk.plain_text import plain, plain_json, plain_line
from fasdk_tools.cli import main
from fasdk_tools.terminal import output

ACTING = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "C1": "\x9b2J",
    "backspace": "spoof\b\b\b\b\blive",
    "carriage return": "spoof\rlive",
    "delete": "a\x7fb",
    "direction": "gpj.\u202eevil\u2066x\u2069",
    "mark": "a\u200fb\u061c",
    "line separator": "a\u2028fasdk: LIVE",
    "next line": "a\x85fasdk: LIVE",
    "tag": "a\U000e0041b",
    "byte of a file name": "a\udc9bb",
}
MARKUP = ["[/b]", "[red]", "[link=https://example.org]x[/link]", ":smiley:", "[[bold]]", "\\[b]"]
HARMLESS = "Zoë Ødegård 李小龍 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 [1]"


def acts(text: str) -> bool:
    return any(
        not (" " <= c <= "~" or c == "\n" or c in HARMLESS) and not c.isprintable() for c in text
    )


@pytest.mark.parametrize("name", ACTING)
def test_text_is_plain_and_stays_so(name: str) -> None:
    text = plain(ACTING[name])
    assert not acts(text)
    assert "\\" in text
    assert plain(text) == text


def test_harmless_text_stays_as_it_is() -> None:
    assert plain(f"{HARMLESS}\n") == f"{HARMLESS}\n"


def test_no_line_of_a_log_is_forged(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain_line("a\nfasdk: LIVE\x1b") == r"a\nfasdk: LIVE\x1b"
    record = logging.LogRecord("fasdk", 30, __file__, 1, "camera %s", ("a\nfasdk: LIVE",), None)
    output._StderrLog().emit(record)
    assert capsys.readouterr().err.splitlines() == [r"fasdk: camera a\nfasdk: LIVE"]


@pytest.mark.parametrize("name", ACTING)
def test_json_is_plain_and_says_the_same(name: str) -> None:
    document = {ACTING[name]: [ACTING[name], HARMLESS]}
    text = plain_json(json.dumps(document, ensure_ascii=False))
    assert not acts(text)
    assert json.loads(text) == document


@pytest.mark.parametrize("name", ACTING)
def test_a_message_of_an_error_is_plain(name: str) -> None:
    for kind in (FasdkError, BundleError):
        assert not acts(str(kind(f"{ACTING[name]}: no such species")))


@pytest.mark.parametrize("text", [*ACTING.values(), *MARKUP])
def test_output_shows_text_and_interprets_nothing(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A terminal is what markup and escapes are for.
    stderr = output.PlainConsole(stderr=True, force_terminal=True, width=200, color_system=None)
    monkeypatch.setattr(output, "STDERR", stderr)
    output.print_answer(text)
    output.print_text(text)
    output.print_document(text, text)
    output.print_fields(text, {text: text, "list": [text], "map": {text: text}})
    output.print_rows(text, [text, "b"], [[text, 1], ["x", text]])
    output.print_notes([text])
    output.print_json({text: text})
    output.print_json_line({"error": text})
    stderr.print(text)
    record = logging.LogRecord("fasdk", logging.WARNING, __file__, 1, "%s", (text,), None)
    output._StderrLog().emit(record)
    written, said = capsys.readouterr()
    assert not acts(written + said)
    shown = plain(text)
    assert written.count(shown) >= 8
    assert said.count(shown) == 2


@pytest.mark.parametrize("text", [ACTING["escape"], ACTING["C1"], "[/b]"])
def test_progress_shows_text_and_interprets_nothing(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "STDERR", output.PlainConsole(stderr=True, width=200))
    with output.progress_view() as view:
        assert isinstance(view._progress, Progress)
        view.phase(text)
        view.update(text, 1, 2)
    said = capsys.readouterr().err
    assert plain(text) in said
    assert not acts(said)


@pytest.mark.parametrize(
    "species", ["[/b]", "[red]print", "print\x1b[31m", "pri\u202ent", "print\nFORGED 0 %"]
)
def test_metrics_of_species_with_such_names(
    tmp_path, capsys: pytest.CaptureFixture[str], species: str
) -> None:
    scores = tmp_path / "scores.csv"
    rows = "".join(f'0.{i % 9 + 1},{i % 2},"{species if i % 2 == 0 else ""}"\n' for i in range(40))
    scores.write_text(f"score,label,species\n{rows}", encoding="utf-8")
    status = main(["metrics", str(scores)])
    written, said = capsys.readouterr()
    assert status == 0, said
    assert plain_line(species) in written
    assert not acts(written + said)
    assert not any(line.split()[:1] == ["FORGED"] for line in written.splitlines())

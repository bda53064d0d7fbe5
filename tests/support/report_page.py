"""Reports of made-up captures, parsed with the standard library."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from fasdk_tools import cli

from support.bright_captures import mixed, tiny_bundle, write_list

VOID = {"meta", "link", "img", "br"}


@dataclass
class Element:
    """One element: its name, attributes, the text inside, and what it stands in."""

    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str, css_class: str | None = None) -> list[Element]:
        """Return every element of that name below this one, in document order."""
        found = []
        for child in self.children:
            classes = (child.attributes.get("class") or "").split()
            if child.tag == tag and (css_class is None or css_class in classes):
                found.append(child)
            found += child.find(tag, css_class)
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("document", {}, None)
        self._open = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self._open)
        self._open.children.append(element)
        if tag not in VOID:
            self._open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.children.append(Element(tag, dict(attrs), self._open))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.tag == tag, f"</{tag}> closes <{self._open.tag}>"
        assert self._open.parent is not None
        self._open = self._open.parent

    def handle_data(self, data: str) -> None:
        element: Element | None = self._open
        while element is not None:
            element.text += data
            element = element.parent


def parse(page: str) -> Element:
    """Return a page's elements; every tag must be closed by its own."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert parser._open is parser.root
    return parser.root


def embedded(page: Element, name: str = "evaluation") -> dict:
    """Return the JSON document inside a page."""
    (script,) = page.find("script")
    assert script.attributes == {"type": "application/json", "id": name}
    return json.loads(script.text)


def resolve(document: object, pointer: str) -> object:
    """Return what a JSON pointer (RFC 6901) names."""
    for written in pointer.removeprefix("/").split("/"):
        step = written.replace("~1", "/").replace("~0", "~")
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def fetches_nothing(page: Element, text: str) -> None:
    """Check that a page asks nobody for anything and runs no script."""
    (policy,) = [
        meta.attributes["content"]
        for meta in page.find("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    style = page.find("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    assert "@font-face" not in style
    for tag, name in (("img", "src"), ("link", "href"), ("script", "src"), ("iframe", "src")):
        for element in page.find(tag):
            assert (element.attributes.get(name) or "data:").startswith("data:")
    for link in page.find("a"):
        assert link.attributes["href"].startswith("#")
    assert not re.search(r"https?://", text)
    assert not re.search(r"\son\w+=", text)


def says_what_it_is(page: Element, drawings: int) -> None:
    """Check that tables, images, drawings and headings of a page are named and linked.

    Args:
        page: The page.
        drawings: Fewest charts on it.
    """
    ids = [e.attributes["id"] for e in everything(page) if e.attributes.get("id")]
    assert len(ids) == len(set(ids))
    for link in page.find("a"):
        assert link.attributes["href"].removeprefix("#") in ids
    for table in page.find("table"):
        (caption,) = table.find("caption")
        assert caption.text
        assert all(h.attributes["scope"] in ("col", "row") for h in table.find("th"))
        widths = {len(row.find("th")) + len(row.find("td")) for row in table.find("tr")}
        assert len(widths) == 1, caption.text
        frame = table.parent
        assert frame.attributes["tabindex"] == "0"
        assert frame.attributes["aria-label"] == caption.text
    for image in page.find("img"):
        assert image.attributes["alt"]
    charts = [svg for svg in page.find("svg") if svg.attributes.get("role") == "img"]
    assert len(charts) >= drawings
    for svg in charts:
        for name in svg.attributes["aria-labelledby"].split():
            assert name in ids
        assert svg.find("desc")[0].text
    for svg in page.find("svg"):
        assert svg.attributes.get("role") == "img" or svg.attributes.get("aria-hidden") == "true"
    (html,) = page.find("html")
    assert html.attributes["lang"] == "en"
    levels = [int(e.tag[1]) for e in everything(page) if re.fullmatch(r"h[1-6]", e.tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def everything(page: Element) -> list[Element]:
    """Return every element of a page, in document order."""
    found = []
    for child in page.children:
        found += [child, *everything(child)]
    return found


@dataclass(frozen=True)
class Report:
    """A report as a file, as text and taken apart, and the JSON that went to stdout with it."""

    path: Path
    text: str
    page: Element
    document: dict


def make_report(
    folder: Path,
    bundle: Path | None = None,
    rows: Sequence[dict] | None = None,
    options: Sequence[object] = ("--with-faces",),
) -> Report:
    """Run evaluate in a folder, by default with frames of the worst-scored captures.

    Without rows of one's own there are two lists, development thresholds and missing modalities.
    """
    bundle = bundle or tiny_bundle.write(folder / "lobby.fasb")
    one = write_list(folder, mixed() if rows is None else rows, "one")
    words = ["evaluate", bundle, "--protocol", one, "--threads", 1, "--json", *options]
    if rows is None:
        others = [row | {"domain": "kiosk", "subject": f"k {row['id']}"} for row in mixed(3)]
        known = [row | {"subject": f"d {row['id']}"} for row in mixed(1)]
        words += ["--protocol", write_list(folder, others, "two")]
        words += ["--development", write_list(folder, known, "development")]
        words += ["--missing", "depth,ir", "--family", "P3", "--source", "W and C"]
    path = folder / "report.html"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main([str(word) for word in [*words, "--report", path]]) == 0
    text = path.read_text(encoding="utf-8")
    return Report(path, text, parse(text), json.loads(out.getvalue()))

"""Pages in a real browser: offline, free of errors, accessible, readable on desk and phone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from support.browser import DARK, DESK, PHONE, Browser
from support.every_page import make_pages

OUTPUT = Path(__file__).parents[2] / "output"
HEIGHT = 3600
KINDS = [
    *("report", "profile", "card"),
    *(
        pytest.param(k, marks=pytest.mark.slow)
        for k in ("evidence", "profile-door", "card-several")
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def pages(report, tmp_path_factory) -> dict[str, Path]:
    return make_pages(tmp_path_factory.mktemp("pages"), report.path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "width", "options"),
    [
        ("desk", DESK, []),
        ("phone", PHONE, []),
        pytest.param("dark", DESK, [DARK], marks=pytest.mark.slow),
    ],
)
def test_a_page_opens_offline_without_an_error(browser, pages, kind, name, width, options):
    OUTPUT.mkdir(exist_ok=True)
    picture = OUTPUT / f"{kind}-{name}.png"
    picture.unlink(missing_ok=True)
    visit = browser.visit(
        pages[kind].as_uri(), f"--window-size={width},{HEIGHT}", f"--screenshot={picture}", *options
    )
    assert visit.console == ()
    assert visit.asked_for == ()
    shown = cv2.imread(str(picture))
    assert shown.shape[:2] == (HEIGHT, width)
    light = float(np.median(shown[:2000]))
    assert light < 60 if name == "dark" else light > 200
    assert len(np.unique(shown[:2000])) > 50  # it is not a blank page


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "width",
    [DESK, PHONE, *(pytest.param(w, marks=pytest.mark.slow) for w in (768, 320))],
)
def test_nothing_is_cut_off_or_laid_over_text(browser, pages, report, kind, width):
    found = browser.layout(pages[kind], width)
    assert found["width"] == width
    assert found["faults"] == []
    assert found["images"] == (len(report.page.find("img")) if kind == "report" else 0)
    assert found["broken"] == 0
    assert found["stops"] == found["tables"] > 0  # the keyboard reaches every table's frame


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k if isinstance(k, str) else k.values[0] for k in KINDS])
@pytest.mark.parametrize(("width", "dark"), [(DESK, False), (PHONE, False), (DESK, True)])
def test_axe_finds_nothing_on_a_page(browser, pages, kind, width, dark):
    assert browser.accessibility(pages[kind], width, dark=dark) == []


def test_a_page_that_asks_errs_or_overflows_would_be_noticed(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html lang=en><title>Bad</title><body>"
        "<div style='width: 3000px; height: 9px'></div>"
        "<svg role='img' viewBox='0 0 100 100' width='100'><title>Drawing</title>"
        "<text x='90' y='50'>cut off</text><text x='10' y='20'>one</text>"
        "<text x='12' y='21'>two</text></svg>"
        "<img src='https://example.com/pixel.png'>"
        "<script>console.error('an error of its own')</script>"
    )
    visit = browser.visit(bad.as_uri(), f"--screenshot={tmp_path / 'bad.png'}")
    assert visit.asked_for == ("https://example.com/pixel.png",)
    assert any("an error of its own" in line for line in visit.console)
    said = " ".join(browser.layout(bad, PHONE)["faults"])
    for fault in ("the page is 30", "outside: DIV", "text cut off", "text over text"):
        assert fault in said


@pytest.mark.slow
def test_what_a_screen_reader_misses_would_be_noticed(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><html lang="en"><head><title>Bad</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'"></head><body>'
        '<h1>Bad</h1><p style="color: #ccc; background: #fff">hardly to be seen</p>'
        '<img src="data:,"><div role="img"></div></body></html>'
    )
    found = {each["rule"]: each["impact"] for each in browser.accessibility(bad, PHONE)}
    assert found["color-contrast"] == "serious"
    assert found["image-alt"] == "critical"

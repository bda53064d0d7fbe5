"""Pages in a real browser: offline, free of errors, readable on desk and phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import pytest

from fasdk_tools.report.profile import write_profile

from support import door_runs, profile_pages
from support.requirements import Requirement

OUTPUT = Path(__file__).parents[2] / "output"
LAYOUT = Path(__file__).with_name("layout.html")
DESK, PHONE = 1280, 390
HEIGHT = 3600
KINDS = ["report", "profile", pytest.param("profile-door", marks=pytest.mark.slow)]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Visit:
    """Result of one start of the browser.

    Attributes:
        stdout: The page it ended with, where that was asked for.
        console: Messages of the console.
        asked_for: Every URL the page had fetched, but its own file and what it carries inside.
    """

    stdout: str
    console: tuple[str, ...]
    asked_for: tuple[str, ...]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Start Chromium without a network, once for each page."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        Requirement.CHROMIUM.skip("no Chromium on the path")
    folder = tmp_path_factory.mktemp("browser")

    def visit(url: str, *options: str) -> Visit:
        log = folder / "net.json"
        log.unlink(missing_ok=True)
        done = subprocess.run(
            [
                program,
                "--headless=new",
                "--no-sandbox",  # the tests may run as root
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr",
                f"--log-net-log={log}",
                f"--user-data-dir={folder / 'profile'}",
                *options,
                url,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        console = re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr)
        return Visit(done.stdout, tuple(console), requests(log))

    return visit


def requests(log: Path) -> tuple[str, ...]:
    """Return the URLs in a net log that a page, not the browser itself, asked for."""
    text = log.read_text(encoding="utf-8")
    try:
        events = json.loads(text)["events"]
    except json.JSONDecodeError:  # the browser was closed before it wrote the end
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    found = []
    for event in events:
        parameters = event.get("params", {})
        url = parameters.get("url")
        # The browser's own requests have no initiator; a page's have one, "null" of a file's.
        if url and parameters.get("initiator", "not an origin") != "not an origin":
            found.append(url)
    return tuple(dict.fromkeys(u for u in found if urlsplit(u).scheme not in ("file", "data")))


def layout(browser, page: Path, width: int) -> dict:
    """Return what of a page does not fit at some width."""
    visit = browser(
        f"{LAYOUT.as_uri()}?width={width}&page={quote(page.as_uri())}",
        "--allow-file-access-from-files",
        f"--window-size={DESK + 40},1000",
        "--virtual-time-budget=4000",
        "--dump-dom",
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', visit.stdout, re.DOTALL)
    assert found and found[1], visit.console
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def pages(report, tmp_path_factory) -> dict[str, Path]:
    """Return a page of every kind."""
    runs = profile_pages.rates()
    profile = tmp_path_factory.mktemp("profile") / "profile.html"
    write_profile(
        profile,
        profile_pages.document(
            *runs,
            trusted=False,
            energies=profile_pages.ENERGIES,
            reasons=("hot: 82 of 85 degrees; cool it",),
            not_read=("throttling: the kernel shows no counter",),
        ),
        runs,
        machine=profile_pages.machine(),
        layers=profile_pages.LAYERS,
    )
    door = profile.with_name("door.html")
    write_profile(door, *door_runs.whole())
    return {"report": report.path, "profile": profile, "profile-door": door}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "width", "options"),
    [
        ("desk", DESK, []),
        ("phone", PHONE, []),
        pytest.param(
            "dark", DESK, ["--blink-settings=preferredColorScheme=0"], marks=pytest.mark.slow
        ),
    ],
)
def test_a_page_opens_offline_without_an_error(browser, pages, kind, name, width, options):
    OUTPUT.mkdir(exist_ok=True)
    picture = OUTPUT / f"{kind}-{name}.png"
    picture.unlink(missing_ok=True)
    visit = browser(
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
    found = layout(browser, pages[kind], width)
    assert found["width"] == width
    assert found["faults"] == []
    assert found["images"] == (len(report.page.find("img")) if kind == "report" else 0)
    assert found["broken"] == 0
    assert found["stops"] == found["tables"] > 0  # the keyboard reaches every table's frame


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
    visit = browser(bad.as_uri(), f"--screenshot={tmp_path / 'bad.png'}")
    assert visit.asked_for == ("https://example.com/pixel.png",)
    assert any("an error of its own" in line for line in visit.console)
    said = " ".join(layout(browser, bad, PHONE)["faults"])
    for fault in ("the page is 30", "outside: DIV", "text cut off", "text over text"):
        assert fault in said

"""Pages in headless Chromium: offline, at a width, light or dark, and what is wrong with them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from support import axe
from support.requirements import Requirement

DESK, PHONE = 1280, 390
NAMES = ("chromium", "chromium-browser", "google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"
LAYOUT = Path(__file__).with_name("page_layout.html")
FRAME = Path(__file__).with_name("page_frame.html")
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


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


class Browser:
    """Headless Chromium without a network, started anew for every page.

    Args:
        folder: Folder of its profile, its log and copies of pages.
    """

    def __init__(self, folder: Path) -> None:
        found = next((path for name in NAMES if (path := shutil.which(name))), None)
        if found is None:
            Requirement.CHROMIUM.skip("no Chromium on the path")
        self._program, self._folder = found, folder

    def visit(self, url: str, *options: str) -> Visit:
        """Open a page and return what came of it."""
        log = self._folder / "net.json"
        log.unlink(missing_ok=True)
        done = subprocess.run(
            [
                self._program,
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
                f"--user-data-dir={self._folder / 'profile'}",
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

    def layout(self, page: Path, width: int) -> dict:
        """Return what of a page does not fit at some width."""
        return self._framed(LAYOUT, page, width)

    def accessibility(self, page: Path, width: int, *, dark: bool = False) -> list[dict]:
        """Return the violations that axe-core finds on a page: rule, impact, places.

        axe-core is a script, which the page's own policy forbids: what is tested is a copy with
        the policy taken out and the script put in, and nothing else changed.
        """
        text = page.read_text(encoding="utf-8")
        opened, policies = _POLICY.subn("", text)
        assert policies == 1, f"{page}: {policies} policies"
        copy = self._folder / f"{page.stem}-axe.html"
        script = f'<script src="{axe.path().as_uri()}"></script>'
        copy.write_text(opened.replace("</body>", f"{script}</body>"), encoding="utf-8")
        found = self._framed(FRAME, copy, width, *([DARK] if dark else []))
        assert found["rules"] > 20, found  # it has looked at the page
        return found["violations"]

    def _framed(self, frame: Path, page: Path, width: int, *options: str) -> dict:
        visit = self.visit(
            f"{frame.as_uri()}?width={width}&page={quote(page.as_uri())}",
            "--allow-file-access-from-files",
            f"--window-size={DESK + 40},1000",
            "--virtual-time-budget=8000",
            "--dump-dom",
            *options,
        )
        found = re.search(r'<pre id="found">(.*?)</pre>', visit.stdout, re.DOTALL)
        assert found and found[1], visit.console
        return json.loads(html.unescape(found[1]))


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

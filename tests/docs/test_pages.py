"""Documents: size, links, reachability from the README, and figures in step with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import typer.main

from fasdk_tools.cli.root import app

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
README = PROJECT / "README.md"
LARGEST_README = 7168
FIRST_SCREEN = 40  # lines

BUILD_OFFLINE = """
import socket, sys
from sphinx.cmd.build import main

def refuse(*_):
    raise OSError("the documents need no network")

socket.socket.connect = socket.getaddrinfo = refuse
sys.exit(main(sys.argv[1:]))
"""

_FENCE = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_WEB = ("http://", "https://", "mailto:")


def tracked(*patterns: str) -> list[Path]:
    """Return the project's files that match; a checkout's untracked folders are not the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [PROJECT / name for name in listed.stdout.split("\0") if name]
    return sorted(name for name in names if name.is_file())


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def targets(page: Path) -> list[tuple[Path, str]]:
    """Return the files a page links to, each with the anchor."""
    found = []
    for link in _LINK.findall(prose(page)):
        if not link.startswith(_WEB):
            name, _, anchor = link.partition("#")
            found.append(((page.parent / name).resolve() if name else page, anchor))
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


PAGES = tracked("*.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page):
    for target, anchor in targets(page):
        assert target.exists(), target
        assert target.is_relative_to(PROJECT), target
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{target.name}#{anchor}"


def test_every_page_is_two_clicks_from_the_readme():
    first = {target for target, _ in targets(README)}
    pages = [page for page in first if page.suffix == ".md"]
    reached = first | {target for page in pages for target, _ in targets(page)}
    unreached = [page for page in PAGES if page.is_relative_to(DOCS) and page not in reached]
    assert not unreached


def test_the_readme_is_short_and_its_first_screen_says_what_to_do():
    assert README.stat().st_size <= LARGEST_README
    first_screen = "\n".join(README.read_text("utf-8").splitlines()[:FIRST_SCREEN])
    for words in ("deployment SDK", "make demo", "make test", "WORKSTATION", "DEVICE"):
        assert words in first_screen


def verbs(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


VERBS = dict(verbs(typer.main.get_command(app)))


def test_the_readme_names_every_verb():
    section = README.read_text("utf-8").split("\n## Commands\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    assert sorted(chain(*(re.findall(r"`([^`]+)`", cell) for cell in cells))) == sorted(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_a_page_shows_exists(page):
    """Verbs and long options, wherever a page shows a command line of fasdk's."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:shell)?\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    shown = [line.strip() for block in blocks for line in block.splitlines()]
    shown += re.findall(r"`(fasdk [^`]+)`", re.sub(r"\s+", " ", _FENCE.sub("", text)))
    for line in shown:
        if not line.startswith("fasdk ") or line.startswith("fasdk --"):
            continue
        words = line.removeprefix("fasdk ").split()
        verb = next((v for v in VERBS if words[: len(v.split())] == v.split()), None)
        assert verb is not None or words[0] in {"VERB", *(v.split()[0] for v in VERBS)}, line
        if verb is not None:
            known = set(chain(*(p.opts + p.secondary_opts for p in VERBS[verb].params))) | {
                "--help"
            }
            used = {word.split("=")[0] for word in words if word.startswith("--")}
            assert used <= known, line


def test_every_make_target_a_page_names_exists():
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)) | {"verify-NAME"}
    for page in PAGES:
        used = re.findall(r"`make ([a-zA-Z-]+)", page.read_text("utf-8"))
        assert set(used) <= known | {"verify-"}, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_file_a_page_names_is_there(page):
    """A path in backticks that begins with one of the project's own folders."""
    folders = {folder.name for folder in PROJECT.iterdir() if folder.is_dir()}
    for name in re.findall(r"`([\w.-]+/[\w./-]+)`", prose(page)):
        if name.split("/")[0] in folders - {"build", "dist", ".verify"}:  # made by commands
            assert (PROJECT / name).exists(), name


def test_decisions_have_one_form_and_follow_on_each_other():
    pages = sorted((DOCS / "design" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        title, _, area, _, decision, *_ = page.read_text("utf-8").splitlines()
        assert title.startswith("# "), page
        assert area.startswith("Area: "), page
        assert decision.startswith("**Decision.** "), page


def test_each_term_is_in_the_glossary_once():
    text = (DOCS / "glossary.md").read_text("utf-8")
    terms = re.findall(r"^(\S.*)\n: ", text, flags=re.MULTILINE)
    single = [term.strip().lower() for line in terms for term in line.split(",")]
    assert len(single) == len(set(single))
    assert len(single) > 50


@pytest.mark.slow
def test_the_documents_build_strictly_without_a_network(tmp_path):
    pytest.importorskip("sphinx", reason="needs Python 3.11")
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", tmp_path / "doctrees"]
    built = subprocess.run(
        [sys.executable, "-c", BUILD_OFFLINE, *options, DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert built.returncode == 0, built.stderr
    for page in DOCS.rglob("*.md"):
        assert (tmp_path / "html" / page.relative_to(DOCS)).with_suffix(".html").is_file()

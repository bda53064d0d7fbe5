"""Generator of docs/reference and of the index of decisions: `make reference`.

Run from the project's root in its virtual environment. `--check` writes nothing and exits 1 where a
page is stale. Everything is read from the code itself: the command line's own description, the
manifest's schema, the reasons, the public names and every module's docstring.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import api_page
import cli_page
import decisions_page
import manifest_page
import models_page
import modules_page
import reasons_page
import training_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PAGES: dict[str, Callable[[Path], str]] = {
    "reference/cli.md": cli_page.render,
    "reference/reason-codes.md": reasons_page.render,
    "reference/manifest.schema.json": manifest_page.render_schema,
    "reference/manifest.md": manifest_page.render,
    "reference/models.md": models_page.render,
    "reference/training-settings.md": training_page.render,
    "reference/modules.md": modules_page.render,
    "reference/api.md": api_page.render,
    "design/decisions/index.md": decisions_page.render,
}
"""What makes each page, by its path in docs/; it is given the project's root."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write every generated page, or print which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--only", choices=sorted(PAGES), action="append", help="only this page")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder with the pages")
    asked = parser.parse_args(arguments)
    stale = []
    for name in asked.only or PAGES:
        text = PAGES[name](ROOT)
        page: Path = asked.docs / name
        if page.is_file() and page.read_text("utf-8") == text:
            continue
        stale.append(name)
        if not asked.check:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")
    for name in stale:
        print(f"docs/{name}: {'stale, run `make reference`' if asked.check else 'written'}")
    return 1 if stale and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())

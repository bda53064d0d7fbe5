"""Percentiles in the outputs of profiles with every number of calls: document, table and page.

Run as `python -m support.percentile_outputs`, it prints one JSON line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from dataclasses import replace

from fasdk_tools.profiling.result import ProfileDocument
from fasdk_tools.report.profile import profile_page
from fasdk_tools.terminal.profile import print_profile

from support import profile_pages
from support.report_page import parse

LEAST = {"p99": 299, "p99_9": 2995}
"""Fewest calls for which a percentile has a bound (Wilks 1941), at 95 % confidence."""


def wrong(calls: int) -> list[str]:
    """Return the outputs that show a percentile without a bound, or lack one that has a bound."""
    run = profile_pages.samples(calls, refused=0)
    run = replace(run, stages_ms={"engine": run.stages_ms["engine"]})
    document = profile_pages.document(run)
    shown = {
        "document": in_document(document),
        "table": in_table(document),
        "page": in_page(profile_page(document, [run])),
    }
    expected = {name for name, least in LEAST.items() if calls >= least}
    return [f"{output} of {calls} calls" for output, found in shown.items() if found != expected]


def in_document(document: ProfileDocument) -> set[str]:
    """Return which of the percentiles the JSON document has."""
    figures = json.loads(document.model_dump_json())["runs"][0]["end_to_end"]
    return {name for name in LEAST if figures[name] is not None}


def in_table(document: ProfileDocument) -> set[str]:
    """Return which of the percentiles the terminal's table has a figure for."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_profile(document)
    lines = printed.getvalue().splitlines()
    (names,) = [line.split() for line in lines if "p99.9" in line.split()]
    (row,) = [line.split() for line in lines if line.strip().startswith("end to end")]
    cells = dict(zip(reversed(names), reversed(row), strict=False))
    return {name for name in LEAST if not cells[name.replace("_", ".")].startswith("+")}


def in_page(text: str) -> set[str]:
    """Return which of the percentiles the HTML page has a figure, a mark or words for."""
    page = parse(text)
    paths = {element.attributes["data-path"] for element in page.find("data")}
    words = " ".join(found.text for found in (*page.find("desc"), *page.find("text", "mark")))
    written = {word.strip(".,;") for word in words.split()}
    return {
        name
        for name in LEAST
        if f"/runs/0/end_to_end/{name}/ms" in paths
        or f"/runs/0/stages/engine/{name}/ms" in paths
        or name.replace("_", ".") in written
    }


def main() -> int:
    """Look at the outputs of every number of calls around the limits, and print what is wrong."""
    os.environ["COLUMNS"] = "200"
    tried = [*range(1, 321), *range(2985, 3006)]
    found = [each for calls in tried for each in wrong(calls)]
    print(json.dumps({"outputs": 3 * len(tried), "wrong": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

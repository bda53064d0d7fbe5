"""One page of every kind that fasdk writes, and what a browser finds wrong with them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from fasdk.bundle.bundle import open_bundle
from fasdk.bundle.trust import TrustPolicy
from fasdk.home import HOME_VARIABLE
from fasdk_tools.evaluation.evidence import evidence_sheet
from fasdk_tools.evaluation.schemes import Scheme
from fasdk_tools.model_card.document import build_document
from fasdk_tools.model_card.page import report_page
from fasdk_tools.model_card.records import read_record
from fasdk_tools.report.environment import write_page
from fasdk_tools.report.evaluation import page_of
from fasdk_tools.report.profile import write_profile

from support import counted_evaluation, door_runs, profile_pages, recorded_bundle, tiny_bundle
from support.browser import DESK, PHONE, Browser
from support.report_page import make_report

SERIOUS = ("serious", "critical")
ATTACKS = {"print": (0, 150), "replay": (0, 100), "a mask of silicone": (1, 63)}


def make_pages(folder: Path, evaluation: Path | None = None) -> dict[str, Path]:
    """Write a page of every kind and return it by name.

    Args:
        folder: Folder to write to.
        evaluation: Page of an evaluation that is there already; None to make one.
    """
    pages = {"report": evaluation or make_report(folder).path}
    pages |= {
        name: folder / f"{name}.html"
        for name in ("evidence", "profile", "profile-door", "card", "card-several")
    }
    counted = counted_evaluation.evaluation(ATTACKS, (10, 40))
    counted = replace(counted, evidence=evidence_sheet(counted, Scheme.IBETA_L1))
    write_page(pages["evidence"], page_of(counted, {}))
    runs = profile_pages.rates()
    write_profile(
        pages["profile"],
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
    write_profile(pages["profile-door"], *door_runs.whole())
    _write_cards(folder, pages)
    return pages


def _write_cards(folder: Path, pages: dict[str, Path]) -> None:
    lobby = recorded_bundle.write(folder, "card.fasb")
    records = [read_record(path) for path in recorded_bundle.records(folder, lobby)]
    bare = tiny_bundle.write(folder / "bare.fasb", operating_points=())
    opened = [open_bundle(path, TrustPolicy.unsigned()) for path in (lobby, bare)]
    one = build_document([(opened[0], records)])
    write_page(pages["card"], report_page(one, "Report on card.fasb"))
    several = build_document([(opened[0], records), (opened[1], [])])
    write_page(pages["card-several"], report_page(several, "Report on 2 bundles"))


def figures(folder: Path) -> dict[str, object]:
    """Open every page at both widths, light and dark, and count what is wrong."""
    browser = Browser(folder)
    pages = make_pages(folder)
    console, asked, faults, serious, lesser = [], [], [], [], []
    for name, page in pages.items():
        for width in (DESK, PHONE):
            visit = browser.visit(
                page.as_uri(), f"--window-size={width},3600", f"--screenshot={folder / 'x.png'}"
            )
            console += [f"{name}: {line}" for line in visit.console]
            asked += [f"{name}: {url}" for url in visit.asked_for]
            faults += [f"{name}, {width}: {f}" for f in browser.layout(page, width)["faults"]]
            for dark in (False, True):
                for found in browser.accessibility(page, width, dark=dark):
                    said = f"{name}, {width}: {found['rule']}"
                    (serious if found["impact"] in SERIOUS else lesser).append(said)
    return {
        "pages": list(pages),
        "console": console,
        "asked_for": asked,
        "faults": faults,
        "serious": serious,
        "lesser": lesser,
    }


def main() -> int:
    """Print the figures as one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[HOME_VARIABLE] = folder  # the bundles' build key is nobody's
        print(json.dumps(figures(Path(folder))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

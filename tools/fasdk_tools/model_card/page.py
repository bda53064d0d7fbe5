"""HTML page of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fasdk_tools.model_card.sections import SIGNATURE, bundle_sections, signing_parts
from fasdk_tools.report.environment import embedded_json, render
from fasdk_tools.report.figures import Figures, write

DATA_ID: Final = "report"


def report_page(document: Mapping[str, Any], title: str) -> str:
    """Return a report as one HTML page.

    Args:
        document: Document of the report; the page embeds it as JSON, and shows nothing else.
        title: First heading.
    """
    bundles = bundle_sections(document)
    # Of one bundle its sections, of several the bundles: a list that is read before anything else.
    if len(bundles) == 1:
        links = [(section.key, section.title) for section in bundles[0].sections]
    else:
        links = [(bundle.key, bundle.title) for bundle in bundles]
    return render(
        "model_card.html",
        title=title,
        subtitle=f"Made {document['made']} by {document['tool']}",
        sections=[*links, ("sign", "To sign")],
        data_id=DATA_ID,
        document=embedded_json(document),
        figures=Figures(document),
        write=write,
        bundles=bundles,
        to_sign=signing_parts(document),
        signature=SIGNATURE,
    )

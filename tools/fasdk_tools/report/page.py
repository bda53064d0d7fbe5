"""HTML page of an evaluation: summary, cases, worst captures, limitations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from fasdk.atomic import atomic_write
from fasdk.capture import Modality
from fasdk_tools.evaluation.record import Evaluation, WorstCapture
from fasdk_tools.report.case_section import list_section, section_key
from fasdk_tools.report.markup import (
    ABSENT,
    Column,
    Figures,
    Form,
    Markup,
    element,
    fields,
    items,
    table,
)
from fasdk_tools.report.overview import missing_section, summary_section
from fasdk_tools.report.thumbnails import thumbnail
from fasdk_tools.terminal.output import json_text

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk_tools.evaluation.run import EvaluationRun

DATA_ID = "evaluation"
# Nothing may be fetched and no script runs, whatever a list's names hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

Pictures = Mapping[tuple[str, int], Sequence[tuple[Modality, str]]]


def write_report(
    path: Path, run: EvaluationRun, bundle: Bundle, *, with_faces: bool = False
) -> None:
    """Write an evaluation as one HTML file that only its owner may read.

    Args:
        path: File to write.
        run: The evaluation.
        bundle: Bundle that was evaluated.
        with_faces: Whether frames of the worst-scored captures are shown.

    Raises:
        DatasetError: A capture to be shown can no longer be read.
        FasdkError: The disk is full or the folder not writable.
    """
    page = render(run.record, _pictures(run, bundle) if with_faces else {})
    with atomic_write(path, mode=0o600) as file:
        file.write(page.encode())


def _pictures(run: EvaluationRun, bundle: Bundle) -> Pictures:
    """Return the frames of the worst-scored captures, by list and row."""
    encoding = next((s.depth for s in bundle.manifest.inputs.values() if s.depth), None)
    datasets = {dataset.name: dataset for dataset in run.datasets}
    found = {}
    for worst in run.record.worst:
        dataset = datasets[worst.list]
        capture = dataset.load(dataset.records[worst.index], encoding)
        found[worst.list, worst.index] = [
            (modality, thumbnail(capture, modality, encoding))
            for modality in capture.present
            if modality.value in worst.modalities
        ]
    return found


def render(record: Evaluation, pictures: Pictures) -> str:
    """Return the page.

    Args:
        record: The evaluation; the page embeds it as JSON, and shows nothing else.
        pictures: PNG data URIs of the worst-scored captures, by list and row; empty shows none.
    """
    name = Path(record.bundle.path).name
    title = f"Evaluation of {name}"
    names = list(dict.fromkeys(case.list for case in record.cases))
    sections = [
        ("in-short", "In short", summary_section(record)),
        ("missing", "Missing modalities", missing_section(record, names)),
        *(("", "", list_section(record, each)) for each in names),
        ("worst", "Worst-scored captures", _worst(record, pictures)),
        ("bundle", "The bundle", _bundle(record)),
        ("lists", "The lists", _lists(record)),
        ("limits", "What the figures do not show", items("ul", record.limits)),
    ]
    links = [
        element("a", heading, href=f"#{key}")
        for key, heading, content in sections
        if key and content.html
    ]
    links[2:2] = [element("a", f"List {e}", href=f"#{section_key(record, e)}") for e in names]
    body = [
        content
        if not key
        else element("section", element("h2", heading, id=key), content, aria_labelledby=key)
        for key, heading, content in sections
        if content.html
    ]
    page = element(
        "html",
        _head(title),
        element(
            "body",
            element("a", "Skip to the figures", href="#figures", class_="skip"),
            element(
                "header",
                element("h1", title),
                element("p", _subtitle(record), class_="quiet"),
                element("nav", items("ul", links), aria_label="Sections"),
            ),
            element("main", *body, id="figures", tabindex="-1"),
            element(
                "footer",
                element(
                    "p",
                    f"Every figure above stands in the JSON document inside this page, "
                    f"script element “{DATA_ID}”.",
                ),
            ),
            _embedded(record),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page.html}\n"


def _head(title: str) -> Markup:
    style = files("fasdk_tools.report").joinpath("style.css").read_text(encoding="utf-8")
    return element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<link rel="icon" href="data:,">'),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )


def _embedded(record: Evaluation) -> Markup:
    # Inside a script element only "<" could end it; JSON has another way to write one.
    text = json_text(asdict(record)).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{DATA_ID}">\n{text}\n</script>')


def _subtitle(record: Evaluation) -> str:
    identity = record.bundle
    parts = [
        f"{identity.model}, {identity.precision}, revision {identity.revision}",
        record.backend,
        f"unit: {record.unit}",
    ]
    if record.family is not None:
        parts.append(f"protocol family {record.family}")
    parts.append(f"trained on {record.source}" if record.source else "training data not stated")
    return "; ".join(parts)


def _worst(record: Evaluation, pictures: Pictures) -> Markup:
    if not record.worst:
        return Markup("")
    parts = [
        element(
            "p",
            "Of each list, the attacks that score highest and the bona fide captures that score "
            "lowest, nothing taken away. A capture's own score, not its presentation's.",
        )
    ]
    for name in dict.fromkeys(worst.list for worst in record.worst):
        for is_bona_fide, heading in ((False, "attacks"), (True, "bona fide captures")):
            chosen = [
                (index, worst)
                for index, worst in enumerate(record.worst)
                if worst.list == name and worst.is_bona_fide is is_bona_fide
            ]
            if chosen:
                shown = [_capture(record, i, w, pictures) for i, w in chosen]
                parts += [
                    element("h3", f"{name}, {heading}"),
                    items("ul", shown, class_="captures"),
                ]
    return Markup("".join(part.html for part in parts))


def _capture(record: Evaluation, index: int, worst: WorstCapture, pictures: Pictures) -> Markup:
    figures = Figures(record)
    frames = [
        element(
            "img",
            src=uri,
            alt=f"{modality.value} frame of {worst.id}",
            title=modality.value,
        )
        for modality, uri in pictures.get((worst.list, worst.index), ())
    ]
    if worst.is_error is None:
        decided = "no threshold"
    else:
        decided = (
            ("accepted" if not worst.is_bona_fide else "refused") if worst.is_error else "right"
        )
    return (
        element("div", *frames, class_="frames")
        + element("strong", worst.species)
        + Markup("<br>score ")
        + figures.show(Form.SCORE, "worst", index, "score")
        + element("span", f", {decided}")
        + Markup("<br>")
        + element("span", f"{worst.id}, {worst.subject}, {worst.domain}", class_="quiet")
    )


def _bundle(record: Evaluation) -> Markup:
    identity = record.bundle
    if identity.signed_by:
        signature = f"by trusted key {identity.signed_by}"
    elif identity.has_signature:
        signature = "present, not checked (unsigned)"
    else:
        signature = "none (unsigned)"
    return fields(
        [
            ("File", identity.path),
            ("Id", identity.id),
            ("Revision", identity.revision),
            ("Signature", signature),
            ("Model", f"{identity.model} ({identity.published_in})"),
            ("Precision", identity.precision),
            ("Modalities", ", ".join(identity.modalities)),
            ("Required", ", ".join(identity.required) or "none"),
            ("Scores", "calibrated" if identity.is_calibrated else "softmax, not calibrated"),
            ("Thresholds", identity.operating_points_note),
            ("Graph, SHA-256", identity.graph_sha256),
            ("Checkpoint, SHA-256", identity.checkpoint_sha256),
            ("Run on", record.backend),
            ("Trained on", record.source or "not stated"),
        ]
    )


def _lists(record: Evaluation) -> Markup:
    figures = Figures(record)
    every: list[tuple[tuple[str | int, ...], str]] = [
        (("lists", index), "test") for index in range(len(record.lists))
    ]
    if record.development is not None:
        every.append((("development",), "development"))
    rows = [
        [
            figures.show(Form.TEXT, *path, "name"),
            use,
            *(
                figures.show(Form.WHOLE, *path, field)
                for field in ("captures", "presentations", "subjects", "bona_fide", "attacks")
            ),
            ", ".join(figures.get(*path, "species")) or ABSENT,
            ", ".join(figures.get(*path, "domains")),
            element("span", figures.get(*path, "sha256") or ABSENT, class_="digest"),
        ]
        for path, use in every
    ]
    return table(
        "Lists; the digest is of the list, not of its frames",
        (
            Column("List"),
            Column("Use"),
            Column("Captures", is_number=True),
            Column("Presentations", is_number=True),
            Column("Subjects", is_number=True),
            Column("Bona fide", is_number=True),
            Column("Attacks", is_number=True),
            Column("Species"),
            Column("Domains"),
            Column("SHA-256"),
        ),
        rows,
    )

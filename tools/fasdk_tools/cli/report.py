"""Verb report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import (
    EXIT_NO,
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    app,
    require_templates,
    trust_policy,
)
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields, print_json, print_rows

if TYPE_CHECKING:
    from fasdk_tools.model_card.sections import BundleSections


@app.command(rich_help_panel=Panel.MEASURE)
def report(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="One or several .fasb files.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", metavar="OUT.html", help="Page to write, one file, with one to sign."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="CARD.md", help="Model card to write, the same content.")
    ] = None,
    record: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.json",
            help="What `evaluate --json` or `profile --json` printed about one of the bundles. "
            "Repeatable.",
        ),
    ] = None,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what bundles and their records hold, as one page to sign and one model card."""
    from fasdk.atomic import atomic_write
    from fasdk.bundle.bundle import open_bundle
    from fasdk_tools.model_card.document import build_document
    from fasdk_tools.model_card.records import read_record, records_of, require_known
    from fasdk_tools.model_card.sections import bundle_sections
    from fasdk_tools.outputs import require_outputs

    if out is not None:
        require_templates("report -o")
    given = {f"the bundle {path}": path for path in bundles}
    given |= {f"--record {path}": path for path in record or ()}
    require_outputs({"-o": out, "--markdown": markdown}, given)
    trust = trust_policy(key, unsigned)
    opened = [open_bundle(path, trust) for path in bundles]
    twice = next((b for i, b in enumerate(opened) if b.id in {o.id for o in opened[:i]}), None)
    if twice is not None:
        raise UsageError(f"{twice.path} is given twice, by whatever name: give it once")
    records = [read_record(path) for path in record or ()]
    require_known(records, opened)
    document = build_document([(bundle, records_of(bundle, records)) for bundle in opened])
    title = f"Report on {opened[0].path.name if len(opened) == 1 else f'{len(opened)} bundles'}"
    if out is not None:
        from fasdk_tools.model_card.page import report_page
        from fasdk_tools.report.environment import write_page

        write_page(out, report_page(document, title))
    if markdown is not None:
        from fasdk_tools.model_card.markdown import model_card

        with atomic_write(markdown, mode=0o600) as file:
            file.write(model_card(document, title).encode())
    if as_json:
        print_json(document)
    else:
        _print(document, title, bundle_sections(document), {"page": out, "model card": markdown})
    if any(bundle["verification"]["ok"] is False for bundle in document["bundles"]):
        raise typer.Exit(EXIT_NO)


def _print(
    document: dict[str, Any],
    title: str,
    bundles: list[BundleSections],
    written: dict[str, Path | None],
) -> None:
    absent = sum(len(bundle.absent) for bundle in bundles)
    sections = sum(len(bundle.sections) for bundle in bundles)
    print_answer(f"{title}: {absent} of {count_of(sections, 'section')} absent")
    print_fields(
        "",
        {
            **{name: "not asked for" if path is None else path for name, path in written.items()},
            "sha256 to sign": document["sha256"],
        },
    )
    print_rows(
        "Bundles",
        ("bundle", "revision", "trust", "golden captures", "absent"),
        [
            (
                bundle["path"],
                bundle["manifest"]["revision"],
                bundle["trust"],
                _VERIFIED[bundle["verification"]["ok"]],
                ", ".join(shown.absent) or "nothing",
            )
            for bundle, shown in zip(document["bundles"], bundles, strict=True)
        ],
    )


_VERIFIED = {True: "reproduced", False: "NOT reproduced", None: "not replayed"}

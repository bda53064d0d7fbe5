"""Verb doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.camera_options import CAMERA_HELP
from fasdk_tools.cli.root import (
    EXIT_NO,
    AllowOption,
    BackendOption,
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    app,
)
from fasdk_tools.terminal.output import print_json, progress_view


@app.command(rich_help_panel=Panel.RUN)
def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A .fasb file that is to run here.")
    ] = None,
    camera: Annotated[list[str] | None, typer.Option(metavar="SPEC", help=CAMERA_HELP)] = None,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what keeps a door from working on this machine, and say how to fix it.

    Every check is a line: OK, WARN, FAIL, or n/a for what cannot be known here. Nothing is changed,
    and root is not needed. --camera may be given several times. Exit 0 where nothing failed, 1 for
    a FAIL, 2 for wrong usage.
    """
    from fasdk_tools.doctor.place import Request
    from fasdk_tools.doctor.run import diagnose
    from fasdk_tools.terminal.doctor import show_diagnosis

    if key and unsigned:
        raise UsageError("--key and --unsigned exclude each other: give one of them")
    if bundle is None and (key or unsigned or allow or backend != "auto"):
        raise UsageError(
            "--key, --unsigned, --allow and --backend are about a bundle: name one, or leave them "
            "out"
        )
    _require_known(backend, allow)
    request = Request(
        bundle=bundle,
        cameras=tuple(camera or ()),
        backend=None if backend == "auto" else backend,
        keys=tuple(key or ()),
        unsigned=unsigned,
        allow=tuple(allow or ()),
    )
    with progress_view() as progress:
        diagnosis = diagnose(
            request, on_progress=lambda done, total: progress.update("checks", done, total)
        )
    if as_json:
        print_json(diagnosis.to_json())
    else:
        show_diagnosis(diagnosis)
    if not diagnosis.is_sound:
        raise typer.Exit(EXIT_NO)


def _require_known(backend: str, allow: list[str] | None) -> None:
    """Refuse a backend or a change of no known name; without options no package is needed."""
    if backend != "auto":
        from fasdk.backends.registry import parse_backend

        parse_backend(backend)
    if allow:
        from fasdk.bundle.succession import allowing

        allowing(allow)

"""Verb attempts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import AttemptError, UsageError
from fasdk_tools.cli.root import JsonOption, Panel, app
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import STDERR, print_answer, print_json, print_rows

if TYPE_CHECKING:
    from pathlib import Path

    from fasdk.tracking.attempt_files import AttemptRecord


@app.command(rich_help_panel=Panel.RUN)
def attempts(
    release: Annotated[
        str | None,
        typer.Option(
            metavar="CAMERA", help="Forget this camera's attempts and end its lock-out, by hand."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each camera's attempts without a LIVE, or release one that waits or is locked out."""
    from fasdk.tracking.attempt_files import recorded, release_camera

    if release is not None:
        release = _camera_id(release)
        release_camera(release)
    found = [_read(path) for path in recorded()]
    documents = [each for each in found if not isinstance(each, str)]
    damaged = [each for each in found if isinstance(each, str)]
    if as_json:
        print_json({"released": release, "cameras": documents, "damaged": damaged})
        return
    for message in damaged:
        STDERR.print(f"fasdk: warning: {message}", markup=False, soft_wrap=True)
    answer = "" if release is None else f"{release} is released: the next face is judged at once. "
    print_answer(f"{answer}{count_of(len(documents), 'camera')} with an account of attempts")
    if documents:
        print_rows(
            "Attempts since the last LIVE",
            ("camera", "attempts", "spoofs", "locked out"),
            [(d["camera"], d["attempts"], d["spoofs"], _locked(d)) for d in documents],
        )


def _camera_id(text: str) -> str:
    """Return the name of a camera's account, given it or a specification as `run` takes it."""
    from fasdk.cameras import open_camera
    from fasdk.tracking.attempt_files import file_name, recorded

    if file_name(text) in {path.name for path in recorded()}:
        return text
    try:
        with open_camera(text) as camera:
            return camera.identity()
    except UsageError:
        return text


def _read(path: Path) -> dict[str, Any] | str:
    """Return what a camera's file holds, or what is wrong with it."""
    from fasdk.tracking.attempt_files import read_record

    try:
        return _document_of(path, read_record(path))
    except AttemptError as error:
        return str(error)


def _document_of(path: Path, record: AttemptRecord) -> dict[str, Any]:
    from fasdk.capture import monotonic_ms
    from fasdk.tracking.attempt_files import boot_id

    locked_ms = record.state.locked_until_ms
    now_ms = monotonic_ms() if record.boot_id == boot_id() else record.written_ms
    left_ms = None if locked_ms is None or locked_ms <= now_ms else locked_ms - now_ms
    return {
        "camera": record.camera_id,
        "attempts": record.state.failed,
        "spoofs": len(record.state.spoofs_ms),
        "is_locked_out": left_ms is not None,
        "locked_ms": None if left_ms is None or math.isinf(left_ms) else left_ms,
        "file": str(path),
    }


def _locked(document: dict[str, Any]) -> str:
    if not document["is_locked_out"]:
        return "no"
    left_ms = document["locked_ms"]
    return "until released" if left_ms is None else f"another {left_ms / 1e3:.0f} s"

"""Verb record."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.camera_options import (
    CameraOption,
    FaceModelOption,
    FaceOption,
    RigOption,
    face_locator,
)
from fasdk_tools.cli.root import JsonOption, Panel, app
from fasdk_tools.terminal.numbers import count_of
from fasdk_tools.terminal.output import print_answer, print_fields, print_json


@app.command(rich_help_panel=Panel.DATA)
def record(
    camera: CameraOption,
    label: Annotated[str, typer.Option(help="bona fide or attack.")],
    subject: Annotated[
        str, typer.Option(help="Who is presented, kept as given: a number rather than a name.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the list and its frames.")],
    species: Annotated[
        str | None,
        typer.Option(help="What an attack is made with, such as print, screen or mask."),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="Site of the recording; by default the folder's name.")
    ] = None,
    consent: Annotated[
        str | None,
        typer.Option(
            help="What the person agreed to and where that is kept; asked for once a subject."
        ),
    ] = None,
    presentations: Annotated[int, typer.Option(min=1, help="Number of presentations.")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Captures of each presentation.")] = 5,
    every: Annotated[
        int, typer.Option(min=1, help="Keep one of this many captures that pass the gates.")
    ] = 5,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Count presentations of this kind that the list has."),
    ] = False,
    pause_s: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds between presentations; by default Enter begins each at a terminal, and 3 "
            "seconds pass elsewhere.",
        ),
    ] = None,
    face: FaceOption = None,
    face_model: FaceModelOption = None,
    rig: RigOption = None,
    gates: Annotated[
        bool,
        typer.Option(
            "--gates/--no-gates",
            help="Keep no capture that is too far, blurred or dark, or without a face.",
        ),
    ] = True,
    timeout_ms: Annotated[
        float, typer.Option(min=1.0, help="Longest wait for a capture.")
    ] = 5000.0,
    patience_s: Annotated[
        float, typer.Option(min=0.0, help="Longest time in which no capture passes.")
    ] = 120.0,
    as_json: JsonOption = False,
) -> None:
    """Record labeled presentations from a camera, as a list that training and tuning read.

    A presentation is added to the list when it is whole, and nothing in the folder is ever
    replaced. Exit 2 when the camera stops first; what was added stays, and --resume goes on.
    """
    from fasdk.cameras import open_camera
    from fasdk.extras import require_package
    from fasdk.quality import QualityLimits
    from fasdk.registration import Rig
    from fasdk_calibration.datasets.presented import Presented
    from fasdk_calibration.datasets.recording import open_recording
    from fasdk_tools.recording.record import RecordRequest
    from fasdk_tools.recording.record import record as record_presentations
    from fasdk_tools.terminal.recording import recording_view

    # OpenCV would print a page about each camera it cannot open; the error line covers it.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    for option, number in (("--timeout-ms", timeout_ms), ("--patience-s", patience_s)):
        if not math.isfinite(number):  # which a range of numbers does not ask
            raise UsageError(f"{option} is {number}, expected a number")
    require_package("cv2", "encoding PNG")
    request = RecordRequest(
        presented=Presented.named(
            label, species, subject, domain or Path(os.path.realpath(out)).name
        ),
        consent=consent,
        frames=frames,
        presentations=presentations,
        resume=resume,
        every=every,
        limits=QualityLimits() if gates else QualityLimits.faults(),
        locator=face_locator(face, face_model),
        rig=None if rig is None else Rig.load(rig),
        timeout_ms=timeout_ms,
        patience_ms=patience_s * 1000.0,
    )
    with (
        open_camera(camera) as opened,
        open_recording(out) as recording,
        recording_view(presentations, frames, pause_s) as view,
    ):
        report = record_presentations(opened, recording, request, view)
    if as_json:
        print_json(asdict(report) | {"list": str(report.list)})
        return
    print_answer(
        f"Recorded {count_of(report.presentations, 'presentation')} of "
        f"{count_of(frames, 'capture')} in {report.list}"
    )
    fields: dict[str, object] = {
        "label": request.presented.label.value,
        "species": request.presented.species,
        "subject": request.presented.subject,
        "domain": request.presented.domain,
        "captures seen": report.seen,
        "not kept": ", ".join(f"{n} {code}" for code, n in sorted(report.refused.items())) or "0",
    }
    if report.resumed:
        fields["in the list before"] = report.resumed
    print_fields("", fields)

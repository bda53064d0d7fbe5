"""Verb commission."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.camera_options import (
    CameraOption,
    FaceModelOption,
    FaceOption,
    RigOption,
    face_locator,
)
from fasdk_tools.cli.root import (
    EXIT_NO,
    AllowOption,
    BackendOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    LevelOption,
    Panel,
    UnsignedOption,
    app,
    trust_policy,
)
from fasdk_tools.terminal.output import print_json

if TYPE_CHECKING:
    from fasdk.cameras import Camera
    from fasdk_tools.commissioning.commissioning import Commissioning
    from fasdk_tools.terminal.commission import CommissionView

_MOST_FAULTS = 20  # in a row, after which the camera is given up
_FAULT_PAUSE_S = 0.2


@app.command(rich_help_panel=Panel.MEASURE)
def commission(
    bundle: BundleArgument,
    camera: CameraOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Site profile to write, if READY.")],
    people: Annotated[int, typer.Option(min=1, help="Persons who take part.")] = 4,
    presentations: Annotated[
        int, typer.Option(min=1, help="How often each person steps before the camera.")
    ] = 5,
    captures: Annotated[
        int, typer.Option(min=1, help="Captures to judge each time, fused by their mean.")
    ] = 5,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Attack instrument to show too, such as print. Repeatable."
        ),
    ] = None,
    attack_presentations: Annotated[
        int, typer.Option(min=1, help="How often each attack instrument is shown.")
    ] = 5,
    max_bpcer: Annotated[
        float,
        typer.Option(help="BPCER whose upper bound people's scores must support."),
    ] = 0.15,
    pause_s: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds before each presentation; by default Enter begins each person at a "
            "terminal, 2 seconds pass elsewhere, and none with a recording.",
        ),
    ] = None,
    level: LevelOption = "standard",
    face: FaceOption = None,
    face_model: FaceModelOption = None,
    rig: RigOption = None,
    timeout_ms: Annotated[
        float, typer.Option(min=1.0, help="Longest wait for a capture.")
    ] = 5000.0,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a door on its site in two minutes, and tighten its gates to what was seen there.

    People who work there step before the camera as they are told. Exit 0 and a site profile for
    READY, 1 for NOT READY with what to change, 2 for wrong input. No frame is kept.
    """
    from fasdk.backends.registry import parse_backend
    from fasdk.bundle.succession import allowing
    from fasdk.cameras import open_camera
    from fasdk.quality import QualityLimits
    from fasdk.registration import Rig
    from fasdk.session.opening import open as open_session
    from fasdk_tools.commissioning.commissioning import Commissioning
    from fasdk_tools.commissioning.plan import Plan
    from fasdk_tools.commissioning.report import report_of
    from fasdk_tools.outputs import require_outputs
    from fasdk_tools.terminal.commission import CommissionView, print_report

    # OpenCV would print a page about each camera it cannot open; the error line covers it.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    if not 0.0 < max_bpcer < 1.0:
        raise UsageError(f"--max-bpcer is {max_bpcer}, expected a share between 0 and 1")
    if not math.isfinite(timeout_ms):  # which a range of numbers does not ask
        raise UsageError(f"--timeout-ms is {timeout_ms}, expected milliseconds, such as 5000")
    require_outputs({"-o": out}, {"the bundle itself": bundle, "--rig": rig})
    plan = Plan.of(
        people=people,
        presentations=presentations,
        captures=captures,
        attacks=attack or [],
        attack_presentations=attack_presentations,
    )
    if pause_s is None and camera.startswith("replay:"):
        pause_s = 0.0
    with (
        open_camera(camera) as opened,
        open_session(
            bundle,
            backend=parse_backend(backend),
            level=level,
            trust=trust_policy(key, unsigned),
            **allowing(allow or []),
            limits=QualityLimits(),
        ) as session,
    ):
        commissioning = Commissioning(
            plan,
            session,
            opened,
            locator=face_locator(face, face_model),
            rig=None if rig is None else Rig.load(rig),
        )
        _collect(commissioning, opened, CommissionView(_pause_s(pause_s)), timeout_ms)
        report = report_of(commissioning, max_bpcer=max_bpcer, dropped=opened.counts.dropped)
    if report.is_ready:
        report.profile(commissioning.started_unix_s).save(out)
    if as_json:
        print_json(report.document())
    else:
        print_report(report, out if report.is_ready else None)
    if not report.is_ready:
        raise typer.Exit(EXIT_NO)


def _pause_s(asked: float | None) -> float | None:
    """Return the pause before each presentation; None begins it with Enter, at a terminal."""
    return 2.0 if asked is None and not sys.stdin.isatty() else asked


def _collect(
    commissioning: Commissioning, camera: Camera, view: CommissionView, timeout_ms: float
) -> None:
    """Read the camera until every step is done, its stream ends, or it gives nothing any more."""
    from fasdk.errors import BadCaptureError, CameraError, EndOfStreamError

    in_a_row = 0
    while (step := commissioning.progress.step) is not None and in_a_row < _MOST_FAULTS:
        is_due = view.is_due(step)
        try:
            capture = camera.read(timeout_ms)
        except EndOfStreamError:
            return
        except CameraError as error:
            commissioning.fault(error)
            in_a_row += 1
            if not isinstance(error, BadCaptureError):
                time.sleep(_FAULT_PAUSE_S)
            continue
        in_a_row = 0
        if is_due:
            view.seen(commissioning.take_in(capture))

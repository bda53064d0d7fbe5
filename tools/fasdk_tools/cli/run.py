"""Verb run."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk.plain_text import plain
from fasdk_tools.cli.audit_options import (
    AuditFileMbOption,
    AuditFlushOption,
    AuditKeepOption,
    AuditKeyOption,
    AuditOption,
    AuditRequiredOption,
    audit_log,
)
from fasdk_tools.cli.camera_options import (
    CameraOption,
    FaceModelOption,
    FaceOption,
    RigOption,
    face_locator,
)
from fasdk_tools.cli.root import (
    AllowOption,
    BackendOption,
    BatchingOption,
    BundleArgument,
    GatesOption,
    KeyOption,
    LevelOption,
    MissingOption,
    Panel,
    UnsignedOption,
    app,
    missing_policy,
    trust_policy,
)
from fasdk_tools.terminal.output import STDERR, print_json_line, terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasdk.bundle.bundle import Bundle


@app.command(rich_help_panel=Panel.RUN)
def run(
    bundle: BundleArgument,
    camera: CameraOption,
    face: FaceOption = None,
    face_model: FaceModelOption = None,
    rig: RigOption = None,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Site profile of this camera, as `fasdk commission` writes it."
        ),
    ] = None,
    health: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON file to write at the end and every minute: counts, and what has moved "
            "against the site profile, or else against the bundle's own record.",
        ),
    ] = None,
    gates: GatesOption = True,
    each_frame: Annotated[
        bool,
        typer.Option(
            "--each-frame",
            help="Decide on each capture by itself: no multi-frame verdict, no lock-out.",
        ),
    ] = False,
    level: LevelOption = "standard",
    missing_modalities: MissingOption = "require",
    max_captures: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many captures.")
    ] = None,
    timeout_ms: Annotated[
        float, typer.Option(min=1.0, help="Longest wait for a capture.")
    ] = 1000.0,
    batching: BatchingOption = None,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    allow: AllowOption = None,
    audit: AuditOption = None,
    audit_required: AuditRequiredOption = False,
    audit_key: AuditKeyOption = None,
    audit_file_mb: AuditFileMbOption = None,
    audit_keep: AuditKeepOption = None,
    audit_flush: AuditFlushOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines: one document per decision.")
    ] = False,
) -> None:
    """Decide on a camera's captures until its stream ends or Ctrl-C, one line per decision.

    A camera fault is an ERROR line and the camera is tried again. The systemd watchdog is notified
    of decisions alone. Exit 0 at the end, 2 for wrong input.
    """
    from fasdk.backends.registry import parse_backend
    from fasdk.bundle.succession import allowing
    from fasdk.cameras import open_camera
    from fasdk.capture_loop import run_captures
    from fasdk.malloc_arenas import limit_malloc_arenas
    from fasdk.quality import QualityLimits
    from fasdk.registration import Rig
    from fasdk.session.opening import open as open_session
    from fasdk.site import SiteProfile
    from fasdk.tracking.policy import TrackPolicy
    from fasdk.watchdog import Watchdog
    from fasdk_tools.commissioning.health_file import HealthFile
    from fasdk_tools.outputs import require_outputs
    from fasdk_tools.terminal.decisions import document_of, text_of

    # OpenCV would print a page about each camera it cannot open; the error line covers it.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    if not math.isfinite(timeout_ms):  # which a range of numbers does not ask
        raise UsageError(f"--timeout-ms is {timeout_ms}, expected milliseconds, such as 1000")
    limit_malloc_arenas()  # a door runs for months
    locator = face_locator(face, face_model)
    missing = missing_policy(missing_modalities)
    profile = None if site is None else SiteProfile.load(site)
    # A recording opens no door: judged twice, it gets the same answers twice.
    policy = TrackPolicy(missing=missing, on_disk=not camera.startswith("replay:"))
    counts: Counter[str] = Counter()
    if health is not None:
        require_outputs({"--health": health}, {"the bundle itself": bundle, "--site": site})
    watchdog = Watchdog.from_environment()
    with (
        open_camera(camera) as opened_camera,
        open_session(
            bundle,
            backend=parse_backend(backend),
            level=level,
            trust=trust_policy(key, unsigned),
            **allowing(allow or []),
            batching=batching,
            limits=QualityLimits() if gates else None,
            site=profile,
            missing=missing,
        ) as liveness,
        audit_log(
            audit,
            required=audit_required,
            key=audit_key,
            file_mb=audit_file_mb,
            keep=audit_keep,
            flush=audit_flush,
        ) as log,
        _until_told_to_stop(),
    ):
        _require_level(liveness.bundle, bundle, level)
        if profile is not None:
            profile.require_camera(opened_camera.identity())
        kept = None
        if health is not None:
            kept = HealthFile(health, liveness.bundle, profile, is_recording=not policy.on_disk)
        trust = liveness.bundle.trust
        for result in run_captures(
            opened_camera,
            liveness if each_frame else liveness.track(opened_camera.identity(), policy),
            locator,
            rig=None if rig is None else Rig.load(rig),
            max_captures=max_captures,
            timeout_ms=timeout_ms,
            audit=log,
            observe=None if kept is None else kept.observe,
        ):
            if kept is not None and result.capture is None:
                kept.camera_fault(result.decision)
            counts[result.decision.verdict.value] += 1  # first: what is printed was counted
            if as_json:
                print_json_line(document_of(result, trust))
            else:
                print(plain(text_of(result, terminal_width(), trust)), flush=True)
            watchdog.notify_decision(result.decision)
    watchdog.stopping()
    if kept is not None:
        kept.write()
    summary = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    dropped = opened_camera.counts.dropped
    STDERR.print(f"fasdk: {summary or 'no decision'}; {dropped} captures dropped by the camera")


@contextmanager
def _until_told_to_stop() -> Iterator[None]:
    """Make Ctrl-C, systemd's SIGTERM and a reader that closed its pipe a normal end."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # What Python still holds for stdout would fail again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_level(bundle: Bundle, path: Path, level: str) -> None:
    """Refuse a level that a tuned bundle lacks; a bundle without any answers ERROR, and may run."""
    levels = sorted({point.level for point in bundle.manifest.operating_points})
    if levels and level not in levels:
        raise UsageError(
            f"{path} has no security level {level!r}: choose among {', '.join(levels)}"
        )

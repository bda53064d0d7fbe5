"""Verb serve."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk.extras import require_package
from fasdk_tools.cli.camera_options import FaceModelOption, RigOption, face_locator
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
from fasdk_tools.terminal.output import STDERR, print_answer, print_fields

if TYPE_CHECKING:
    from fasdk.session.session import Liveness
    from fasdk_tools.serving.listening import TcpAddress, UnixAddress


@app.command(rich_help_panel=Panel.RUN)
def serve(
    bundle: BundleArgument,
    socket: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Unix socket to listen on, for this account alone."),
    ] = None,
    socket_group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Group that may use the socket too.")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help="TCP address to listen on instead."),
    ] = None,
    beyond_loopback: Annotated[
        bool,
        typer.Option(
            "--beyond-loopback",
            help="Let --http be an address that other machines reach; needs a token.",
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token that clients must send."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Further name in Host, as of a proxy. Repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Value of Origin that is accepted. Repeatable."),
    ] = None,
    face_model: FaceModelOption = None,
    rig: RigOption = None,
    gates: GatesOption = True,
    level: LevelOption = "standard",
    missing_modalities: MissingOption = "require",
    deadline_ms: Annotated[
        float, typer.Option(metavar="MS", help="Longest time to an answer, in milliseconds.")
    ] = 1000.0,
    max_mib: Annotated[int, typer.Option(min=1, max=1024, help="Largest capture, in MiB.")] = 32,
    max_captures: Annotated[
        int, typer.Option(min=1, max=1024, help="Captures under way at once.")
    ] = 8,
    max_connections: Annotated[
        int, typer.Option(min=1, max=100_000, help="Connections at once.")
    ] = 64,
    max_rate: Annotated[float, typer.Option(help="Captures a second.")] = 200.0,
    cameras: Annotated[
        int, typer.Option(min=1, max=1000, help="Names of cameras that are taken.")
    ] = 8,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="End as soon as the service is ready.")
    ] = False,
    batching: BatchingOption = None,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    allow: AllowOption = None,
) -> None:
    """Answer captures over a Unix socket or HTTP, for kiosks in other languages.

    REST for one capture, WebSocket for a camera's frames with its track; /openapi.json describes
    both. It listens at once and is ready when the golden captures were replayed. There is no TLS.
    Exit 0 after SIGTERM or Ctrl-C, 2 for wrong input.
    """
    require_package("aiohttp", "`fasdk serve`")
    from fasdk.backends.registry import parse_backend
    from fasdk.batching import BatchingPolicy
    from fasdk.batching.policy_file import PolicyFile
    from fasdk.bundle.succession import allowing
    from fasdk.malloc_arenas import limit_malloc_arenas
    from fasdk.quality import QualityLimits
    from fasdk.registration import Rig
    from fasdk.session.opening import open as open_session
    from fasdk.watchdog import Watchdog
    from fasdk_tools.serving.access import Access, Token
    from fasdk_tools.serving.capture_body import CaptureReader
    from fasdk_tools.serving.limits import MIB, ServeLimits
    from fasdk_tools.serving.server import ServeSetup
    from fasdk_tools.serving.server import serve as run_server
    from fasdk_tools.serving.service import Service

    # OpenCV would print a page about each file it cannot decode; the answer says it.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    address = _address(socket, socket_group, http)
    token = None if token_file is None else Token.read(token_file)
    is_local = _require_allowed(address, token is not None, beyond_loopback)
    limits = ServeLimits(
        deadline_ms=deadline_ms,
        body_bytes=max_mib * MIB,
        captures=max_captures,
        connections=max_connections,
        cameras=cameras,
        rate_per_s=max_rate,
    )
    locator, missing = face_locator(None, face_model), missing_policy(missing_modalities)
    parsed, trust, allowed = parse_backend(backend), trust_policy(key, unsigned), allow or []
    policy = None if batching is None else PolicyFile.load(batching)
    lanes = BatchingPolicy() if policy is None else policy.batching
    watchdog = Watchdog.from_environment()
    limit_malloc_arenas()  # a service runs for months
    service = Service(
        bundle,
        limits,
        CaptureReader(limits, same_clock=is_local),
        locator=locator,
        rig=None if rig is None else Rig.load(rig),
        require_times=gates,
        watchdog=watchdog,
    )

    def opened() -> Liveness:
        return open_session(
            bundle,
            backend=parsed,
            level=level,
            trust=trust,
            threads=0 if policy is None else policy.threads,
            batching=replace(lanes, deadline_ms=deadline_ms),
            limits=QualityLimits() if gates else None,
            missing=missing,
            **allowing(allowed),
        )

    def on_ready(session: Liveness, shown: str) -> None:
        print_answer(f"Ready: {shown}")
        print_fields(
            "",
            {
                "bundle": str(bundle),
                "trust": session.bundle.trust,
                "security level": level,
                "golden captures": f"{len(session.bundle.golden)} replayed",
                "token": "none" if token is None else "required",
                "limits": f"{max_captures} captures at once, {max_rate:g} a second, "
                f"{max_connections} connections, {max_mib} MiB, {deadline_ms:g} ms",
            },
        )
        sys.stdout.flush()

    run_server(
        ServeSetup(
            address=address,
            service=service,
            access=Access(token, _hosts(allow_host), frozenset(allow_origin or [])),
            open_session=opened,
            on_ready=on_ready,
            watchdog=watchdog,
            until_ready=dry_run,
        )
    )


def _address(socket: Path | None, group: str | None, http: str | None) -> UnixAddress | TcpAddress:
    from fasdk_tools.serving.listening import TcpAddress, UnixAddress

    if (socket is None) == (http is None):
        raise UsageError("give --socket PATH or --http 127.0.0.1:PORT, and only one of them")
    if socket is not None:
        return UnixAddress(socket, group)
    if group is not None:
        raise UsageError("--socket-group is for --socket: leave it out, or give --socket PATH")
    return TcpAddress.parse(str(http))


def _require_allowed(
    address: UnixAddress | TcpAddress, has_token: bool, beyond_loopback: bool
) -> bool:
    """Refuse an address that others reach unless it was asked for, with a token.

    Returns:
        Whether clients run on this machine.
    """
    from fasdk_tools.serving.listening import UnixAddress

    is_local = isinstance(address, UnixAddress) or address.is_loopback
    if not is_local and not (beyond_loopback and has_token):
        raise UsageError(
            f"{address} is reached from other machines: give --http 127.0.0.1:PORT, or "
            "--beyond-loopback and --token-file FILE; there is no TLS, so put a proxy before it"
        )
    if not is_local:
        warning = f"{address} has no TLS: put a proxy before it, and let nobody else reach it"
        STDERR.print(f"fasdk: warning: {warning}", markup=False, soft_wrap=True)
    elif not has_token and not isinstance(address, UnixAddress):
        warning = (
            f"{address} without --token-file: every account of this machine may ask; --socket is "
            "for one account or group"
        )
        STDERR.print(f"fasdk: warning: {warning}", markup=False, soft_wrap=True)
    return is_local


def _hosts(names: list[str] | None) -> frozenset[str]:
    """Return the names of --allow-host, in lower case.

    Raises:
        UsageError: One has a port or a scheme.
    """
    for name in names or []:
        if not name or any(mark in name for mark in ":/@ *"):
            raise UsageError(
                f"--allow-host {name!r} is no name: give it without scheme and port, such as "
                "kiosk.example.org"
            )
    return frozenset(name.lower() for name in names or [])

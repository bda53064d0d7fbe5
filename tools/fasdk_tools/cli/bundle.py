"""What a bundle is asked: inspect, verify, check, profile; and keygen, for what signs it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import (
    BundleError,
    PlanError,
    TamperedError,
    TrustError,
    UsageError,
)
from fasdk_tools.cli.root import (
    EXIT_NO,
    BackendOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    app,
    parse_face,
    trust_policy,
)
from fasdk_tools.terminal.output import (
    STDERR,
    format_bytes,
    print_fields,
    print_json,
    print_rows,
    progress_view,
)

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle


@app.command()
def inspect(bundle: BundleArgument, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Show what a bundle says of itself."""
    opened = _open(bundle, key)
    manifest = opened.manifest
    document = {
        "bundle": str(bundle),
        "bundle_id": opened.id,
        "size_bytes": opened.size_bytes,
        "signed": opened.is_signed,
        "signed_by": opened.signed_by,
        "manifest": manifest.model_dump(mode="json"),
        "member_bytes": opened.member_sizes,
    }
    if as_json:
        print_json(document)
        return
    print_fields(
        str(bundle),
        {
            "bundle id": opened.id,
            "size": format_bytes(opened.size_bytes),
            "signature": _signature_text(opened),
            "model": f"{manifest.model.family} ({manifest.model.published_in})",
            "parameters": f"{manifest.model.parameters:,}",
            "precision": manifest.precision.value,
            "modalities": [m.value for m in manifest.modalities],
            "required": [m.value for m in manifest.required],
            "labels": list(manifest.labels),
            "operating points": len(manifest.operating_points) or "none",
            "from": manifest.operating_points_note,
            "plans": [
                f"{p.version} for {', '.join(p.compute_capabilities)}" for p in manifest.plans
            ],
            "revision": manifest.revision,
            "checkpoint": manifest.provenance.checkpoint_sha256,
            "tools": manifest.provenance.tools,
        },
    )
    if manifest.operating_points:
        print_rows(
            "Operating points",
            ("level", "modalities", "threshold", "APCER at most (95 %)", "score", "source"),
            [
                (
                    point.level,
                    "+".join(m.value for m in point.modalities),
                    point.threshold,
                    f"{point.apcer_upper:.2%}",
                    "calibrated" if point.calibrated else "softmax",
                    point.source,
                )
                for point in manifest.operating_points
            ],
        )
    if manifest.sequential_tests:
        print_rows(
            "Verdicts on several frames",
            ("level", "modalities", "frames at most", "ms at most", "APCER at most (95 %)"),
            [
                (
                    test.level,
                    "+".join(m.value for m in test.modalities),
                    test.max_frames,
                    f"{test.max_ms:g}",
                    f"{test.apcer_upper:.2%}",
                )
                for test in manifest.sequential_tests
            ],
        )
    print_rows(
        "Members",
        ("member", "size", "sha256"),
        [
            (name, format_bytes(size), manifest.members.get(name, "-")[:16])
            for name, size in opened.member_sizes.items()
        ],
    )


@app.command()
def verify(
    bundle: BundleArgument,
    backend: BackendOption = "onnxruntime",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's bytes and signature, then replay its golden captures."""
    from fasdk.backends.registry import parse_backend
    from fasdk.session.session import open as open_session

    parsed = parse_backend(backend)
    document: dict[str, Any] = {"bundle": str(bundle), "ok": False, "reason": None}
    _require_file(bundle)
    try:
        with open_session(bundle, backend=parsed, trust=trust_policy(key)) as liveness:
            opened = liveness.bundle
            document |= {
                "bundle_id": opened.id,
                "signed": opened.is_signed,
                "signed_by": opened.signed_by,
                "members": len(opened.member_sizes),
                "backend": liveness.engine.backend.value,
                "golden_captures": len(opened.golden),
                "golden_drift": liveness.replay_golden(),
            }
            document["ok"] = True
    except (TamperedError, TrustError, PlanError) as error:
        document["reason"] = str(error)
    if as_json:
        print_json(document)
    elif document["ok"]:
        print_fields(f"{bundle} holds", document)
    else:
        STDERR.print(f"fasdk: {document['reason']}", markup=False)
    if not document["ok"]:
        raise typer.Exit(EXIT_NO)


@app.command()
def check(
    bundle: BundleArgument,
    rgb: Annotated[Path | None, typer.Option(help="8-bit color image.")] = None,
    depth: Annotated[Path | None, typer.Option(help="16-bit PNG in millimeters.")] = None,
    ir: Annotated[Path | None, typer.Option(help="8-bit infrared image.")] = None,
    face: Annotated[
        str | None, typer.Option(help="x,y,w,h in pixels of the first frame given.")
    ] = None,
    level: Annotated[str, typer.Option(help="Security level.")] = "standard",
    backend: BackendOption = "auto",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge one capture; exit 0 only for LIVE."""
    from fasdk.backends.registry import parse_backend
    from fasdk.capture import Capture, Modality
    from fasdk.decision import Verdict
    from fasdk.frames import read_frame
    from fasdk.session.session import open as open_session

    paths = {Modality.RGB: rgb, Modality.DEPTH: depth, Modality.IR: ir}
    frames: dict[str, Any] = {
        m.value: read_frame(path, m) for m, path in paths.items() if path is not None
    }
    capture = Capture(**frames, face=None if face is None else parse_face(face))
    with open_session(
        bundle, backend=parse_backend(backend), level=level, trust=trust_policy(key)
    ) as liveness:
        liveness.require(capture)
        decision = liveness.check(capture)
        document = asdict(decision) | {
            "verdict": decision.verdict.value,
            "modalities": [m.value for m in decision.modalities],
            "bundle": str(bundle),
            "backend": liveness.engine.backend.value,
        }
    if as_json:
        print_json(document)
    else:
        print_fields(
            decision.verdict.value.upper(),
            {
                "score": decision.score,
                "threshold": decision.threshold,
                "operating point": decision.operating_point,
                "reasons": list(decision.reasons),
                "class scores": decision.class_scores,
                "reliability": decision.reliability,
                "end to end": f"{decision.timings_ms['end_to_end']:.1f} ms",
                "bundle id": decision.bundle_id,
            },
        )
    if decision.verdict is not Verdict.LIVE:
        raise typer.Exit(EXIT_NO)


@app.command()
def profile(
    bundle: BundleArgument,
    batch: Annotated[str, typer.Option(help="Batch sizes, comma separated.")] = "1",
    streams: Annotated[str, typer.Option(help="Lanes at once, comma separated.")] = "1",
    seconds: Annotated[float, typer.Option(help="How long to count each of them.")] = 3.0,
    warmup: Annotated[int, typer.Option(help="Calls first, not counted.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for one a core.")] = 0,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a bundle on this machine, stage by stage, one call after another on each lane."""
    from fasdk.backends.registry import parse_backend
    from fasdk.session.session import open as open_session
    from fasdk_tools.diagnostics.profile import profile as profile_batch

    batches, lanes = _parse_numbers("--batch", batch), _parse_numbers("--streams", streams)
    with (
        progress_view() as view,
        open_session(
            bundle, backend=parse_backend(backend), trust=trust_policy(key), threads=threads
        ) as liveness,
    ):
        captures = [item.capture for item in liveness.bundle.golden]
        runs = [
            profile_batch(
                liveness,
                captures,
                size,
                streams=count,
                seconds=seconds,
                warmup_calls=warmup,
                on_call=lambda share, size=size, count=count: view.update(  # type: ignore[misc]
                    f"batch {size}, streams {count}", round(100 * share), 100
                ),
            )
            for count in lanes
            for size in batches
        ]
        engine = liveness.engine
        document = {
            "bundle": str(bundle),
            "bundle_id": liveness.bundle.id,
            "backend": engine.backend.value,
            "version": engine.version,
            "precision": liveness.bundle.manifest.precision.value,
            "loop": "closed",
            "captures": len(captures),
            "runs": [asdict(run) for run in runs],
        }
    if as_json:
        print_json(document)
        return
    for run in runs:
        stages = run.stages | {"end to end": run.end_to_end}
        print_rows(
            f"{document['backend']} {document['version']}, {document['precision']}, "
            f"batch {run.batch}, streams {run.streams}, {run.calls} calls, "
            f"{run.captures_per_second:.1f} captures/s",
            ("stage", "mean ms", "p50 ms", "p90 ms", "p99 ms", "max ms"),
            [(name, *asdict(stats).values()) for name, stats in stages.items()],
        )


@app.command()
def keygen(
    private_key: Annotated[Path, typer.Argument(metavar="KEY", help="PEM file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 key pair: KEY signs bundles, KEY.pub goes to the devices."""
    from fasdk.bundle.trust import generate_key

    public, identity = generate_key(private_key)
    document = {"private_key": str(private_key), "public_key": str(public), "key_id": identity}
    if as_json:
        print_json(document)
    else:
        print_fields("New key pair", document)


def _signature_text(bundle: Bundle) -> str:
    if not bundle.is_signed:
        return "none"
    return f"by trusted key {bundle.signed_by}" if bundle.signed_by else "present, not checked"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise BundleError(f"cannot read bundle {path}: no such file")


def _parse_numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UsageError(f"{option} {text!r} is not a list of whole numbers from 1 on, such as 1,4")
    return numbers


def _open(path: Path, keys: list[Path] | None) -> Bundle:
    from fasdk.bundle.bundle import open_bundle

    return open_bundle(path, trust_policy(keys))

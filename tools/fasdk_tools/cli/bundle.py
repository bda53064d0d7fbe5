"""Verbs on a bundle: inspect, verify and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import (
    BundleError,
    PlanError,
    RollbackError,
    TamperedError,
    TrustError,
)
from fasdk_tools.cli.list_options import DepthScaleOption, IrShiftOption
from fasdk_tools.cli.root import (
    EXIT_NO,
    AllowOption,
    BackendOption,
    BundleArgument,
    JsonOption,
    KeyOption,
    LevelOption,
    MissingOption,
    Panel,
    UnsignedOption,
    WideOption,
    app,
    missing_policy,
    parse_face,
    parse_landmarks,
    trust_policy,
)
from fasdk_tools.terminal.build_report import SUMMARY_TITLE
from fasdk_tools.terminal.numbers import (
    format_bytes,
    format_count,
    format_ms,
    format_share,
)
from fasdk_tools.terminal.output import (
    STDERR,
    print_answer,
    print_fields,
    print_json,
    print_rows,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from fasdk.bundle.bundle import Bundle
    from fasdk.bundle.manifest import Manifest
    from fasdk.decision import Decision


@app.command(rich_help_panel=Panel.RUN)
def inspect(
    bundle: BundleArgument,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the manifest of a bundle: model, operating points, members and provenance."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk.bundle.members import MANIFEST
    from fasdk.bundle.summary import summarize

    opened = open_bundle(bundle, trust_policy(key, unsigned))
    manifest = opened.manifest
    summary = summarize(manifest)
    document = {
        "bundle": str(bundle),
        "bundle_id": opened.id,
        "size_bytes": opened.size_bytes,
        **_signature_fields(opened),
        "summary": summary,
        "gpu_preprocessing": _gpu_preprocessing(manifest),
        "manifest": manifest.model_dump(mode="json"),
        "member_bytes": opened.member_sizes,
    }
    if as_json:
        print_json(document)
        return
    levels = sorted({point.level for point in manifest.operating_points})
    print_answer(
        f"{manifest.model.family} in {manifest.precision.value}, "
        + (f"levels {', '.join(levels)}" if levels else "no operating point: run `fasdk tune`")
    )
    print_fields("", _manifest_fields(opened))
    print_fields(SUMMARY_TITLE, summary)
    _print_thresholds(manifest, wide=wide)
    digests = {MANIFEST: opened.id, **manifest.members}
    print_rows(
        "Members",
        ("member", "size", "sha256"),
        [
            (name, format_bytes(size), digests.get(name, "-")[: 64 if wide else 16])
            for name, size in opened.member_sizes.items()
        ],
    )


def _manifest_fields(opened: Bundle) -> dict[str, object]:
    manifest = opened.manifest
    return {
        "bundle": str(opened.path),
        "bundle id": opened.id,
        "size": format_bytes(opened.size_bytes),
        "signature": _signature_text(opened),
        "product": manifest.product,
        "revision": manifest.revision,
        "model": f"{manifest.model.family} ({manifest.model.published_in})",
        "parameters": format_count(manifest.model.parameters),
        "precision": manifest.precision.value,
        "modalities": [m.value for m in manifest.modalities],
        "required": [m.value for m in manifest.required] or "none",
        "labels": list(manifest.labels),
        "operating points": manifest.operating_points_note,
        "plans": [
            f"tensorrt-rtx {p.version} for compute capabilities {', '.join(p.compute_capabilities)}"
            for p in manifest.plans
        ]
        or "none",
        "frames on a GPU": _gpu_preprocessing(manifest),
        "checkpoint": manifest.provenance.checkpoint_sha256,
        "built with": manifest.provenance.tools,
    }


def _gpu_preprocessing(manifest: Manifest) -> str:
    """Return where TensorRT lanes of this machine would preprocess frames, and by which kernels."""
    from fasdk.backends.device_kernels import kernels_here
    from fasdk.backends.tensorrt.row_kernels import CaptureInputs
    from fasdk.errors import BackendError

    captures = CaptureInputs(manifest.inputs, manifest.presence_order)
    if not captures.on_device:
        return "preprocessed on the host: every input draws HOG and PLGF maps"
    try:
        origin = kernels_here()
    except BackendError as error:
        return f"preprocessed on the host: {error}"
    drawn = ", ".join(m.value for m in captures.on_host)
    rest = f"; {drawn} on the host, which draws its HOG and PLGF maps" if drawn else ""
    return f"preprocessed there, kernels from {origin.value}{rest}"


def _print_thresholds(manifest: Manifest, *, wide: bool) -> None:
    if manifest.operating_points:
        print_rows(
            "Operating points (APCER: upper bound for the worst species, 95 % confidence)",
            ("level", "modalities", "threshold", "APCER", "score", Column("source", wide=True)),
            [
                (
                    point.level,
                    "+".join(m.value for m in point.modalities),
                    point.threshold,
                    format_share(point.apcer_upper),
                    "calibrated" if point.calibrated else "softmax",
                    point.source,
                )
                for point in manifest.operating_points
            ],
            wide=wide,
        )
    if manifest.sequential_tests:
        print_rows(
            "Verdicts on several frames (APCER: upper bound, 95 % confidence)",
            ("level", "modalities", "max frames", "max time", "APCER"),
            [
                (
                    test.level,
                    "+".join(m.value for m in test.modalities),
                    test.max_frames,
                    format_ms(test.max_ms),
                    format_share(test.apcer_upper),
                )
                for test in manifest.sequential_tests
            ],
        )


@app.command(rich_help_panel=Panel.RUN)
def verify(
    bundle: BundleArgument,
    backend: BackendOption = "onnxruntime",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's bytes, signature and revision, then replay its golden captures."""
    from fasdk.backends.registry import parse_backend
    from fasdk.bundle.revisions import RevisionState
    from fasdk.bundle.succession import allowed_changes, allowing
    from fasdk.session.opening import open as open_session

    parsed = parse_backend(backend)
    document: dict[str, Any] = {"bundle": str(bundle), "ok": False, "reason": None}
    _require_file(bundle)
    trust = trust_policy(key, unsigned)
    allowed = allowed_changes(allowing(allow or []))
    unrecorded = RevisionState.unchecked()
    try:
        with open_session(bundle, backend=parsed, trust=trust, revisions=unrecorded) as liveness:
            opened = liveness.bundle
            RevisionState.installed().check(opened, [k.id for k in trust.keys], allowed)
            document |= {
                "bundle_id": opened.id,
                **_signature_fields(opened),
                "members": len(opened.member_sizes),
                "backend": liveness.engine.backend.value,
                "golden_captures": len(opened.golden),
                "golden_drift": liveness.replay_golden(),
            }
            if opened.has_signature and opened.signed_by is None:
                raise TrustError(
                    f"{bundle}: its signature was not checked: leave --unsigned out, and give "
                    "--key KEY.pub where its key is not in `fasdk trust list`"
                )
            document["ok"] = True
    except (TamperedError, TrustError, RollbackError, PlanError) as error:
        document["reason"] = str(error)
    if as_json:
        print_json(document)
    elif document["ok"]:
        print_answer(
            "Intact: every digest matches and "
            f"{document['golden_captures']} golden captures are reproduced"
        )
        print_fields(
            "",
            {
                "bundle": str(bundle),
                "bundle id": document["bundle_id"],
                "signature": _signature_text(opened),
                "members": document["members"],
                "backend": document["backend"],
                "largest score drift": document["golden_drift"],
            },
        )
    else:
        STDERR.print(f"fasdk: {document['reason']}", markup=False, soft_wrap=True)
    if not document["ok"]:
        raise typer.Exit(EXIT_NO)


@app.command(rich_help_panel=Panel.RUN)
def check(
    bundle: BundleArgument,
    rgb: Annotated[Path | None, typer.Option(help="8-bit color image.")] = None,
    depth: Annotated[Path | None, typer.Option(help="16-bit PNG in millimeters.")] = None,
    ir: Annotated[Path | None, typer.Option(help="8-bit infrared image.")] = None,
    face: Annotated[
        str | None, typer.Option(help="x,y,w,h in pixels of the first frame given.")
    ] = None,
    landmarks: Annotated[
        str | None,
        typer.Option(
            help="x,y of the person's right eye, left eye, nose tip, right and left corner of the "
            "mouth, in those pixels."
        ),
    ] = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    level: LevelOption = "standard",
    missing_modalities: MissingOption = "require",
    backend: BackendOption = "auto",
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide on one capture; exit 0 only for LIVE."""
    from fasdk.backends.registry import parse_backend
    from fasdk.bundle.succession import allowing
    from fasdk.capture import Capture, Modality
    from fasdk.frames import FrameUnits, read_noted_frame
    from fasdk.session.opening import open as open_session
    from fasdk_tools.terminal.decisions import check_document_of

    paths = {Modality.RGB: rgb, Modality.DEPTH: depth, Modality.IR: ir}
    units = FrameUnits(depth_scale_mm, ir_shift)
    read = {
        m.value: read_noted_frame(path, m, units) for m, path in paths.items() if path is not None
    }
    for note in dict.fromkeys(note for each in read.values() for note in each.notes):
        STDERR.print(f"fasdk: warning: {note}", markup=False, soft_wrap=True)
    frames: dict[str, Any] = {name: each.frame for name, each in read.items()}
    capture = Capture(
        **frames,
        face=None if face is None else parse_face(face),
        landmarks=None if landmarks is None else parse_landmarks(landmarks),
    )
    with open_session(
        bundle,
        backend=parse_backend(backend),
        level=level,
        trust=trust_policy(key, unsigned),
        **allowing(allow or []),
        missing=missing_policy(missing_modalities),
    ) as liveness:
        liveness.require(capture)
        decision = liveness.check(capture)
        document = check_document_of(decision, bundle, liveness.engine.backend)
    if as_json:
        print_json(document)
    else:
        print_answer(_verdict_line(decision))
        print_fields(
            "",
            {
                "score": decision.score,
                "threshold": decision.threshold,
                "operating point": decision.operating_point,
                "reasons": list(decision.reasons),
                "class scores": decision.class_scores,
                "reliability": decision.reliability,
                "certainty": decision.certainty,
                "latency": f"{format_ms(decision.timings_ms['end_to_end'])} end to end",
                "bundle id": decision.bundle_id,
                "trust": decision.trust,
            },
        )
    if not decision.is_live:
        raise typer.Exit(EXIT_NO)


def _verdict_line(decision: Decision) -> str:
    """Return the verdict and, in one clause, why."""
    verdict = decision.verdict.value.upper()
    if decision.threshold is None or decision.reasons:
        return f"{verdict}: {'; '.join(decision.reasons) or 'no threshold'}"
    side = "above" if decision.score > decision.threshold else "not above"
    return (
        f"{verdict}: score {decision.score:.4f} is {side} the threshold {decision.threshold:.4f} "
        f"of {decision.operating_point}"
    )


def _signature_fields(bundle: Bundle) -> dict[str, object]:
    """Return what JSON says about a bundle's signature; one that was not checked is none."""
    return {
        "signed": bundle.signed_by is not None,
        "signed_by": bundle.signed_by,
        "signature_unchecked": bundle.has_signature and bundle.signed_by is None,
        "trust": bundle.trust,
    }


def _signature_text(bundle: Bundle) -> str:
    if bundle.signed_by is not None:
        return f"by trusted key {bundle.signed_by}"
    return "present, not checked (unsigned)" if bundle.has_signature else "none (unsigned)"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise BundleError(f"cannot read bundle {path}: no such file")

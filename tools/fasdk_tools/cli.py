"""The command line: one thin function a verb, importing what it needs when called.

Exit status: 0 done (`check`: only for LIVE), 1 the answer is no, 2 wrong usage or input.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fasdk.errors import (
    BundleError,
    CaptureError,
    FasdkError,
    PlanError,
    TamperedError,
    TrustError,
    UsageError,
)
from fasdk_tools.output import (
    STDERR,
    STDOUT,
    format_bytes,
    log_to_stderr,
    print_fields,
    print_json,
    print_rows,
    progress_view,
)

if TYPE_CHECKING:
    from fasdk.bundle import Bundle
    from fasdk.capture import Modality

app = typer.Typer(
    name="fasdk",
    help="Turn face-liveness checkpoints into verified TensorRT bundles, and ask for verdicts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXIT_NO, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
# Typer brings click with it or depends on it, by release; its public errors lead to either.
_CommandLineError: Any = typer.BadParameter.__base__

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fasb file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
BackendOption = Annotated[
    str,
    typer.Option(help="onnxruntime, tensorrt, tensorrt-rtx, or auto for TensorRT if installed."),
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", help="PEM public key to trust; then a signature is required. Repeatable."
    ),
]


@app.command("build-engine")
def build_engine(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="A checkpoint or .onnx file, or on a device a .fasb bundle."
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Bundle to write.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name; see `fasdk models`.")] = None,
    config: Annotated[
        str | None, typer.Option(help="Named settings (such as tiny) or a JSON file.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
    backend: BackendOption = "auto",
    max_batch: Annotated[int, typer.Option(help="Largest batch of the plan.")] = 8,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="GPU generation such as 8.6. Repeatable.")
    ] = None,
    development: Annotated[
        Path | None,
        typer.Option(help="List (JSON Lines) of labelled captures to choose a threshold on."),
    ] = None,
    sign_key: Annotated[Path | None, typer.Option(help="PEM private key to sign with.")] = None,
    preprocess: Annotated[
        Path | None,
        typer.Option(help="TOML description of a ready .onnx file, for --model onnx."),
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(help="Modalities a capture must hold, such as rgb,depth,ir; others may lack."),
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a bundle from a checkpoint or a ready graph, or on a device the plan of a bundle."""
    if source.suffix == ".fasb":
        _build_on_device(source, out, backend, key, as_json=as_json)
        return
    if out is None or model is None:
        raise UsageError("building from a checkpoint needs -o OUT.fasb and --model NAME")
    from fasdk.backends import parse_backend

    _require_build_half()
    from fasdk_engines.build import BuildRequest, build_bundle
    from fasdk_engines.precision import parse_precision

    request = BuildRequest(
        source=source,
        out=out,
        model=model,
        config=config,
        precision=parse_precision(precision),
        backend=parse_backend(backend),
        max_batch=max_batch,
        compute_capabilities=tuple(compute_capability or ()),
        development=development,
        sign_key=sign_key,
        preprocess=preprocess,
        required=_parse_modalities(require),
    )
    with progress_view() as view:
        report = build_bundle(request, view)
    document = asdict(report)
    if as_json:
        print_json(document)
    else:
        document["size_bytes"] = format_bytes(report.size_bytes)
        document["plan_bytes"] = format_bytes(report.plan_bytes)
        print_fields(f"Built {report.bundle}", document)


def _build_on_device(
    source: Path, out: Path | None, backend: str, keys: list[Path] | None, *, as_json: bool
) -> None:
    """Build this machine's plan for a bundle and prove it on the golden captures."""
    from fasdk.backends import parse_backend
    from fasdk.session import open as open_session

    if out is not None:
        raise UsageError(
            f"-o {out} does not go with a bundle: a device never writes one; "
            "the plan goes into the cache beside it"
        )
    with (
        progress_view() as view,
        open_session(
            source, backend=parse_backend(backend), trust=_trust(keys), progress=view
        ) as liveness,
    ):
        view.phase("golden captures")
        drift = liveness.replay_golden()
        engine = liveness.engine
        document = {
            "bundle": str(source),
            "bundle_id": liveness.bundle.id,
            "backend": engine.backend.value,
            "version": engine.version,
            "plan": getattr(engine, "plan_source", None) or "none needed",
            "golden_captures": len(liveness.bundle.golden),
            "golden_drift": drift,
        }
    if as_json:
        print_json(document)
    else:
        print_fields(f"Ready on {document['backend']}", document)


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
            "operating points": {p.id: p.threshold for p in manifest.operating_points},
            "from": manifest.operating_points_note,
            "plans": [
                f"{p.version} for {', '.join(p.compute_capabilities)}" for p in manifest.plans
            ],
            "revision": manifest.revision,
            "checkpoint": manifest.provenance.checkpoint_sha256,
            "tools": manifest.provenance.tools,
        },
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
    from fasdk.backends import parse_backend
    from fasdk.session import open as open_session

    parsed = parse_backend(backend)
    document: dict[str, Any] = {"bundle": str(bundle), "ok": False, "reason": None}
    _require_file(bundle)
    try:
        with open_session(bundle, backend=parsed, trust=_trust(key)) as liveness:
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
    rgb: Annotated[Path | None, typer.Option(help="8-bit colour image.")] = None,
    depth: Annotated[Path | None, typer.Option(help="16-bit PNG in millimetres.")] = None,
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
    from fasdk.backends import parse_backend
    from fasdk.capture import Capture, Modality
    from fasdk.decision import Verdict
    from fasdk.session import open as open_session
    from fasdk_calibration.datasets import read_frame

    paths = {Modality.RGB: rgb, Modality.DEPTH: depth, Modality.IR: ir}
    frames: dict[str, Any] = {
        m.value: read_frame(path, m) for m, path in paths.items() if path is not None
    }
    capture = Capture(**frames, face=None if face is None else _parse_face(face))
    with open_session(
        bundle, backend=parse_backend(backend), level=level, trust=_trust(key)
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
def models(as_json: JsonOption = False) -> None:
    """List the models a checkpoint can be built from."""
    _require_build_half()
    from fasdk_engines.listing import list_models

    listings, problems = list_models()
    for problem in problems:
        STDERR.print(f"fasdk: warning: {problem}", markup=False, soft_wrap=True)
    if as_json:
        print_json({"models": [asdict(listing) for listing in listings], "warnings": problems})
        return
    print_rows(
        "Models (and onnx: any ready .onnx file, described with --preprocess FILE.toml)",
        ("model", "config", "parameters", "deployed", "GFLOP", "inputs", "published in"),
        [
            (
                row.model,
                row.config,
                row.parameters,
                row.deployed_parameters,
                row.gflops,
                " ".join(f"{name} {'x'.join(map(str, s))}" for name, s in row.inputs.items()),
                row.published_in,
            )
            for row in listings
        ],
    )


@app.command()
def profile(
    bundle: BundleArgument,
    batch: Annotated[str, typer.Option(help="Batch sizes, comma separated.")] = "1",
    seconds: Annotated[float, typer.Option(help="How long to count each batch size.")] = 3.0,
    warmup: Annotated[int, typer.Option(help="Calls first, not counted.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for one a core.")] = 0,
    backend: BackendOption = "auto",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a bundle on this machine, stage by stage, one call after another."""
    from fasdk.backends import parse_backend
    from fasdk.session import open as open_session
    from fasdk_tools.profile import profile as profile_batch

    batches = _parse_batches(batch)
    with (
        progress_view() as view,
        open_session(
            bundle, backend=parse_backend(backend), trust=_trust(key), threads=threads
        ) as liveness,
    ):
        captures = [item.capture for item in liveness.bundle.golden]
        runs = [
            profile_batch(
                liveness,
                captures,
                size,
                seconds=seconds,
                warmup_calls=warmup,
                on_call=lambda share, size=size: view.update(  # type: ignore[misc]
                    f"batch {size}", round(100 * share), 100
                ),
            )
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
            f"batch {run.batch}, {run.calls} calls, {run.captures_per_second:.1f} captures/s",
            ("stage", "mean ms", "p50 ms", "p90 ms", "p99 ms", "max ms"),
            [(name, *asdict(stats).values()) for name, stats in stages.items()],
        )


@app.command("debug-parity")
def debug_parity(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A bundle, an ONNX file or a checkpoint.")
    ],
    against: Annotated[
        Path | None, typer.Option(help="Another bundle, ONNX file or checkpoint of the same model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model name, for a checkpoint.")] = None,
    config: Annotated[str | None, typer.Option(help="Settings, for a checkpoint.")] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference, relative to the tensor's own scale; "
            "0.001, or 0.05 against the half-precision form."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Name the first layer where two graphs of one model diverge; exit 1 if one does."""
    _require_build_half()
    from fasdk_tools.debug_parity import compare

    with progress_view() as view:
        result = compare(source, against, model, config, tolerance, view.phase)
    if as_json:
        print_json(result)
    elif result["diverges"]:
        print_fields(f"Diverges at {result['divergence']['tensor']}", result["divergence"])
    else:
        STDOUT.print(f"No layer differs by more than {result['tolerance']} of its own scale.")
    if result["diverges"]:
        raise typer.Exit(EXIT_NO)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write into.")],
    captures: Annotated[int, typer.Option(help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed, same captures.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write synthetic multi-modal captures; a test instrument, no evidence about real attacks."""
    from fasdk_calibration.synthetic import write_dataset

    with progress_view() as view:
        lists = write_dataset(
            out,
            captures,
            seed,
            on_capture=lambda done, total: view.update("captures", done, total),
        )
    document = {
        "captures": captures,
        "seed": seed,
        "lists": {split.value: str(path) for split, path in lists.items()},
    }
    if as_json:
        print_json(document)
    else:
        print_fields(f"Wrote {out}", document)


@app.command()
def keygen(
    private_key: Annotated[Path, typer.Argument(metavar="KEY", help="PEM file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 key pair: KEY signs bundles, KEY.pub goes to the devices."""
    from fasdk.trust import generate_key

    public, identity = generate_key(private_key)
    document = {"private_key": str(private_key), "public_key": str(public), "key_id": identity}
    if as_json:
        print_json(document)
    else:
        print_fields("New key pair", document)


@app.command()
def train(
    captures: Annotated[
        Path, typer.Argument(metavar="LIST", help="List (JSON Lines) of labelled captures.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write, .safetensors.")],
    model: Annotated[str, typer.Option(help="Model name; see `fasdk models`.")],
    development: Annotated[
        Path, typer.Option(help="List of captures of other subjects that decide when to stop.")
    ],
    config: Annotated[
        str | None, typer.Option(help="Named settings (such as tiny) or a JSON file.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="plain, published, or a method's name.")
    ] = "published",
    epochs: Annotated[int, typer.Option(help="Largest number of epochs.")] = 24,
    batch: Annotated[int, typer.Option(help="Captures a step.")] = 64,
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Largest, of AdamW; this suits tiny models, 5e-6 to 5e-5 pretrained ones."
        ),
    ] = 2e-3,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW, on matrices.")] = 0.05,
    modality_dropout: Annotated[
        float, typer.Option(help="Probability that a capture lacks one modality.")
    ] = 0.1,
    patience: Annotated[int, typer.Option(help="Epochs without gain before the end.")] = 10,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision, on a GPU only.")] = False,
    save_every: Annotated[
        int, typer.Option(help="Steps between two writes of what --resume needs.")
    ] = 200,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a training that was cut short.")
    ] = False,
    init_from: Annotated[
        Path | None,
        typer.Option(help="Pretrained state dict: torchvision ViT-B/16 or OpenAI CLIP ViT-B/16."),
    ] = None,
    clip_vocabulary: Annotated[
        Path | None, typer.Option(help="bpe_simple_vocab_16e6.txt.gz of those CLIP weights.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Folder of the CSV log; the checkpoint's by default.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="TensorBoard events beside the CSV log.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a checkpoint that `build-engine` takes."""
    _require_build_half()
    from fasdk_tools.train import TrainRequest, parse_settings, run_training

    request = TrainRequest(
        captures=captures,
        development=development,
        out=out,
        model=model,
        config=config,
        method=method,
        settings=parse_settings(
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            modality_dropout=modality_dropout,
            patience=patience,
            seed=seed,
            threads=threads,
            device=device,
            mixed_precision=amp,
            save_every=save_every,
        ),
        resume=resume,
        initial=init_from,
        vocabulary=clip_vocabulary,
        log=log,
        tensorboard=tensorboard,
    )
    document = asdict(run_training(request))
    if as_json:
        print_json(document)
    else:
        print_fields(f"Trained {out}", document)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to work in.")] = Path(".demo"),
    seed: Annotated[int, typer.Option(help="Seed of captures and training.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a tiny MMDG on synthetic captures, build its bundle and judge held-out captures."""
    _require_build_half()
    from fasdk_tools.demo import run_demo

    with progress_view() as view:
        report = run_demo(out, seed, view)
    if as_json:
        print_json(asdict(report))
    else:
        from fasdk_tools.demo import print_report

        print_report(report)


@app.command()
def protocols(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder of finished trainings; one stopped goes on.")
    ] = Path(".protocols"),
    system: Annotated[
        list[str] | None, typer.Option(help="Only this row, such as regrad. Repeatable.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Only P1, P2 or P3. Repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    captures: Annotated[int, typer.Option(min=12, help="Training captures of each domain.")] = 96,
    test_captures: Annotated[int, typer.Option(min=12, help="Test captures of each domain.")] = 120,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training captures.")] = 14,
    as_json: JsonOption = False,
) -> None:
    """Train tiny systems over synthetic domains: leave one out, missing modality, few sources."""
    _require_build_half()
    from fasdk_tools.protocols import run_named

    with progress_view() as view:
        report = run_named(
            out,
            view,
            system_names=system or (),
            protocol_names=protocol or (),
            seeds=seeds,
            train=captures,
            test=test_captures,
            epochs=epochs,
        )
    if as_json:
        print_json(asdict(report))
    else:
        from fasdk_tools.protocols import print_report

        print_report(report)


def _open(path: Path, keys: list[Path] | None) -> Bundle:
    from fasdk.bundle import open_bundle

    return open_bundle(path, _trust(keys))


def _trust(keys: list[Path] | None) -> Any:
    from fasdk.trust import TrustPolicy

    return TrustPolicy.from_files(*keys) if keys else None


def _signature_text(bundle: Bundle) -> str:
    if not bundle.is_signed:
        return "none"
    return f"by trusted key {bundle.signed_by}" if bundle.signed_by else "present, not checked"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise BundleError(f"cannot read bundle {path}: no such file")


def _require_build_half() -> None:
    """Refuse a workstation's verb on a device install, in one line."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this verb needs {' and '.join(missing)}, which a device install leaves out: "
            "install fasdk[build] on a workstation"
        )


def _parse_face(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise CaptureError(
            f"--face {text!r} is not x,y,w,h in whole pixels, such as 106,147,207,213"
        ) from None


def _parse_modalities(text: str | None) -> tuple[Modality, ...]:
    from fasdk.capture import Modality

    known = {m.value: m for m in Modality}
    names = [] if text is None else [part.strip() for part in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"--require {text!r}: {unknown[0]!r} is no modality: choose among {', '.join(known)}"
        )
    return tuple(known[name] for name in names)


def _parse_batches(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise UsageError(f"--batch {text!r} is not a list of whole numbers from 1 on, such as 1,4")
    return sizes


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; wrong input is one line on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    asked_for_json = "--json" in words
    log_to_stderr()
    try:
        status = app(args=words or ["--help"], prog_name="fasdk", standalone_mode=False)
    except _CommandLineError as error:
        message = error.format_message()
    except typer.Exit as error:
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        STDERR.print("fasdk: interrupted")
        return EXIT_INTERRUPTED
    except FasdkError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'input or output'}: {error.strerror or error}"
    except Exception as error:
        if os.environ.get("FASDK_DEBUG"):
            raise
        message = (
            f"unexpected {type(error).__name__}: {error}; set FASDK_DEBUG=1 for where it happened"
        )
    else:
        return status if isinstance(status, int) else 0
    line = " ".join(message.split())
    STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)
    if asked_for_json:
        print_json({"error": line})
    return EXIT_USAGE


def run() -> None:
    """Entry point of the `fasdk` script."""
    sys.exit(main())


if __name__ == "__main__":
    run()

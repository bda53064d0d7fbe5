"""The workstation's verbs: build-engine, models, debug-parity."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import BudgetError, UsageError
from fasdk_tools.cli.root import (
    EXIT_NO,
    BackendOption,
    JsonOption,
    KeyOption,
    app,
    parse_modalities,
    require_build_half,
    trust_policy,
)
from fasdk_tools.terminal.output import (
    STDERR,
    STDOUT,
    print_fields,
    print_json,
    print_rows,
    progress_view,
)

if TYPE_CHECKING:
    from fasdk.bundle.manifest import Precision
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
    from fasdk_engines.quantization.mixed_precision.request import Int8Request

_CALIBRATION_SIZE = 128


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
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16, int8, int8-fp32 (for CPUs), or auto: int8 with layers reverted "
            "to float until the liveness budget holds."
        ),
    ] = "fp32",
    backend: BackendOption = "auto",
    max_batch: Annotated[int, typer.Option(help="Largest batch of the plan.")] = 8,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="GPU generation such as 8.6. Repeatable.")
    ] = None,
    development: Annotated[
        Path | None,
        typer.Option(help="List (JSON Lines) of labeled captures to choose a threshold on."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="List of captures to quantize on, of people in no other list."),
    ] = None,
    calibration_root: Annotated[
        Path | None, typer.Option(help="Folder its paths are relative to; the list's own.")
    ] = None,
    calibration_size: Annotated[
        int, typer.Option(help="How many captures to choose from it.")
    ] = _CALIBRATION_SIZE,
    range_method: Annotated[
        str | None,
        typer.Option(help="How ranges are chosen: minmax, percentile, entropy or mse."),
    ] = None,
    max_flips: Annotated[
        float, typer.Option(help="Budget: share of development captures whose verdict changes.")
    ] = 0.001,
    max_drift: Annotated[float, typer.Option(help="Budget: mean score drift.")] = 0.005,
    max_rate_change: Annotated[
        float, typer.Option(help="Budget: change of worst-species APCER and of BPCER, as a share.")
    ] = 0.001,
    auto_base: Annotated[
        str, typer.Option(help="What auto starts from: int8, or int8-fp32 for CPUs.")
    ] = "int8",
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
    from fasdk.backends.registry import parse_backend

    require_build_half()
    from fasdk_engines.build.pipeline import build_bundle
    from fasdk_engines.build.request import BuildRequest
    from fasdk_engines.graph.fp16 import parse_precision
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
    from fasdk_tools.terminal.build_report import show_build, show_missed_budget

    search = precision == "auto"
    limits = BudgetLimits(max_flips, max_drift, max_rate_change)
    request = BuildRequest(
        source=source,
        out=out,
        model=model,
        config=config,
        precision=_parse_base(auto_base) if search else parse_precision(precision),
        backend=parse_backend(backend),
        max_batch=max_batch,
        compute_capabilities=tuple(compute_capability or ()),
        development=development,
        sign_key=sign_key,
        preprocess=preprocess,
        required=parse_modalities(require, "--require"),
        int8=_int8_request(
            calibration, calibration_root, calibration_size, range_method, limits, search=search
        ),
    )
    try:
        with progress_view() as view:
            report = build_bundle(request, view)
    except BudgetError as error:
        show_missed_budget(error, as_json=as_json)
        raise typer.Exit(EXIT_NO) from None
    show_build(report, as_json=as_json)


def _parse_base(name: str) -> Precision:
    from fasdk_engines.build.request import INT8_PRECISIONS
    from fasdk_engines.graph.fp16 import parse_precision

    base = parse_precision(name)
    if base not in INT8_PRECISIONS:
        raise UsageError(f"--auto-base {name}: auto starts from int8 or int8-fp32")
    return base


def _int8_request(
    calibration: Path | None,
    root: Path | None,
    size: int,
    method: str | None,
    limits: BudgetLimits,
    *,
    search: bool,
) -> Int8Request | None:
    from fasdk_calibration.calibration_set.ranges import RangeMethod
    from fasdk_engines.quantization.mixed_precision.request import Int8Request

    if calibration is None:
        if search or root is not None:
            given = "--precision auto" if search else f"--calibration-root {root}"
            raise UsageError(
                f"{given} needs --calibration LIST: captures to measure ranges on, of people the "
                "model is not judged on"
            )
        return None
    known = [known.value for known in RangeMethod]
    if method is not None and method not in known:
        raise UsageError(f"unknown --range-method {method!r}: choose one of {', '.join(known)}")
    chosen = None if method is None else RangeMethod(method)
    return Int8Request(calibration, root, size, chosen, limits, search)


def _build_on_device(
    source: Path, out: Path | None, backend: str, keys: list[Path] | None, *, as_json: bool
) -> None:
    """Build this machine's plan for a bundle and prove it on the golden captures."""
    from fasdk.backends.registry import parse_backend
    from fasdk.session.session import open as open_session

    if out is not None:
        raise UsageError(
            f"-o {out} does not go with a bundle: a device never writes one; "
            "the plan goes into the cache beside it"
        )
    with (
        progress_view() as view,
        open_session(
            source, backend=parse_backend(backend), trust=trust_policy(keys), progress=view
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
def models(as_json: JsonOption = False) -> None:
    """List the models a checkpoint can be built from."""
    require_build_half()
    from fasdk_engines.models.listing import list_models

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
    require_build_half()
    from fasdk_tools.diagnostics.debug_parity import compare

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

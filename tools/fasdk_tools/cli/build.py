"""Verb build-engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import BudgetError, UsageError
from fasdk_tools.cli.build_plan import build_plan
from fasdk_tools.cli.list_options import (
    DepthScaleOption,
    FaceFormOption,
    IrShiftOption,
    LiveLabelOption,
    RootOption,
    dataset_source,
    list_options,
)
from fasdk_tools.cli.root import (
    EXIT_NO,
    BackendOption,
    JsonOption,
    KeyOption,
    Panel,
    SignKeyOption,
    UnsignedOption,
    WideOption,
    app,
    parse_modalities,
    require_build_half,
    signer_of,
)
from fasdk_tools.cli.training_options import ConfigOption
from fasdk_tools.terminal.description import show_description
from fasdk_tools.terminal.output import progress_view

if TYPE_CHECKING:
    from fasdk.bundle.manifest import Precision
    from fasdk.lists import ListOptions
    from fasdk_calibration.datasets import DatasetSource
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
    from fasdk_engines.quantization.mixed_precision.request import Int8Request

_CALIBRATION_SIZE = 128


@app.command("build-engine", rich_help_panel=Panel.BUILD)
def build_engine(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="A checkpoint or .onnx file; a .fasb bundle as for build-plan."
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Bundle to write.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name; see `fasdk models`.")] = None,
    config: ConfigOption = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights to take of a file that holds several: ema, raw or their key."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16, int8, int8-fp32 (for CPUs), or auto: int8 with layers reverted to "
            "float until the liveness budget holds, or fp16 or fp32 where int8 gains nothing."
        ),
    ] = "fp32",
    backend: BackendOption = "auto",
    max_batch: Annotated[int, typer.Option(help="Largest batch size of the plan.")] = 8,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="GPU generation such as 8.6. Repeatable.")
    ] = None,
    development: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST",
            help="List of labeled captures to choose a threshold on, or a data set's folder. "
            "Repeatable.",
        ),
    ] = None,
    root: RootOption = None,
    golden: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST",
            help="List of captures whose frames may stand in the bundle as golden captures, for "
            "anyone to read; synthetic ones by default. Repeatable.",
        ),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST",
            help="List of captures for INT8 calibration, of people in no other list. Repeatable.",
        ),
    ] = None,
    calibration_root: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="Folder its paths start from; by default --root. Repeatable."
        ),
    ] = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    calibration_size: Annotated[
        int, typer.Option(help="Number of captures to choose from it.")
    ] = _CALIBRATION_SIZE,
    range_method: Annotated[
        str | None,
        typer.Option(help="Range method: minmax, percentile, entropy or mse."),
    ] = None,
    max_flips: Annotated[
        float, typer.Option(help="Budget: share of development captures whose verdict changes.")
    ] = 0.001,
    max_drift: Annotated[float, typer.Option(help="Budget: mean score drift.")] = 0.005,
    max_rate_change: Annotated[
        float, typer.Option(help="Budget: change of worst-species APCER and of BPCER, as a share.")
    ] = 0.001,
    auto_base: Annotated[
        str, typer.Option(help="Precision that auto starts from: int8, or int8-fp32 for CPUs.")
    ] = "int8",
    sign_key: SignKeyOption = None,
    product: Annotated[
        str | None,
        typer.Option(
            help="What the bundle is for, such as lobby-door; a bundle of another product does not "
            "take its place. By default the model's name."
        ),
    ] = None,
    preprocess: Annotated[
        Path | None,
        typer.Option(help="TOML description of an ONNX file, for --model onnx."),
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(
            help="Modalities a capture must hold, such as rgb,depth,ir; others may be absent."
        ),
    ] = None,
    accept_units: Annotated[
        bool,
        typer.Option(
            "--accept-units",
            help="Take mean and std of --preprocess although the weights speak against them.",
        ),
    ] = False,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build a bundle from a checkpoint or an ONNX file; on a bundle the same as build-plan."""
    if source.suffix == ".fasb":
        if out is not None:
            raise UsageError(
                f"-o {out} does not go with a bundle: a device never writes one; "
                "the plan goes into the cache beside it"
            )
        build_plan(source, backend, key, unsigned, as_json=as_json)
        return
    if out is None or model is None:
        raise UsageError("building from a checkpoint needs -o OUT.fasb and --model NAME")
    from fasdk.backends.registry import parse_backend

    require_build_half()
    from fasdk_engines.build.pipeline import build_bundle
    from fasdk_engines.build.request import BuildRequest
    from fasdk_engines.graph.fp16 import parse_precision
    from fasdk_engines.models.registry import ONNX_IMPORT
    from fasdk_engines.onnx_import.describe import describe_onnx
    from fasdk_engines.quantization.mixed_precision.budget import BudgetLimits
    from fasdk_tools.cli.describe import missing_description
    from fasdk_tools.terminal.build_report import show_build, show_missed_budget

    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    held = _source("--development", development, options, root)
    if model == ONNX_IMPORT and preprocess is None and source.suffix.lower() == ".onnx":
        found = describe_onnx(source, reference=held)
        if not as_json:
            show_description(source, found, None, as_json=False, wide=wide)
        raise missing_description(source, found)
    search = precision == "auto"
    limits = BudgetLimits(max_flips, max_drift, max_rate_change)
    request = BuildRequest(
        source=source,
        out=out,
        model=model,
        config=config,
        weights=weights,
        precision=_parse_base(auto_base) if search else parse_precision(precision),
        backend=parse_backend(backend),
        max_batch=max_batch,
        compute_capabilities=tuple(compute_capability or ()),
        development=held,
        golden=_source("--golden", golden, options, root),
        signer=signer_of(sign_key),
        product=product,
        preprocess=preprocess,
        required=parse_modalities(require, "--require"),
        int8=_int8_request(
            _source(
                "--calibration",
                calibration,
                options,
                calibration_root,
                root_option="--calibration-root",
                usual_root=root,
            ),
            calibration_root,
            calibration_size,
            range_method,
            limits,
            search=search,
        ),
        accept_units=accept_units,
    )
    try:
        with progress_view() as view:
            report = build_bundle(request, view)
    except BudgetError as error:
        show_missed_budget(error, as_json=as_json, wide=wide)
        raise typer.Exit(EXIT_NO) from None
    show_build(report, as_json=as_json, wide=wide)
    if development and not report.operating_points:
        raise typer.Exit(EXIT_NO)


def _parse_base(name: str) -> Precision:
    from fasdk_engines.build.request import INT8_PRECISIONS
    from fasdk_engines.graph.fp16 import parse_precision

    base = parse_precision(name)
    if base not in INT8_PRECISIONS:
        raise UsageError(f"--auto-base {name}: auto starts from int8 or int8-fp32")
    return base


def _source(
    option: str,
    paths: list[Path] | None,
    options: ListOptions,
    root: list[Path] | None,
    *,
    root_option: str = "--root",
    usual_root: list[Path] | None = None,
) -> DatasetSource | None:
    if not paths:
        return None
    return dataset_source(
        option, paths, options, root=root, root_option=root_option, usual_root=usual_root
    )


def _int8_request(
    calibration: DatasetSource | None,
    root: list[Path] | None,
    size: int,
    method: str | None,
    limits: BudgetLimits,
    *,
    search: bool,
) -> Int8Request | None:
    from fasdk_calibration.calibration_set.ranges import RangeMethod
    from fasdk_engines.quantization.mixed_precision.request import Int8Request

    if calibration is None:
        if search or root:
            given = "--precision auto" if search or not root else f"--calibration-root {root[0]}"
            raise UsageError(
                f"{given} needs --calibration LIST: captures to measure ranges on, of people the "
                "model is not evaluated on"
            )
        return None
    known = [known.value for known in RangeMethod]
    if method is not None and method not in known:
        raise UsageError(f"unknown --range-method {method!r}: choose one of {', '.join(known)}")
    chosen = None if method is None else RangeMethod(method)
    return Int8Request(calibration, size, chosen, limits, search)

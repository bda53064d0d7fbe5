"""Verb evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fasdk.errors import UsageError
from fasdk.extras import require_package
from fasdk_tools.cli.list_options import (
    DepthScaleOption,
    DevelopmentRootOption,
    FaceFormOption,
    IrShiftOption,
    LiveLabelOption,
    RootOption,
    dataset_source,
    list_options,
)
from fasdk_tools.cli.root import (
    JsonOption,
    KeyOption,
    Panel,
    UnsignedOption,
    WideOption,
    app,
    require_templates,
    trust_policy,
)
from fasdk_tools.terminal.output import STDERR, print_json, progress_view


@app.command(rich_help_panel=Panel.MEASURE)
def evaluate(
    bundle: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE",
            help="A .fasb file. Or with --family the documents that --json printed for several "
            "bundles, .json files, whose tests are joined.",
        ),
    ],
    protocol: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST",
            help="Test list (.jsonl, .csv, the benchmark's .txt) or a data set's folder. "
            "Repeatable: then also all together.",
        ),
    ] = None,
    root: RootOption = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITIES",
            help="Also with these taken away, such as depth or depth,ir; all for every "
            "combination. Repeatable.",
        ),
    ] = None,
    development: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST", help="List of other people to choose a threshold on. Repeatable."
        ),
    ] = None,
    development_root: DevelopmentRootOption = None,
    level: Annotated[
        str | None, typer.Option(help="Security level; all of the bundle's by default.")
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(help="Also at this score, such as a protocol's 0.5. Repeatable."),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="What error rates count: presentations (ISO/IEC 30107-3), or rows, as published "
            "tables do."
        ),
    ] = "presentations",
    family: Annotated[
        str | None,
        typer.Option(help="P1, P2 or P3: the benchmark's protocols; adds the mean over the tests."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="iso30107-3, ibeta-l1, ibeta-l2 or fido: adds a self-assessment against what that "
            "scheme asks for, with what is short and the source of every limit."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="What the model was trained on, in words, for the record.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="OUT.html", help="Report to write, one file.")
    ] = None,
    with_faces: Annotated[
        bool,
        typer.Option(
            "--with-faces", help="Show frames of the worst-scored captures, people's faces, in it."
        ),
    ] = False,
    worst: Annotated[
        int, typer.Option(min=0, help="Worst-scored captures to name of each list and class.")
    ] = 6,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Even on people the bundle has seen, with a warning."),
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for one a core.")] = 0,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure error rates on test lists, by species, domain and missing modality."""
    from fasdk.bundle.bundle import open_bundle
    from fasdk_calibration.error_rates import Unit
    from fasdk_tools.evaluation import (
        EvaluationRequest,
        parse_family,
        parse_missing,
        parse_scheme,
        parse_unit,
        run_evaluation,
    )
    from fasdk_tools.outputs import files_of, require_outputs

    if len(bundle) > 1 or bundle[0].suffix == ".json":
        _require_alone(protocol=protocol, development=development, report=report, scheme=scheme)
        _join(bundle, family, as_json=as_json)
        return
    if not protocol:
        raise UsageError("evaluate needs a test list: give --protocol LIST")
    if with_faces and report is None:
        raise UsageError("--with-faces goes with --report OUT.html: frames are shown there alone")
    if report is not None and parse_unit(by) is not Unit.PRESENTATION:
        raise UsageError(f"--report draws presentations: leave it out, or --by {by}")
    if report is not None:
        require_templates("--report")
    if with_faces:
        require_package("cv2", "--with-faces")
    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    tests = dataset_source("--protocol", protocol, options, root=root)
    held = None
    if development:
        held = dataset_source(
            "--development",
            development,
            options,
            root=development_root,
            root_option="--development-root",
            usual_root=root,
        )
    inputs = {**files_of("--protocol", tests), **files_of("--development", held)}
    require_outputs({"--report": report}, {"the bundle": bundle[0], **inputs})
    request = EvaluationRequest(
        bundle=open_bundle(bundle[0], trust_policy(key, unsigned)),
        protocols=tests.each(),
        missing=parse_missing(missing or ()),
        development=held,
        level=level,
        fixed=tuple(threshold or ()),
        unit=parse_unit(by),
        family=parse_family(family),
        source=source,
        allow_overlap=allow_overlap,
        worst=worst,
        threads=threads,
        scheme=parse_scheme(scheme),
    )
    with progress_view() as view:
        run = run_evaluation(request, view)
        if report is not None:
            from fasdk_tools.report.evaluation import write_report

            view.phase("report")
            write_report(report, run, request.bundle, with_faces=with_faces)
    if as_json:
        print_json(asdict(run.record))
    else:
        from fasdk_tools.evaluation.tables import print_evaluation

        print_evaluation(run.record, wide=wide)
        if run.record.evidence is not None:
            from fasdk_tools.evaluation.evidence_tables import print_evidence

            print_evidence(run.record.evidence)
    for overlap in run.record.overlap:
        STDERR.print(
            f"fasdk: warning: {overlap.list} shares {len(overlap.subjects)} subjects with "
            f"{overlap.seen_in}, as was allowed",
            markup=False,
            soft_wrap=True,
        )


def _require_alone(**options: object) -> None:
    for name, value in options.items():
        if value:
            raise UsageError(
                f"--{name} goes with a bundle: evaluations are joined as they are, by --family"
            )


def _join(paths: list[Path], family: str | None, *, as_json: bool) -> None:
    from fasdk_tools.evaluation import parse_family
    from fasdk_tools.evaluation.joining import join_family
    from fasdk_tools.evaluation.tables import print_joined

    asked = parse_family(family)
    if asked is None:
        raise UsageError(
            "evaluate takes one bundle, or with --family P1, P2 or P3 the JSON documents of "
            "several evaluations"
        )
    other = next((path for path in paths if path.suffix != ".json"), None)
    if other is not None:
        raise UsageError(
            f"{other} is no .json file: --family joins what `fasdk evaluate --json` printed, one "
            "document a bundle"
        )
    joined = join_family(asked, paths)
    if as_json:
        print_json(asdict(joined))
    else:
        print_joined(joined)

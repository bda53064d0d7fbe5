"""Verb tune."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
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
    BundleArgument,
    JsonOption,
    KeyOption,
    Panel,
    SignKeyOption,
    UnsignedOption,
    WideOption,
    app,
    parse_modalities,
    signer_of,
    trust_policy,
)
from fasdk_tools.terminal.numbers import count_of, format_share
from fasdk_tools.terminal.output import (
    STDERR,
    print_answer,
    print_fields,
    print_json,
    print_rows,
    progress_view,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from fasdk_calibration.thresholds.levels import LevelTarget
    from fasdk_tools.tuning.report import LevelReport, SequentialReport, TuneReport


@app.command(rich_help_panel=Panel.MEASURE)
def tune(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle to write: revision + 1.")],
    protocol: Annotated[
        list[Path],
        typer.Option(
            metavar="LIST",
            help="Development captures, of people in no other list; a list or a data set's folder. "
            "Repeatable.",
        ),
    ],
    root: RootOption = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=BOUND]",
            help="Tune only this level, to an APCER of the worst species of at most BOUND with "
            "95 % confidence; by default convenience=0.1, standard=0.05 and strict=0.01. "
            "Repeatable.",
        ),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITIES",
            help="Tune also without these modalities, such as depth or depth,ir. Repeatable.",
        ),
    ] = None,
    allow_missing_levels: Annotated[
        bool,
        typer.Option(
            "--allow-missing-levels",
            help="Write the bundle with only the levels the captures support.",
        ),
    ] = False,
    time_limit_ms: Annotated[
        float,
        typer.Option(
            "--time-limit-ms",
            help="Time limit of a verdict on several frames; such verdicts are tuned where the "
            "list has presentations of several frames, in order.",
        ),
    ] = 5_000.0,
    vendor_development: Annotated[
        bool,
        typer.Option(
            "--vendor-development",
            help="The captures are of one site: merge them with the development scores that the "
            "bundle carries, so that 20 attacks of a species are enough.",
        ),
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for one per core.")] = 0,
    sign_key: SignKeyOption = None,
    key: KeyOption = None,
    unsigned: UnsignedOption = False,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose thresholds by confidence bounds; exit 1 if the captures are too few for one."""
    from fasdk_tools.tuning.tune import TuneRequest
    from fasdk_tools.tuning.tune import tune as choose

    request = TuneRequest(
        bundle=bundle,
        out=out,
        protocol=dataset_source(
            "--protocol",
            protocol,
            list_options(live_label, face_form, depth_scale_mm, ir_shift),
            root=root,
        ),
        targets=_targets(level or ()),
        missing=tuple(frozenset(parse_modalities(text, "--missing")) for text in missing or ()),
        allow_missing_levels=allow_missing_levels,
        signer=signer_of(sign_key),
        trust=trust_policy(key, unsigned),
        threads=threads,
        time_limit_ms=time_limit_ms,
        vendor_development=vendor_development,
    )
    with progress_view() as view:
        report = choose(request, view)
    if as_json:
        print_json(asdict(report))
    else:
        _print(report, wide=wide)
    notes = (*report.notes, *report.test_refusals)
    for line in (*(f"note: {note}" for note in notes), *report.refusals):
        STDERR.print(f"fasdk: {line}", markup=False, soft_wrap=True)
    if not report.written:
        if any(subset.levels for subset in report.subsets):
            STDERR.print(
                "fasdk: nothing is written: give more captures, or --allow-missing-levels",
                markup=False,
                soft_wrap=True,
            )
        raise typer.Exit(EXIT_NO)


def _targets(texts: list[str] | tuple[()]) -> tuple[LevelTarget, ...]:
    """Return what each level is held to; all three for none named.

    Raises:
        UsageError: A bound is no number or missing, a level is named twice, or a stricter level
            would allow more than a laxer one.
        DatasetError: A name or bound is outside its range.
    """
    from fasdk_calibration.thresholds.levels import DEFAULT_TARGETS, LevelTarget

    usual = {target.level: target for target in DEFAULT_TARGETS}
    targets: dict[str, LevelTarget] = {}
    for text in texts:
        name, separator, bound = text.partition("=")
        if not separator and name not in usual:
            raise UsageError(f"--level {text}: give its bound, such as {name or 'strict'}=0.01")
        if name in targets:
            raise UsageError(f"--level {text}: {name} is named twice")
        try:
            targets[name] = LevelTarget(name, float(bound)) if separator else usual[name]
        except ValueError:
            raise UsageError(f"--level {text}: {bound!r} is no number, such as 0.01") from None
    found = tuple(targets.values()) or DEFAULT_TARGETS
    ordered = [target for name in usual for target in found if target.level == name]
    for laxer, stricter in pairwise(ordered):
        if stricter.max_apcer > laxer.max_apcer:
            raise UsageError(
                f"--level: {stricter.level}={stricter.max_apcer:g} allows more than "
                f"{laxer.level}={laxer.max_apcer:g}"
            )
    return found


def _print(report: TuneReport, *, wide: bool) -> None:
    levels = [(subset, level) for subset in report.subsets for level in subset.levels]
    tests = [(subset, test) for subset in report.subsets for test in subset.tests]
    asked = len(levels) + sum(len(subset.refused) for subset in report.subsets)
    supported = f"{len(levels)} of {count_of(asked, 'operating point')} supported"
    if report.written:
        print_answer(f"Wrote {report.bundle}, revision {report.revision}: {supported}")
        print_fields(
            "",
            {
                "bundle id": report.bundle_id,
                "read with trust": report.trust,
                "signed by": report.signed_by,
                "captures": report.captures,
                "presentations": report.presentations,
                "subjects": report.subjects,
            },
        )
    else:
        print_answer(f"Nothing is written: {supported} by {report.protocol}")
    if levels:
        print_rows(
            ("Operating points" if report.written else "Supported, not written")
            + " (APCER: upper bound for the worst species, 95 % confidence)",
            (
                *("level", "modalities", "threshold", "APCER", "BPCER"),
                *("worst species", "errors", Column("target", wide=True)),
            ),
            [
                (
                    level.level,
                    "+".join(subset.modalities),
                    level.threshold,
                    format_share(level.apcer_upper),
                    format_share(level.bpcer.rate),
                    level.worst_species,
                    _errors(level),
                    format_share(level.target),
                )
                for subset, level in levels
            ],
            wide=wide,
        )
    if tests:
        print_rows(
            "Verdicts on several frames (APCER: upper bound for the worst species)",
            (
                *("level", "modalities", "max frames", "APCER", "BPCER"),
                *(Column("worst species", wide=True), Column("errors", wide=True)),
                *("frames, bona fide", "frames, attack"),
            ),
            [
                (
                    test.level,
                    "+".join(subset.modalities),
                    test.max_frames,
                    format_share(test.apcer_upper),
                    format_share(test.bpcer.rate),
                    test.worst_species,
                    _errors(test),
                    f"{test.mean_frames_bona_fide:.1f}",
                    f"{test.mean_frames_attack:.1f}",
                )
                for subset, test in tests
            ],
            wide=wide,
        )


def _errors(level: LevelReport | SequentialReport) -> str:
    """Return how many attacks of the worst species were accepted, of how many."""
    counted = level.apcer[level.worst_species]
    return f"{counted.errors}/{counted.attempts}"

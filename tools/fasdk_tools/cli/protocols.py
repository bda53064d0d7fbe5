"""Verb protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import JsonOption, Panel, WideOption, app, require_build_half
from fasdk_tools.cli.training_options import (
    AccumulateOption,
    AugmentOption,
    BatchOption,
    ClipNormOption,
    ClipVocabularyOption,
    ConfigOption,
    DecayVectorsOption,
    EpochsOption,
    FreezeOrUsualOption,
    FrozenOption,
    InitFromOption,
    LearningRateOption,
    MixedPrecisionOption,
    ModalityDropoutOption,
    OptimizerOption,
    PatienceOption,
    ScheduleOption,
    WarmupOption,
    WeightDecayOption,
)
from fasdk_tools.terminal.output import STDERR, print_json, progress_view

if TYPE_CHECKING:
    from fasdk_calibration.datasets import DatasetSource
    from fasdk_tools.training.train import TrainRequest


@app.command(rich_help_panel=Panel.MEASURE)
def protocols(
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="W=DIR,C=DIR,...",
            help="Folders of WMCA (W), CeFA (C), PADISI (P) and CASIA-SURF (S) as published. "
            "Without it, tiny models on synthetic captures.",
        ),
    ] = None,
    tables: Annotated[
        str,
        typer.Option(
            metavar="TABLES",
            help="Tables to make, of P1, P2 and P3 (MMDG), and with --data FLEX (Flex-Modal) and "
            "SURF (CASIA-SURF).",
        ),
    ] = "P1,P2,P3",
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="Folder of finished trainings; an interrupted run continues."
        ),
    ] = Path(".protocols"),
    lists: Annotated[
        Path | None,
        typer.Option(help="Folder of W-train.txt and so on; each data set's own by default."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model name; see `fasdk models`. By default mmdg.")
    ] = None,
    config: ConfigOption = None,
    method: Annotated[
        str | None, typer.Option(help="plain, published, or a method's name.")
    ] = None,
    init_from: InitFromOption = None,
    clip_vocabulary: ClipVocabularyOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = None,
    accumulate: AccumulateOption = None,
    optimizer: OptimizerOption = None,
    learning_rate: LearningRateOption = None,
    schedule: ScheduleOption = None,
    warmup: WarmupOption = None,
    weight_decay: WeightDecayOption = None,
    decay_vectors: DecayVectorsOption = None,
    clip_norm: ClipNormOption = None,
    modality_dropout: ModalityDropoutOption = None,
    augment: AugmentOption = None,
    patience: PatienceOption = None,
    frozen: FrozenOption = None,
    freeze: FreezeOrUsualOption = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    amp: MixedPrecisionOption = False,
    save_every: Annotated[
        int | None,
        typer.Option(help="Steps between two writes of the state that a killed training needs."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of seeds, from 0; by default 1, synthetic 3."),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(help="Synthetic: only this row, such as regrad. Repeatable."),
    ] = None,
    captures: Annotated[
        int | None,
        typer.Option(min=12, help="Synthetic: training captures of each domain, by default 96."),
    ] = None,
    test_captures: Annotated[
        int | None,
        typer.Option(min=12, help="Synthetic: test captures of each domain, by default 120."),
    ] = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the benchmark's tables: on the published data sets, or tiny on synthetic domains.

    With --data everything is trained, built and judged that is not there yet. Each finished step
    is kept with a digest of what it was made from; what changed is made again, and said.
    """
    require_build_half()
    from fasdk_tools.training.train import TrainRequest, option_of

    options: dict[str, object] = {
        "batch": batch,
        "accumulate": accumulate,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup": warmup,
        "weight_decay": weight_decay,
        "decay_vectors": decay_vectors,
        "clip_norm": clip_norm,
        "modality_dropout": modality_dropout,
        "augmentation": augment,
        "patience": patience,
        "threads": threads,
        "device": device,
        "mixed_precision": amp or None,
        "save_every": save_every,
    }
    published: dict[str, object] = {
        "--lists": lists,
        "--model": model,
        "--config": config,
        "--method": method,
        "--init-from": init_from,
        "--clip-vocabulary": clip_vocabulary,
        "--frozen": frozen,
        "--freeze": freeze,
        **{option_of(name): value for name, value in options.items()},
    }
    synthetic = {"--system": system, "--captures": captures, "--test-captures": test_captures}
    if data:
        _refuse(synthetic, "goes with synthetic captures: leave it out, or --data")
        from fasdk_calibration.benchmarks import parse_tables
        from fasdk_tools.protocols.published_data import parse_data
        from fasdk_tools.protocols.published_run import (
            PublishedRequest,
            print_published,
            run_published,
            to_document,
        )

        def training(
            learned: DatasetSource, held: DatasetSource, checkpoint: Path, seed: int
        ) -> TrainRequest:
            return TrainRequest(
                captures=learned,
                development=held,
                out=checkpoint,
                model=model or "mmdg",
                config=config,
                method=method or "published",
                options={**options, "epochs": epochs, "seed": seed},
                frozen=tuple(frozen or ()),
                freeze=freeze or "pretrained",
                initial=init_from,
                vocabulary=clip_vocabulary,
            )

        request = PublishedRequest(
            data=parse_data(data),
            tables=parse_tables(tables),
            out=out,
            training=training,
            lists=lists,
            seeds=seeds or 1,
        )
        found = run_published(request, _say)
        if as_json:
            print_json(to_document(found))
        else:
            print_published(found, wide=wide)
        return
    _refuse(published, "goes with --data W=DIR,...: synthetic systems bring their own")
    from fasdk_tools.protocols.run import print_report, run_named

    with progress_view() as view:
        report = run_named(
            out,
            view,
            system_names=system or (),
            protocol_names=[name.strip().upper() for name in tables.split(",")],
            seeds=seeds or 3,
            train=captures or 96,
            test=test_captures or 120,
            epochs=epochs or 14,
        )
    if as_json:
        print_json(asdict(report))
    else:
        print_report(report, wide=wide)


def _refuse(options: Mapping[str, object], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name} {why}")


def _say(text: str) -> None:
    STDERR.print(text, markup=False, soft_wrap=True)

"""Verbs that train: train and demo."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from fasdk_tools.cli.root import JsonOption, Panel, app, require_build_half
from fasdk_tools.cli.training_options import (
    AccumulateOption,
    AugmentOption,
    BatchOption,
    ClipNormOption,
    ClipVocabularyOption,
    ConfigOption,
    DecayVectorsOption,
    EpochsOption,
    FreezeOption,
    FrozenOption,
    InitFromOption,
    LearningRateOption,
    MixedPrecisionOption,
    ModalityDropoutOption,
    OptimizerOption,
    PatienceOption,
    ScheduleOption,
    ShowSettingsOption,
    WarmupOption,
    WeightDecayOption,
)
from fasdk_tools.terminal.numbers import count_of, format_count
from fasdk_tools.terminal.output import (
    print_answer,
    print_fields,
    print_json,
    print_notes,
    print_rows,
    progress_view,
)
from fasdk_tools.terminal.tables import Column

if TYPE_CHECKING:
    from fasdk_engines.training import ChosenSettings


@app.command(rich_help_panel=Panel.BUILD)
def train(
    captures: Annotated[
        list[Path],
        typer.Argument(
            metavar="LIST...", help="Lists of labeled captures, or folders of published data sets."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write, .safetensors.")],
    model: Annotated[str, typer.Option(help="Model name; see `fasdk models`.")],
    development: Annotated[
        list[Path],
        typer.Option(
            metavar="LIST",
            help="List of captures of other subjects that decide when to stop. Repeatable.",
        ),
    ],
    root: RootOption = None,
    development_root: DevelopmentRootOption = None,
    live_label: LiveLabelOption = None,
    face_form: FaceFormOption = None,
    depth_scale_mm: DepthScaleOption = None,
    ir_shift: IrShiftOption = None,
    config: ConfigOption = None,
    method: Annotated[
        str, typer.Option(help="plain, published, or a method's name.")
    ] = "published",
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
    choose_epoch_by: Annotated[
        str, typer.Option(help="Development figure that selects the epoch: auc or loss.")
    ] = "auc",
    patience: PatienceOption = None,
    frozen: FrozenOption = None,
    freeze: FreezeOption = "pretrained",
    seed: Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    amp: MixedPrecisionOption = False,
    save_every: Annotated[
        int, typer.Option(help="Steps between two writes of the state that --resume needs.")
    ] = 200,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    init_from: InitFromOption = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights to take of that file: ema, raw or their key."),
    ] = None,
    clip_vocabulary: ClipVocabularyOption = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="TOML or JSON of sentences, live and attack, for mmdgpp and mmda."
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Folder of the CSV log; the checkpoint's by default.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="TensorBoard events beside the CSV log.")
    ] = False,
    show_settings: ShowSettingsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a checkpoint for `build-engine`."""
    require_build_half()
    from fasdk_tools.training.train import TrainRequest, chosen_settings, run_training

    options = list_options(live_label, face_form, depth_scale_mm, ir_shift)
    request = TrainRequest(
        captures=dataset_source("LIST", captures, options, root=root),
        development=dataset_source(
            "--development",
            development,
            options,
            root=development_root,
            root_option="--development-root",
            usual_root=root,
        ),
        out=out,
        model=model,
        config=config,
        method=method,
        options={
            "epochs": epochs,
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
            "choose_epoch_by": choose_epoch_by,
            "patience": patience,
            "seed": seed,
            "threads": threads,
            "device": device,
            "mixed_precision": amp,
            "save_every": save_every,
        },
        frozen=tuple(frozen or ()),
        freeze=freeze,
        resume=resume,
        initial=init_from,
        weights=weights,
        vocabulary=clip_vocabulary,
        texts=texts,
        log=log,
        tensorboard=tensorboard,
    )
    if show_settings:
        _print_settings(chosen_settings(request), as_json=as_json)
        return
    report = run_training(request)
    if as_json:
        print_json(asdict(report))
        return
    print_answer(
        f"Trained {out}: development AUC {report.development_auc:.4f} after epoch "
        f"{report.best_epoch} of {report.epochs}"
    )
    fields: dict[str, object] = {
        "model": report.model,
        "method": report.method,
        "captures": report.captures,
        "domains": report.domains,
        "development loss": f"{report.development_loss:.4f} nats",
        "settings": report.summary,
        "log": report.log,
    }
    if init_from is not None:
        fields |= {
            "pretrained": f"{count_of(report.initialized, 'tensor')} from {init_from}",
            "taken": report.initial_notes,
            "not used": report.unused_initial,
            "frozen": f"{format_count(report.frozen_parameters)} parameters",
        }
    print_fields("", fields)


def _text(value: object) -> str:
    """Return a setting's value as text."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _print_settings(chosen: ChosenSettings, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(chosen), "summary": chosen.summary})
        return
    print_answer(chosen.summary or "fasdk's own settings and the options given")
    print_rows(
        "Settings",
        ("setting", "value", "from", "published", Column("stated in", below=True)),
        [
            (
                row.name.replace("_", " "),
                _text(row.value),
                row.set_by.value,
                _text(row.published) if row.source else None,
                row.source or None,
            )
            for row in chosen.rows
        ],
    )
    print_notes([chosen.note] if chosen.note else [])


@app.command(rich_help_panel=Panel.BUILD)
def demo(
    out: Annotated[Path, typer.Option(help="Folder to work in.")] = Path(".demo"),
    seed: Annotated[int, typer.Option(help="Seed of captures and training.")] = 0,
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="Train a checkpoint first, for minutes, instead of taking fasdk's own."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build FP16 and INT8 bundles, tune and evaluate them on synthetic captures, in two minutes."""
    require_build_half()
    from fasdk_tools.training.demo import print_report, run_demo

    with progress_view() as view:
        report = run_demo(out, seed, view, training=train)
    if as_json:
        print_json(asdict(report))
    else:
        print_report(report)

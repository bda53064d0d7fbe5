"""Training: train, and demo and protocols, which train small systems and judge them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fasdk_tools.cli.root import JsonOption, app, require_build_half
from fasdk_tools.terminal.output import print_fields, print_json, progress_view


@app.command()
def train(
    captures: Annotated[
        Path, typer.Argument(metavar="LIST", help="List (JSON Lines) of labeled captures.")
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
    choose_epoch_by: Annotated[
        str, typer.Option(help="Development figure that picks the epoch kept: auc or loss.")
    ] = "auc",
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
    require_build_half()
    from fasdk_tools.training.train import TrainRequest, parse_settings, run_training

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
            choose_epoch_by=choose_epoch_by,
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
    require_build_half()
    from fasdk_tools.training.demo import run_demo

    with progress_view() as view:
        report = run_demo(out, seed, view)
    if as_json:
        print_json(asdict(report))
    else:
        from fasdk_tools.training.demo import print_report

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
    require_build_half()
    from fasdk_tools.protocols.run import run_named

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
        from fasdk_tools.protocols.run import print_report

        print_report(report)
